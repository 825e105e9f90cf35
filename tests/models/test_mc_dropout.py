"""MC dropout: only the dropout is random, normalisation runs on its running averages."""

import functools

import jax
import numpy as np
import pytest

from fetal_jax.core.types import Variables
from fetal_jax.models import build_model
from fetal_jax.models.mc_dropout import apply_with_dropout, has_dropout

QUICK = functools.partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})
DRAW = QUICK(apply_with_dropout)


@QUICK
def evaluated_and_trained(model, variables, image):
    """Logits with the running averages, and with the batch's own statistics."""
    trained, _ = model.apply(variables.as_dict(), image, train=True, mutable=["batch_stats"])
    return model.apply(variables.as_dict(), image, train=False), trained


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def small(dropout, **options):
    return build_model("plain_unet", num_classes=2, width=4, depth=1, dropout=dropout, **options)


def shapes_of(model, channels=1, size=8):
    image = np.zeros((1, size, size, channels), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    return Variables(shapes["params"], shapes.get("batch_stats", {}))


@pytest.fixture(scope="module")
def variables():
    """Weights and running averages that are not those of any batch."""
    rng = np.random.default_rng(1)

    def number(path, leaf):
        value = rng.random(leaf.shape, np.float32)
        return value + 0.5 if path[-1].key in ("scale", "var") else value - 0.5

    return jax.tree_util.tree_map_with_path(number, shapes_of(small(0.5)))


@pytest.mark.parametrize("remat", [False, True])
def test_without_a_rate_a_draw_is_the_prediction(variables, remat):
    model, image = small(0.0, remat=remat), noise(2, 8, 8, 1)
    expected, trained = evaluated_and_trained(small(0.0), variables, image)
    np.testing.assert_allclose(DRAW(model, variables, image, jax.random.key(0)), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(trained - expected).max() > 0.1  # which a batch's own statistics would not have been


def test_a_draw_is_its_keys_own(variables):
    model, image = small(0.5), noise(2, 8, 8, 1)
    first, again, second = (DRAW(model, variables, image, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.01


def test_an_image_is_no_surer_for_the_others_of_its_batch(variables):
    """The masks are drawn by place in the batch, so the first image's draw is the same whoever comes second."""
    model, image = small(0.5), noise(1, 8, 8, 1)
    key = jax.random.key(3)
    dark, bright = (np.concatenate([image, np.full_like(image, value)]) for value in (0, 5))
    dark, bright = DRAW(model, variables, dark, key), DRAW(model, variables, bright, key)
    np.testing.assert_allclose(dark[0], bright[0], rtol=1e-4, atol=1e-5)
    assert np.abs(dark[1] - bright[1]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("plain_unet", {"width": 4, "depth": 1}, False),
        ("plain_unet", {"width": 4, "depth": 1, "dropout": 0.1}, True),
        ("attention_resunet", {"width": 4, "depth": 1, "dropout": 0.1}, True),
        ("unet_plus_plus", {"width": 4, "depth": 1}, False),
        ("adu_net", {"width": 4, "depth": 1, "layers": 1, "dropout": 0.1}, True),
    ],
)
def test_whether_a_network_drops_anything_is_known_without_computing(name, options, expected):
    model = build_model(name, **options)
    assert has_dropout(model, shapes_of(model, size=32), np.zeros((1, 32, 32, 1), np.float32)) is expected
