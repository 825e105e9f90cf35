"""Inferers of images and of volumes: what the network is given, and what comes back, in native pixels."""

import dataclasses

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.inference.inferers import SimpleInferer, SlidingWindowInferer
from fetal_jax.inference.segmenter import Segmenter
from input_pipeline.letterbox import Letterbox


def volume(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 65536, (*shape, 1), np.uint16)


@pytest.fixture
def bright(card, small_network, bright_is_foreground):
    """A segmenter of volumes of one class that calls bright voxels foreground; its patches have 8 voxels a side."""
    facts = dataclasses.replace(card.facts, dims=3)
    return Segmenter(dataclasses.replace(card, facts=facts, size=8), small_network[1], batch_size=4)


def test_an_image_is_one_square_and_comes_back_through_its_geometry():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8)
    inferer = SimpleInferer(image, size=16, blur=0, intensity="unit")
    (net,) = inferer.inputs()
    assert (inferer.n_inputs, net.shape) == (1, (16, 16, 1))
    np.testing.assert_array_equal(inferer.to_native([net]), Letterbox.fit((20, 30), 16).probs_to_native(net))


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 9, 17), (5, 12, 3)])
def test_patches_of_a_volume_that_are_given_back_as_they_are_make_the_volume(shape):
    inferer = SlidingWindowInferer(volume(*shape), size=8)
    inputs = list(inferer.inputs())
    assert len(inputs) == inferer.n_inputs
    assert {patch.shape for patch in inputs} == {(8, 8, 8, 1)}
    np.testing.assert_allclose(inferer.to_native(inputs), inferer.volume / 65535, rtol=0, atol=1e-6)


def test_tiles_overlap_by_half_at_least():
    inferer = SlidingWindowInferer(volume(20, 8, 8), size=8)
    assert [patch[0, 0, 0, 0] for patch in inferer.inputs()] == [
        np.float32(value) / np.float32(65535) for value in inferer.volume[[0, 4, 8, 12], 0, 0, 0]
    ]


def test_volumes_share_batches_and_keep_their_order_and_size(bright):
    """The 4 patches of a batch may be of several volumes, and the last batch is not full."""
    volumes = [volume(8, 8, 8), volume(11, 8, 9), volume(4, 6, 8)]
    answers = list(bright.probabilities(iter(volumes)))
    assert [probs.shape for probs in answers] == [(*v.shape[:3], 2) for v in volumes]
    for probs, v in zip(answers, volumes, strict=True):
        np.testing.assert_allclose(probs[..., 1], v[..., 0] / 65535, rtol=0, atol=1e-6)


def test_a_volume_has_millilitres_and_an_image_square_millimetres(bright):
    grey = np.zeros((10, 8, 8), np.uint16)
    grey[2:7, 1:5, 3:5] = 65535
    answer = bright(grey, (2.0, 1.5, 1.0))
    np.testing.assert_array_equal(answer.labels, grey > 0)
    assert answer.volume_ml == {"cerebellum": pytest.approx(40 * 3 / 1000)}
    assert answer.area_mm2 == {}
    assert bright(grey).volume_ml == {"cerebellum": None}


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8), np.uint16), np.zeros((8, 8, 8), np.uint8), volume(4, 4, 4)[..., [0, 0]]]
)
def test_a_network_of_volumes_takes_nothing_else(bright, wrong):
    with pytest.raises(UserError, match=r"this model takes uint16 \[d h w\] or \[d h w 1\]"):
        bright(wrong)
