"""The plain U-Net family: counts derived by hand, equations in NumPy, attention, deep supervision, gradients."""

import functools
import itertools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers
import pytest

from fetal_jax.core.types import UserError, Variables
from fetal_jax.models import build_model

FAMILY = ("plain_unet", "resunet", "attention_unet", "attention_resunet", "unet_plus_plus")
GATED = ("attention_unet", "attention_resunet")
CHANNELS = (64, 128, 256, 512, 1024)


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def random_variables(model, image) -> Variables:
    """Kernels of unit gain, the other parameters and the statistics around their initial values."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        value = rng.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "kernel":
            return value * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return np.float32(path[-1].key in ("scale", "var")) + 0.1 * value

    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    return Variables(drawn["params"], drawn["batch_stats"])


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, image):
    """Logits of one output, auxiliary outputs, and intermediates by name."""
    logits, found = model.apply(variables.as_dict(), image, train=False, mutable=["auxiliary", "intermediates"])
    features = flax.traverse_util.flatten_dict(found["intermediates"], sep="/")
    return logits, found.get("auxiliary", {"logits": ()})["logits"], features


def count(model, channels=1) -> int:
    image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


# Parameters of a convolution i -> o with bias, of batch normalisation, and of pairs of them.


def conv(i, o, size=3):
    return size**2 * i * o + o


def unit(i, o, size=3):
    return conv(i, o, size) + 2 * o


def double(i, o):
    return unit(i, o) + unit(o, o)


def residual(i, o, preactivated=True):
    shortcut = i * o if i != o else 0
    return 9 * i * o + 9 * o * o + shortcut + 2 * o + 2 * i * preactivated


def basic(i, o):
    shortcut = i * o + 2 * o if i != o else 0
    return 9 * i * o + 9 * o * o + 4 * o + shortcut


def gate(c):
    return 2 * unit(c, c // 2, 1) + unit(c // 2, 1, 1)


@pytest.mark.slow
def test_parameter_counts_derived_by_hand():
    pairs = list(itertools.pairwise(CHANNELS))  # (c, 2c) of each level
    doubles = double(1, 64) + sum(double(c, c2) for c, c2 in pairs)
    ups, gates, logits = sum(conv(c2, c, 2) for c, c2 in pairs), sum(gate(c) for c, _ in pairs), conv(64, 1, 1)
    residuals = residual(1, 64, False) + sum(residual(c, c2) + residual(c2, c) for c, c2 in pairs)
    basics = basic(1, 64) + sum(basic(c, c2) + basic(c2, c) for c, c2 in pairs)
    expected = {
        "plain_unet": doubles + ups + sum(double(c2, c) for c, c2 in pairs) + logits,
        "attention_unet": doubles + sum(unit(c2, c) + unit(c2, c) for c, c2 in pairs) + gates + logits,
        "resunet": residuals + ups + logits,
        "attention_resunet": basics + ups + gates + logits,
    }
    assert expected == {
        "plain_unet": 31_042_369,
        "attention_unet": 31_741_101,
        "resunet": 32_429_057,
        "attention_resunet": 32_786_605,
    }
    assert {name: count(build_model(name)) for name in expected} == expected


@pytest.mark.slow
def test_counts_published_with_unet_plus_plus():
    # github.com/MrGiovanni/UNetPlusPlus, keras/helper_functions.py: neither has batch normalisation there.
    single, nested = build_model("plain_unet", width=32), build_model("unet_plus_plus", deep_supervision=False)
    assert count(single) - 4 * (2 * (32 + 64 + 128 + 256) + 512) == 7_759_521
    assert count(nested) - 4 * (5 * 32 + 4 * 64 + 3 * 128 + 2 * 256 + 512) == 9_041_601
    assert count(build_model("unet_plus_plus")) == count(nested) + 3 * conv(32, 1, 1)


def residual_block(x, v, stride=1):
    """h(x) + W2 · relu(bn2(W1 · relu(bn1(x)))), where h is a 1×1 convolution (Zhang et al. 2018, Eq. 1)."""
    strided = (slice(None), *(slice(None, None, stride),) * (x.ndim - 2))
    y = numpy_layers.relu(numpy_layers.batch_norm(x, v["bn1"])) if "bn1" in v else x
    y = numpy_layers.conv(y, v["conv1"])[strided]
    y = numpy_layers.conv(numpy_layers.relu(numpy_layers.batch_norm(y, v["bn2"])), v["conv2"])
    return numpy_layers.conv(x, v["shortcut"])[strided] + y


@pytest.mark.slow
@pytest.mark.parametrize("down", ["pool", "stride"])
@pytest.mark.parametrize("shape", [(2, 6, 8, 2), (1, 4, 6, 2, 1)])
def test_resunet_follows_its_equations(shape, down):
    image, model = noise(*shape), build_model("resunet", num_classes=3, width=3, depth=1, down=down)
    variables = random_variables(model, image)
    v = numpy_layers.merged(variables.params, variables.batch_stats)
    skip = residual_block(image, v["encoder"]["stage1"])
    halved = {"pool": (numpy_layers.max_pool(skip), 1), "stride": (skip, 2)}[down]
    bottom = residual_block(halved[0], v["encoder"]["stage2"], stride=halved[1])
    expected = numpy_layers.decoder([skip, bottom], v["decoder"], residual_block)
    np.testing.assert_allclose(run(model, variables, image)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_attention_resunet_with_open_gates_is_resunet():
    image, options = noise(1, 8, 12, 1), {"width": 4, "depth": 2, "down": "stride", "preactivate": True}
    gated, bare = (build_model(name, **options) for name in ("attention_resunet", "resunet"))
    variables = random_variables(gated, image)
    before = np.array(run(gated, variables, image)[0])  # computed before the weights are changed where they lie
    for level in (1, 2):
        variables.params["decoder"][f"gate{level}"]["psi"]["bn"]["bias"][:] = 100.0  # sigmoid(100) = 1
    opened, _, _ = run(gated, variables, image)
    for tree in (variables.params, variables.batch_stats):
        for level in (1, 2):
            del tree["decoder"][f"gate{level}"]
    np.testing.assert_allclose(opened, run(bare, variables, image)[0], rtol=1e-5, atol=1e-5)
    assert np.abs(before - opened).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("space", [(8, 12), (4, 4, 8)])
def test_attention_maps_are_among_the_intermediates(name, space):
    # Odd sizes: the image is padded to `space`, and so are its maps.
    image, model = noise(1, *(n - 1 for n in space), 1), build_model(name, width=4, depth=2)
    _, _, features = run(model, random_variables(model, image), image)
    maps = {key: value for key, value in features.items() if key.endswith("_attention")}
    assert list(maps) == [f"decoder/gate{level}/spatial_attention" for level in (1, 2)]
    for value, part in zip(maps.values(), (2, 1), strict=True):
        assert value.shape == (1, *(n // part for n in space), 1)
        assert 0 <= value.min() < value.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_features_have_the_precision_of_the_network(name):
    image, model = jnp.zeros((1, 8, 8, 1)), build_model(name, width=2, depth=2, precision="bfloat16")
    logits, auxiliary, features = jax.eval_shape(functools.partial(run, model), random_variables(model, image), image)
    assert {value.dtype for value in features.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {value.dtype for value in (logits, *auxiliary)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("name", FAMILY)
def test_rates_reach_both_halves(name):
    model = build_model(name, dropout=0.3, bn_momentum=0.8)
    assert {(part.dropout, part.bn_momentum) for part in (model.encoder, model.decoder)} == {(0.3, 0.8)}


def test_unet_plus_plus_without_deep_supervision_is_its_last_node():
    image, options = noise(1, 7, 4, 1), {"width": 2, "depth": 2}
    model, alone = (build_model("unet_plus_plus", deep_supervision=on, **options) for on in (True, False))
    variables = random_variables(model, image)
    logits, auxiliary, _ = run(model, variables, image)
    assert [output.shape for output in auxiliary] == [(1, 7, 4, 1)]
    assert np.abs(auxiliary[0] - logits).max() > 0.1
    del variables.params["decoder"]["logits1"]
    same, none, _ = run(alone, variables, image)
    np.testing.assert_allclose(logits, same, rtol=1e-5, atol=1e-6)
    assert none == ()


def test_an_unknown_way_down_is_the_users_error():
    with pytest.raises(UserError, match="unknown down 'max': choose one of pool, stride"):
        build_model("attention_unet", down="max")
