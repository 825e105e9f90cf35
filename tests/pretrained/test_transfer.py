"""Weights in a network: grey and colour, the right encoder or none."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published import MEAN, STD, equal, values

from fetal_jax.core.types import UserError, Variables
from fetal_jax.layers.conv import conv
from fetal_jax.models import build_model
from fetal_jax.pretrained import apply_pretrained, import_weights, load

STEM = "params/stem_conv/kernel"


def test_grey_images_sum_the_first_convolution_over_colours(files):
    loaded = load(files / "keras.npz", "efficientnet_b0", 1)
    params, batch_stats = loaded.params, loaded.batch_stats
    kernel = values("efficientnet_b0")[STEM]
    np.testing.assert_allclose(params["stem_conv"]["kernel"], kernel.sum(2, keepdims=True))
    np.testing.assert_allclose(batch_stats["normalization"]["mean"], [np.mean(MEAN)], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(batch_stats["normalization"]["variance"]), [np.mean(STD)], rtol=1e-6)
    others = {path: array for path, array in values("efficientnet_b0").items() if path != STEM}
    without_stem = {k: v for k, v in loaded.params.items() if k != "stem_conv"}
    equal(dataclasses.replace(loaded, params=without_stem), others)


def stem(loaded, image):
    """The first convolution of the normalised image."""
    constants = loaded.batch_stats["normalization"]
    normalised = (image - constants["mean"]) / np.sqrt(constants["variance"])
    return np.asarray(conv(jnp.asarray(normalised), loaded.params["stem_conv"]["kernel"], stride=2))


def test_grey_equals_colour_where_the_constants_of_colours_are_equal(files, tmp_path):
    import_weights(files / "timm.safetensors", "efficientnet_b0", tmp_path / "half.npz", normalization="half")
    grey = np.random.default_rng(0).random((1, 16, 16, 1), np.float32)
    once, thrice = (load(tmp_path / "half.npz", "efficientnet_b0", channels) for channels in (1, 3))
    np.testing.assert_allclose(stem(once, grey), stem(thrice, grey.repeat(3, -1)), rtol=1e-5, atol=1e-5)


def test_grey_is_near_colour_under_the_constants_of_imagenet(files):
    grey = np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    loaded = [load(files / "keras.npz", "efficientnet_b0", channels) for channels in (1, 3)]
    constants = [each.batch_stats["normalization"] for each in loaded]
    normalised = [(grey - c["mean"]) / np.sqrt(c["variance"]) for c in constants]
    difference = np.abs(normalised[0] - normalised[1])
    assert 0.2 < difference.max() < 0.21  # of values between -2.1 and 2.6
    mean_difference = np.abs(normalised[0][:, 0] - normalised[1].mean(-1))
    assert mean_difference.max() < 1.2e-3


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_refused(files, channels):
    with pytest.raises(UserError, match=f"model.pretrained .*1 or 3 channels, these have {channels}: train without"):
        load(files / "keras.npz", "efficientnet_b0", channels)


def test_weights_of_another_encoder_are_refused(files):
    with pytest.raises(
        UserError, match=r"model\.pretrained .*holds weights of efficientnet_b0, the network has resnet18"
    ):
        load(files / "keras.npz", "resnet18", 3)


def zeros(name, channels, **options):
    """Variables of a network, all zero."""
    image = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    model = build_model(name, **options)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return Variables(variables["params"], variables.get("batch_stats", {}))


@pytest.mark.slow
def test_weights_take_the_place_of_the_encoders(files):
    before = zeros("unet", 1)
    loaded = load(files / "keras.npz", "efficientnet_b0", 1)
    after = apply_pretrained(before, loaded)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    jax.tree.map(np.testing.assert_array_equal, after.params["encoder"], loaded.params)
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats["encoder"], loaded.batch_stats)
    assert after.params["decoder"] is before.params["decoder"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(before.params))  # what was given is as it was


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels", "options", "message"),
    [
        ("unet", 3, {}, r"params/stem_conv/kernel is \(3, 3, 1, 32\) in the file and \(3, 3, 3, 32\) in the network"),
        ("unet", 1, {"encoder": "resnet18"}, "the network's encoder lacks params/block1a/"),
        ("attention_unet", 1, {"width": 4, "depth": 2}, "choose a model that has the option encoder"),
    ],
)
def test_a_network_without_that_encoder_is_refused(files, name, channels, options, message):
    loaded = load(files / "keras.npz", "efficientnet_b0", 1)
    with pytest.raises(UserError, match=r"^model.pretrained does not fit the network") as caught:
        apply_pretrained(zeros(name, channels, **options), loaded)
    assert message.replace("\\", "") in str(caught.value)
