"""The table of sizes: what is counted, by hand; the readings, against the networks; the page, against the registry."""

import itertools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.models import costs as model_costs
from experiments import model_readings
from experiments import model_table as program
from experiments.model_readings import Reading
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.depthwise import DepthwiseConv
from fetal_jax.models import MODELS, build_model

IMAGE = model_costs.image_of(2, (8, 8), 3)


class Square(nn.Module):
    """(x · w)², whose derivative needs x, which is given, and x · w."""

    @nn.compact
    def __call__(self, x, *, train: bool):
        return jnp.square(x * self.param("w", nn.initializers.ones, (3,)))


def call(module):
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGE)
    return model_costs.gflop(module.apply, variables, IMAGE)


def test_a_multiplication_and_an_addition_are_two():
    """1×1, 3 channels to 5, 2 × 8 × 8 pixels."""
    assert call(Conv(5, size=1, use_bias=False)) * 1e9 == pytest.approx(2 * 128 * 15)


def test_a_depthwise_convolution_counts_as_one_whatever_the_lowering_of_this_platform():
    """Along an axis of 8 a kernel of 3 meets 22 pixels; what lies outside does not count."""
    assert call(DepthwiseConv()) * 1e9 == pytest.approx(2 * 2 * 3 * 22**2)


def test_training_keeps_what_its_way_back_needs_and_neither_weights_nor_image_count():
    variables = model_costs.variables_of(Square(), IMAGE)
    assert model_costs.count(variables) == 3
    assert model_costs.saved_mib(Square(), variables, IMAGE) * 2**20 == 4 * 2 * 8 * 8 * 3


def test_memory_of_inference_is_that_of_the_features():
    """Something must hold the features in between: an image of 64 channels, at least once and not ten times."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train: bool):
            return Conv(1)(Conv(64)(Conv(64)(x)))

    image = model_costs.image_of(1, (32, 32), 3)
    found = model_costs.inference_mib(Net(), model_costs.variables_of(Net(), image), image) * 2**20
    assert 1 <= found / (4 * 32 * 32 * 64) < 10


def test_random_kernels_keep_the_variance_of_what_they_see():
    shapes = model_costs.variables_of(build_model("plain_unet", width=2, depth=1), IMAGE)
    values = model_costs.random_variables(shapes)
    assert jax.tree.map(jnp.shape, values) == jax.tree.map(jnp.shape, shapes)
    unit = values["params"]["encoder"]["stage2"]["unit2"]
    assert np.std(unit["conv"]["kernel"]) == pytest.approx(np.sqrt(2 / 36), rel=0.2)
    np.testing.assert_array_equal(unit["bn"]["scale"], 1)
    np.testing.assert_array_equal(unit["bn"]["bias"], 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reading", "depth"),
    [
        ("attention_unet", Reading(16), 4),
        ("attention_unet", Reading(16, "none"), 3),
        ("attention_resunet", Reading(16, up="transposed 2×2", convolutions=2, residual=True), 4),
    ],
)
def test_readings_count_what_the_networks_have(name, reading, depth):
    model = build_model(name, num_classes=4, width=16, depth=depth)
    image = model_costs.image_of(1, (64, 64), 1)
    variables = model_costs.variables_of(model, image)
    parameters, gflop = reading.cost(1, 4, size=64)
    assert parameters == model_costs.count(variables["params"])
    # XLA counts activations too, and does not count the border.
    assert gflop == pytest.approx(model_costs.gflop(model_costs.inference(model), variables, image), rel=0.1)


def test_separable_resized_and_flat_readings_by_hand():
    """Two levels of the deepest kind that can be added up on paper: what an option changes in one layer."""
    one = model_readings.unit(8, 4, 3, 0)
    assert one == (9 * 8 * 4 + 4 + 8, 9 * 8 * 4, 0)
    assert model_readings.unit(8, 4, 3, 0, separable=True) == (9 * 8 + 8 * 4 + 4 + 8, 9 * 8 + 8 * 4, 0)
    assert Reading(16, "kept").widths == (16, 32, 64, 128, 128)
    parameters = {up: Reading(16, up=up).cost(1, 1)[0] for up in model_readings.UPS}
    # Between 3×3 after resizing and 3×3 transposed there is nothing but where the pixels come from.
    assert parameters["resize, 3×3"] == parameters["transposed 3×3"]
    ups = sum(i * (i // 2) for i in (32, 64, 128, 256))
    norms = sum(2 * (i // 2) for i in (32, 64, 128, 256))
    assert parameters["transposed 3×3"] - parameters["transposed 2×2"] == 5 * ups + norms


def test_what_the_page_says_of_the_readings_is_so():
    thesis, resunet = (description.millions * 1e6 for description in model_readings.DESCRIPTIONS)
    gated = {r: r.cost(1, 4)[0] / thesis - 1 for r in model_readings.all_readings(residual=False)}
    at_64 = [abs(deviation) for r, deviation in gated.items() if r.base == 64]
    assert 0.115 < min(at_64) < 0.125
    assert min(gated, key=lambda r: abs(gated[r])).base == 44
    residual = [(r, *r.cost(1, 1)) for r in model_readings.all_readings(residual=True)]
    both = [r for r, n, gflop in residual if abs(n / resunet - 1) < 0.06 and abs(gflop / 45 - 1) < 0.06]
    assert [r.base for r in both] == [40]


@pytest.mark.parametrize(
    ("parameters", "published", "said"),
    [
        (9_670_036, program.Published("9.67", "a table"), "agrees"),
        (3_301_313, program.Published("3", "a table"), "agrees"),
        (6_587_132, program.Published("6.57", "a table", "why"), "+0.3%; why"),
    ],
)
def test_remarks_go_by_the_digits_that_were_printed(parameters, published, said):
    assert program.remark(parameters, published) == said


def test_a_page_of_two_rows_is_made_of_whole_tables():
    rows = [
        program.Row("unet", program.Setting(), 9_628_013, 9_670_036, 8.9, 20.0, 288.0),
        program.Row("adu_net", program.Setting(2, 4, volume=True), 10, 12, 1.0, 2.0, 3.0),
    ]
    lines = program.page(rows, 256).splitlines()
    assert any(line.startswith("| `unet` | 3 → 1 | 9,628,013 | 9,670,036 | 8.9 | 20 | 288 | 9.67 M") for line in lines)
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


@pytest.mark.slow
def test_a_row_is_measured_as_its_source_feeds_the_network(monkeypatch):
    monkeypatch.setattr(
        program, "build_model", lambda name, num_classes: build_model(name, num_classes=num_classes, width=2, depth=1)
    )
    row = program.measure("attention_unet", 32)
    image = model_costs.image_of(1, (32, 32), 1)
    model = build_model("attention_unet", num_classes=4, width=2, depth=1)
    assert row.trained == model_costs.count(model_costs.variables_of(model, image)["params"]) < row.whole
    assert min(row.gflop, row.inference, row.saved) > 0


def test_published_figures_are_of_networks_that_there_are():
    assert set(program.PUBLISHED) | set(program.SETTINGS) <= set(MODELS)


def test_the_written_page_has_every_network_whose_size_was_published():
    text = (pathlib.Path(__file__).parents[2] / "docs" / "model_table.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert set(program.PUBLISHED) | set(program.SETTINGS) <= rows <= set(MODELS)
