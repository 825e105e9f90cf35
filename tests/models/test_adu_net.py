"""ADU-Net: its counts by hand, its dense connections, and what every network has to do, in two and three dimensions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.core.types import UserError, Variables
from fetal_jax.models import build_model, intermediates
from fetal_jax.models.adu_net import DenseBlock

pytestmark = pytest.mark.slow

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SMALL = {"num_classes": 4, "width": 4, "growth": 2}


def noise(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def random_variables(module, image):
    """Kernels of unit gain, scales and variances 1, the rest 0: sooner made than initializers are compiled."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, train=False))

    def value(path, leaf):
        if path[-1].key == "kernel":
            return noise(*leaf.shape) * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)

    return jax.tree_util.tree_map_with_path(value, shapes)


@functools.cache
def small(dims: int, **options):
    image = noise(*(1, *(8,) * dims, 2))
    model = build_model("adu_net", **SMALL, **options)
    return model, random_variables(model, image)


def parameters_by_hand(width, growth, modalities, classes, layers=3, depth=3):
    def conv(i, o):
        return 27 * i * o + o

    def block(channels):
        inside = sum(2 * c + conv(c, growth) for c in range(channels, channels + layers * growth, growth))
        return inside + 2 * (channels + layers * growth)

    total, out = conv(modalities, width), width
    for level in range(depth + 1):
        into = width * 2**level
        total += (conv(out, into) + 2 * into if level else 0) + block(into)
        out = into + layers * growth
    for level in reversed(range(depth)):
        into = width * 2**level
        skip = into + layers * growth
        total += 8 * out * into + into + block(into + skip)
        out = into + skip + layers * growth
    return total + conv(out, classes)


@pytest.mark.parametrize(
    ("options", "modalities", "count"),
    [({}, 2, 3_856_020), ({"growth": 8}, 1, None), ({"width": 16, "layers": 4, "depth": 2}, 3, None)],
)
def test_parameter_counts(options, modalities, count):
    model, volume = build_model("adu_net", num_classes=4, **options), jnp.zeros((1, 32, 32, 32, modalities))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), volume, train=False))
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert found == parameters_by_hand(**{"width": 32, "growth": 16} | options, modalities=modalities, classes=4)
    assert count is None or found == count


def test_by_default_there_are_seven_dense_blocks_of_three_layers():
    model, _ = small(2)
    features = jax.eval_shape(lambda v, x: intermediates(model, v, x), *_variables_and(noise(1, 16, 16, 2)))
    assert {name: shape.shape[1:] for name, shape in features.items()} == {
        "encoder/features1": (16, 16, 10),
        "encoder/features2": (8, 8, 14),
        "encoder/features3": (4, 4, 22),
        "encoder/features4": (2, 2, 38),
        "decoder/features1": (4, 4, 44),
        "decoder/features2": (8, 8, 28),
        "decoder/features3": (16, 16, 20),
    }


def _variables_and(image):
    variables = small(image.ndim - 2)[1]
    return Variables(variables["params"], variables["batch_stats"]), image


def test_a_dense_block_passes_on_what_comes_in_and_every_layer_sees_all_before_it():
    block, image = DenseBlock(layers=2, growth=3, dropout=0.0, bn_momentum=0.9), noise(2, 5, 6, 4)
    variables = random_variables(block, image)
    params = variables["params"]
    assert params["conv1"]["kernel"].shape == (3, 3, 4, 3)
    assert params["conv2"]["kernel"].shape == (3, 3, 7, 3)
    out = block.apply(variables, image, train=False)
    assert out.shape == (2, 5, 6, 10)
    # Statistics are 0 and 1: BN divides by sqrt(1 + 1e-5).
    np.testing.assert_allclose(out[..., :4], np.maximum(image, 0) / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 9, 5, 11, 2), (2, 13, 24, 1)])
def test_logits_have_the_size_of_the_image(shape):
    model, image = build_model("adu_net", **SMALL), jax.ShapeDtypeStruct(shape, jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    logits, _ = jax.eval_shape(functools.partial(model.init_with_output, train=True), keys, image)
    assert logits.shape == (*shape[:-1], 4)
    assert logits.dtype == jnp.float32


def test_every_parameter_gets_a_gradient_and_every_statistic_moves():
    model, variables = small(3, layers=1)

    @QUICK
    def gradients(variables, image):
        def loss(params):
            logits, updates = model.apply(
                variables | {"params": params},
                image,
                train=True,
                rngs={"dropout": jax.random.key(0)},
                mutable=["batch_stats"],
            )
            return jnp.mean(logits * noise(*logits.shape)), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(variables["params"])

    grads, batch_stats = gradients(variables, noise(2, 8, 16, 8, 2))
    assert [jax.tree_util.keystr(p) for p, g in jax.tree.leaves_with_path(grads) if not jnp.abs(g).max() > 0] == []
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), batch_stats, variables["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_evaluation_treats_volumes_one_by_one_and_bfloat16_follows_float32():
    model, variables = small(3, layers=1)
    image, order = noise(3, 8, 8, 16, 2), np.array([2, 0, 1])
    apply = QUICK(lambda image: model.apply(variables, image, train=False))
    logits = apply(image)
    np.testing.assert_allclose(logits[order], apply(image[order]), rtol=1e-5, atol=1e-6)
    half, _ = small(3, layers=1, precision="bfloat16")
    rounded = QUICK(lambda image: half.apply(variables, image, train=False))(image)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, logits, rtol=0, atol=0.05 * float(jnp.abs(logits).max()))
    assert not np.array_equal(rounded, logits)


def test_dropout_is_drawn_in_training_only():
    model, variables = small(2, layers=1)
    image = noise(1, 16, 16, 2)

    @QUICK
    def train(key):
        rngs = {"dropout": key}
        return model.apply(variables, image, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    one, same, other = train(jax.random.key(0)), train(jax.random.key(0)), train(jax.random.key(1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_options_out_of_range_are_refused():
    with pytest.raises(UserError, match="growth 0 of model 'adu_net' must be a whole number, 1 or more"):
        build_model("adu_net", growth=0)
