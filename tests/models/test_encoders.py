"""Encoders: widths, depths, strides and counts as published, training as in evaluation, a decoder for each."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.models import ENCODERS, build_model
from fetal_jax.models.efficientnet import DROP_CONNECT, SCALES, MBConv, scaled_blocks, scaled_width
from fetal_jax.models.encoders import make_encoder
from fetal_jax.models.resnet import Depth, ResidualBlock, ResNet, max_pool_3x3

pytestmark = pytest.mark.slow

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
# Keras counts of the networks without classifier: statistics of BatchNorm and the constants of the normalisation too.
KERAS = {"b0": 4_049_571, "b1": 6_575_239, "b2": 7_768_569, "b3": 10_783_535, "b4": 17_673_823}
# PyTorch counts: trained parameters, less those of the classifier of 1000 classes.
RESNETS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
}
CHANNELS = {
    "efficientnet_b0": (96, 144, 240, 480, 1280),
    "efficientnet_b1": (96, 144, 240, 480, 1280),
    "efficientnet_b2": (96, 144, 288, 528, 1408),
    "efficientnet_b3": (144, 192, 288, 576, 1536),
    "efficientnet_b4": (144, 192, 336, 672, 1792),
    "efficientnet_lite0": (96, 144, 240, 480, 1280),
    "efficientnet_lite2": (96, 144, 288, 528, 1280),
    "resnet18": (64, 64, 128, 256, 512),
    "resnet34": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
}
SMALL_RESNET = ResNet(Depth((1, 1, 1, 1)), bn_momentum=0.0, width=4)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def size(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@functools.cache
def shapes(encoder):
    """Shapes of features and variables for an image of 64 × 96 colour pixels."""
    image = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    return jax.eval_shape(
        functools.partial(make_encoder(encoder, 0.9).init_with_output, train=False), jax.random.key(0), image
    )


@pytest.mark.parametrize("scale", SCALES)
def test_counts_are_those_of_keras(scale):
    _, variables = shapes(f"efficientnet_{scale}")
    assert size(variables) == KERAS[scale]


def test_both_flavours_have_the_same_variables():
    assert shapes("timm_efficientnet_b1") == shapes("efficientnet_b1")


@pytest.mark.parametrize("name", RESNETS)
def test_counts_are_those_of_torchvision(name):
    _, variables = shapes(name)
    assert size(variables["params"]) == RESNETS[name]


def test_flavours_and_scales_are_all_there():
    flavours = [f"{flavour}efficientnet_{scale}" for flavour in ("", "timm_") for scale in KERAS]
    assert {*flavours, *RESNETS} <= set(ENCODERS)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_gives_five_features_that_halve_in_size(name):
    features, _ = shapes(name)
    sides = [feature.shape[1:3] for feature in features]
    assert sides == [(64 // stride, 96 // stride) for stride in (2, 4, 8, 16, 32)]


@pytest.mark.parametrize("name", CHANNELS)
def test_features_halve_in_size_and_have_the_published_channels(name):
    features, variables = shapes(name)
    strides = (2, 4, 8, 16, 32)
    expected = [(1, 64 // stride, 96 // stride, c) for stride, c in zip(strides, CHANNELS[name], strict=True)]
    assert [feature.shape for feature in features] == expected
    assert {key: leaf.shape for key, leaf in variables["batch_stats"]["normalization"].items()} == {
        "mean": (3,),
        "variance": (3,),
        "count": (),
    }


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(32, 1.1, 32), (40, 1.1, 48), (112, 1.1, 120), (32, 1.2, 40), (16, 1.4, 24), (24, 1.0, 24), (16, 0.1, 8)],
)
def test_widths_are_rounded_to_multiples_of_8(channels, width, expected):
    assert scaled_width(channels, width) == expected


def test_depths_are_rounded_up():
    names = [block.name for block in scaled_blocks(1.0, 1.1)]
    per_stage = [sum(name.startswith(f"block{stage}") for name in names) for stage in range(1, 8)]
    assert per_stage == [2, 3, 3, 4, 4, 5, 2]


def test_branches_are_dropped_more_often_the_deeper_they_are():
    rates = []

    def note(next_call, args, kwargs, context):
        if isinstance(context.module, MBConv) and context.method_name == "__call__":
            rates.append(context.module.drop_rate)
        return next_call(*args, **kwargs)

    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(
            functools.partial(make_encoder("efficientnet_b0", 0.9).init, train=True), jax.random.key(0), image
        )
    np.testing.assert_allclose(rates, DROP_CONNECT * np.arange(16) / 16)


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 7, 5, 2), (1, 1, 2, 1), (1, 4, 5, 6, 2)])
def test_maximum_pool_equals_the_windowed_maximum(shape):
    x, dims = draw(*shape), len(shape) - 2

    def windowed(x):
        window, strides = (1, *(3,) * dims, 1), (1, *(2,) * dims, 1)
        edges = ((0, 0), *((1, 1),) * dims, (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, edges)

    np.testing.assert_array_equal(max_pool_3x3(x), windowed(x))
    upstream = draw(*windowed(x).shape)
    found, expected = (jax.vjp(pool, x)[1](upstream)[0] for pool in (max_pool_3x3, windowed))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_maximum_pool_shares_the_gradient_of_equal_pixels_and_keeps_the_precision():
    x = jnp.zeros((1, 4, 4, 1), jnp.bfloat16)
    gradient = jax.grad(lambda x: max_pool_3x3(x).sum().astype(jnp.float32))(x)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(gradient.astype(jnp.float32).sum(), 4)  # of four windows, none of it lost in the padding


def filled(module, image):
    """Variables of a module: kernels of unit gain, scales and variances 1, the rest 0."""
    rng = np.random.default_rng(1)
    known = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), image)

    def value(path, leaf):
        if len(leaf.shape) > 1:
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return np.full(leaf.shape, float(path[-1].key in ("scale", "var", "variance")), np.float32)

    return jax.tree_util.tree_map_with_path(value, known)


@pytest.mark.parametrize("module", [SMALL_RESNET, ResidualBlock(8, 2, True, 0.0), ResidualBlock(8, 1, True, 0.0)])
def test_every_parameter_of_a_resnet_gets_a_gradient_and_statistics_move(module):
    image = np.abs(draw(4, 32, 64, 1))
    variables = filled(module, image)

    @QUICK
    def step(variables):
        def loss(params):
            out, updates = module.apply(variables | {"params": params}, image, train=True, mutable=["batch_stats"])
            return sum(jnp.mean(jnp.square(x[..., ::2])) for x in jax.tree.leaves(out)), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradients, batch_stats = step(variables)
    still = [jax.tree_util.keystr(path) for path, g in jax.tree.leaves_with_path(gradients) if not jnp.abs(g).max() > 0]
    assert still == []
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), variables["batch_stats"], batch_stats)
    assert not any(moved.pop("normalization", {}).values())
    assert all(jax.tree.leaves(moved))


def test_a_resnet_treats_images_one_by_one_and_normalises_them():
    image = np.abs(draw(4, 32, 32, 1))
    variables = filled(SMALL_RESNET, image)
    run = QUICK(lambda variables, image: SMALL_RESNET.apply(variables, image, train=False))
    order = np.array([2, 0, 3, 1])
    for straight, turned in zip(run(variables, image), run(variables, image[order]), strict=True):
        np.testing.assert_allclose(straight[order], turned, rtol=1e-5, atol=1e-5)
    constants = {"mean": np.float32([0.4]), "variance": np.float32([0.04]), "count": np.float32(0)}
    known = variables | {"batch_stats": variables["batch_stats"] | {"normalization": constants}}
    for inside, outside in zip(run(known, image), run(variables, (image - 0.4) / 0.2), strict=True):
        np.testing.assert_allclose(inside, outside, rtol=1e-4, atol=1e-4)


def test_a_resnet_takes_volumes():
    image = jax.ShapeDtypeStruct((1, 32, 64, 32, 1), jnp.float32)
    features, _ = jax.eval_shape(
        functools.partial(make_encoder("resnet18", 0.9).init_with_output, train=False), jax.random.key(0), image
    )
    assert features[-1].shape == (1, 1, 2, 1, 512)


@pytest.mark.parametrize("encoder", ["timm_efficientnet_b0", "efficientnet_b2", "resnet18", "resnet50"])
def test_the_decoder_takes_the_features_of_each_encoder(encoder):
    model, image = build_model("case_unet", encoder=encoder, num_classes=3), jax.ShapeDtypeStruct((2, 37, 53, 1), "f4")
    logits, _ = jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), image)
    assert logits.shape == (2, 37, 53, 3)
