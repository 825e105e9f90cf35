"""The published networks for the fetal cerebellum: equal to NumPy transcriptions, and counted by hand."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import numpy_layers as plain
import pytest

from fetal_jax.models import build_model
from fetal_jax.models.dual_cnn import FLAT, complementary_maps

pytestmark = pytest.mark.slow

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
MAPS = QUICK(complementary_maps)
NAMES = ("ecau_net", "fcrb_unet", "resunet_c", "dual_cnn")


def noise(*shape):
    return np.random.default_rng(sum(shape)).random(shape, np.float32)


@functools.cache
def small(name: str, dims: int = 2, depth: int = 1):
    """A network, and variables of it, none of them 0 or 1 by habit. FCRB U-Net is deeper: it reuses what lies deep."""
    model = build_model(name, num_classes=2, width=3, depth=depth + (name == "fcrb_unet"))
    image = jnp.zeros((1, *(8,) * dims, 1))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))

    def value(path, leaf):
        random = np.random.default_rng(zlib.crc32(jax.tree_util.keystr(path).encode()))
        if path[-1].key == "kernel":  # not more than unit gain: attention must not saturate
            return random.normal(0, np.sqrt(1 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)
        low = {"scale": 0.8, "var": 0.5}.get(path[-1].key, -0.2)
        return random.uniform(low, low + 0.4, leaf.shape).astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(value, shapes)


# The equations, written a second time.


def ecau_net(image, v):
    def block(x, v, level=None):
        return plain.channel_attention(plain.double_conv(x, v["convs"]), v["attention"])

    return plain.decoder(plain.encoder(image, v["encoder"], block), v["decoder"], block)


def fcrb_unet(image, v):
    def linear(x):
        return x

    def block(x, v, level=None):
        s = plain.unit(x, v["shortcut"], activation=linear)
        y1 = plain.unit(x, v["unit1"])
        y2 = plain.channel_attention(plain.unit(s + y1, v["unit2"], activation=linear), v["attention"])
        return plain.relu(s + y1 + y2)

    *skips, bottleneck = plain.encoder(image, v["encoder"], block)
    v, stages = v["decoder"], [bottleneck]
    for level, skip in enumerate(skips[::-1], start=1):
        x = plain.transposed(stages[-1], v[f"up{level}"]["conv"])
        for deeper in range(level - 1):
            x = x + plain.unit(plain.enlarged(stages[deeper], level - deeper), v[f"reuse{level}_{deeper}"])
        stages.append(block(np.concatenate([skip, x], axis=-1), v[f"merge{level}"]))
    return plain.conv(stages[-1], v["logits"])


def resunet_c(image, v):
    levels = len(v["encoder"])

    def block(x, v, level=-1):  # on the way up there is no level
        dilation = 2 if level in (levels - 2, levels - 1) else 1
        y = plain.unit(x, v["unit1"], dilation)
        y = plain.unit(y, v["unit2"], dilation, activation=lambda y: y)
        return plain.relu(y + plain.unit(x, v["shortcut"], activation=lambda x: x))

    return plain.decoder(plain.encoder(image, v["encoder"], block), v["decoder"], block)


def dual_cnn(image, v):
    def block(x, v, level=None):
        return plain.double_conv(x, v)

    seen = plain.encoder(image, v["encoder"]["image"], block)
    derived = plain.encoder(maps_of(image), v["encoder"]["maps"], block)
    fused = [
        plain.unit(np.concatenate(both, axis=-1), v["encoder"][f"fuse{level}"])
        for level, both in enumerate(zip(seen, derived, strict=True), start=1)
    ]
    return plain.decoder(fused, v["decoder"], block)


def maps_of(image):
    """Edges and local contrast, pixel by pixel; beyond the border the nearest pixel counts."""
    edges, contrast = np.zeros_like(image), np.zeros_like(image)
    space = image.shape[1:-1]

    def at(pixel, offset):
        nearest = [min(max(p + o, 0), n - 1) for p, o, n in zip(pixel, offset, space, strict=True)]
        return image[:, *nearest]

    for pixel in np.ndindex(*space):
        steps = np.eye(len(space), dtype=int)
        slopes = [(at(pixel, step) - at(pixel, -step)) / 2 for step in steps]
        edges[:, *pixel] = np.sqrt(sum(slope**2 for slope in slopes) + FLAT)
        around = [at(pixel, np.subtract(offset, 2)) for offset in np.ndindex(*(5,) * len(space))]
        contrast[:, *pixel] = image[:, *pixel] - np.mean(around, axis=0)
    return np.concatenate([edges, contrast], axis=-1)


@pytest.mark.parametrize(("shape", "depth"), [((2, 16, 24, 1), 2), ((1, 8, 8, 16, 1), 1)], ids=["image", "volume"])
@pytest.mark.parametrize("transcription", [ecau_net, fcrb_unet, resunet_c, dual_cnn])
def test_network_equals_its_numpy_transcription(transcription, shape, depth):
    model, variables = small(transcription.__name__, len(shape) - 2, depth)
    image = noise(*shape)
    found = QUICK(lambda image: model.apply(variables, image, train=False))(image)
    expected = transcription(image.astype(np.float64), plain.merged(variables["params"], variables["batch_stats"]))
    assert np.std(expected) > 1e-2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# Parameters by hand. A unit is a convolution k×k with bias and two numbers a channel for batch normalisation.


def unit(i, o, k=3):
    return k * k * i * o + o + 2 * o


def count(name, c, w, depth, classes):
    def block(i, o):
        attention, shortcut = 5 if o >= 128 else 3, unit(i, o, 1)
        extra = {"ecau_net": attention, "fcrb_unet": shortcut + attention, "resunet_c": shortcut}
        return unit(i, o) + unit(o, o) + extra.get(name, 0)

    def down(i):
        return block(i, w) + sum(block(w * 2**level // 2, w * 2**level) for level in range(1, depth + 1))

    widths = [w * 2**level for level in range(depth)][::-1]
    up = sum(4 * 2 * o * o + o + block(2 * o, o) for o in widths) + w * classes + classes
    if name == "dual_cnn":
        return down(c) + down(2 * c) + sum(unit(2 * o, o, 1) for o in (2 * widths[0], *widths)) + up
    if name == "fcrb_unet":  # two levels or more below
        up += sum(unit(o * 2**further, o, 1) for n, o in enumerate(widths) for further in range(2, n + 2))
    return down(c) + up


@pytest.mark.parametrize(
    ("name", "channels", "expected", "published"),
    [
        ("ecau_net", 1, 31_042_410, 31),
        ("fcrb_unet", 1, 33_019_498, 33),
        ("resunet_c", 1, 32_443_905, None),
        ("dual_cnn", 1, 3_300_449, 3),
        ("ecau_net", 3, 31_043_562, 31),
        ("fcrb_unet", 3, 33_020_778, 33),
        ("dual_cnn", 3, 3_301_313, 3),
    ],
)
def test_parameter_counts_by_hand_and_as_published_in_millions(name, channels, expected, published):
    width = 16 if name == "dual_cnn" else 64
    assert parameters(build_model(name), channels) == expected == count(name, channels, width, 4, 1)
    assert published in (None, round(expected / 1e6))


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_of_other_widths_and_depths(name):
    model = build_model(name, num_classes=4, width=12, depth=3)
    assert parameters(model, channels=2) == count(name, 2, 12, 3, 4)


def parameters(model, channels: int) -> int:
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_counts_in_evaluation(name):
    """In training the bias before a batch normalisation has no gradient but rounding."""
    model, variables = small(name)
    image = noise(2, 16, 16, 1)

    def score(params):
        logits = model.apply(variables | {"params": params}, image, train=False)
        return jnp.sum(logits * noise(*logits.shape))

    gradients = QUICK(jax.grad(score))(variables["params"])
    peaks = {jax.tree_util.keystr(path): np.abs(leaf).max() for path, leaf in jax.tree.leaves_with_path(gradients)}
    assert {path: peak for path, peak in peaks.items() if not peak > 1e-3} == {}


def test_maps_by_hand():
    slope = np.broadcast_to(np.arange(8.0, dtype=np.float32)[:, None] * 0.1, (8, 8))[None, ..., None]
    edges, contrast = np.moveaxis(MAPS(slope)[0], -1, 0)
    np.testing.assert_allclose(edges[1:-1], np.sqrt(0.01 + FLAT), rtol=1e-5)
    np.testing.assert_allclose(contrast[2:-2], 0, atol=1e-6)
    spot = np.zeros((1, 8, 8, 1), np.float32)
    spot[0, 3, 3] = 1
    edges, contrast = np.moveaxis(MAPS(spot)[0], -1, 0)
    assert contrast[3, 3] == pytest.approx(24 / 25)
    assert contrast[1, 5] == pytest.approx(-1 / 25)
    assert contrast[0, 0] == 0
    assert edges[3, 2] == pytest.approx(np.sqrt(0.25 + FLAT))


def test_maps_do_not_see_brightness_and_have_a_gradient_where_the_image_is_flat():
    image = noise(1, 8, 8, 1)
    np.testing.assert_allclose(MAPS(image + 1), MAPS(image), atol=1e-5)
    slope = QUICK(jax.grad(lambda image: complementary_maps(image).sum()))(np.ones_like(image))
    assert np.isfinite(slope).all()


def test_maps_are_computed_in_float32_and_returned_in_the_precision_of_the_image():
    """Rounding must not pass for contrast: a bright image of even intensity has none."""
    maps = MAPS(jnp.full((1, 8, 8, 1), 0.7, jnp.bfloat16))
    assert maps.dtype == jnp.bfloat16
    np.testing.assert_allclose(maps[..., 1].astype(jnp.float32), 0, atol=1e-6)
