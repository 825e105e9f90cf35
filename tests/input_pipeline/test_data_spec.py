"""Data specs: that images and volumes are asked for in one way, and what each of them refuses."""

import dataclasses

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from input_pipeline import builders
from input_pipeline.augment import AUGMENTATIONS, of_volumes
from input_pipeline.builders.infant_mri.dummy import SHAPE, age_folders
from input_pipeline.data_spec import ImageSpec, StreamRequest, VolumeSpec
from input_pipeline.dataset import Dataset, NetImages, prepare
from input_pipeline.patch_stream import PatchStream, Volumes
from input_pipeline.streams import PseudoLabels, Stream

STRONG = ("perturb", "none", "speckle", "shadow", "gain_curve", "depth_attenuation", "gamma(0.4)|speckle(0.3)")

IMAGES, VOLUMES = ImageSpec(32, "unit"), VolumeSpec(8, per_volume=10, foreground=0.5)
ANY = {"evaluation.blur": 5, "intensity": "symmetric", "sampling.structures": ("csp",)}
PLAIN = {"evaluation.blur": 0, "intensity": "unit", "sampling.structures": ()}


@pytest.fixture(scope="module")
def heads(data_dir):
    return Dataset("fetal_phantom/tiny", data_dir, ("brain",))


@pytest.fixture(scope="module")
def infants(tmp_path_factory):
    root = tmp_path_factory.mktemp("specs")
    age_folders(root / "source")
    prepare("infant_mri", root / "data", str(root / "source"))
    return Dataset("infant_mri", root / "data")


def request(**changes):
    fields = {
        "pseudo": None,
        "unlabelled": True,
        "batch_size": 4,
        "n_unlabelled": 2,
        "augment": "flips",
        "strong": "perturb",
        "views": 1,
        "seed": 3,
    }
    return StreamRequest(**fields | changes)


def of_dataset(spec, heads, infants):
    """The dataset for a spec, three names of it, and three others."""
    dataset = heads if spec.dims == 2 else infants
    names = dataset.names if spec.dims == 2 else ["24m_S001", "24m_S002", "18m_S001", "6m_S003", "6m_S003", "6m_S003"]
    return dataset, list(names[:3]), list(names[3:6])


@pytest.mark.parametrize("spec", [IMAGES, VOLUMES], ids=["images", "volumes"])
def test_a_spec_has_the_shape_of_what_its_stream_gives(spec, heads, infants):
    dataset, labelled, unlabelled = of_dataset(spec, heads, infants)
    stream = spec.stream(spec.source(dataset, labelled), spec.source(dataset, unlabelled), request())
    batch = next(stream.iterator(1))
    shape = spec.input_shape(dataset.facts)
    assert dataset.facts.dims == spec.dims == len(shape) - 1
    assert batch.labelled.image.shape == batch.unlabelled.weak.shape == (2, *shape)
    assert [view.shape for view in batch.unlabelled.strong] == [(2, *shape)]
    assert batch.labelled.labels.shape == (2, *shape[:-1])
    expected = (spec.items_per_epoch(3) + spec.items_per_epoch(3)) // 4
    assert stream.steps_per_epoch == expected


def test_shapes_and_epochs_by_hand(heads, infants):
    assert IMAGES.input_shape(heads.facts) == (32, 32, 1)
    assert VOLUMES.input_shape(infants.facts) == (8, 8, 8, 2)
    assert (IMAGES.items_per_epoch(7), VOLUMES.items_per_epoch(7)) == (7, 70)


def test_sources_are_images_at_network_size_and_volumes_as_they_are(heads, infants):
    images = IMAGES.source(heads, heads.names[:2])
    assert isinstance(images, NetImages)
    assert (images.image(0).shape, images.valid(0).shape) == ((32, 32, 1), (32, 32))
    np.testing.assert_array_equal(images.image(1), images[1]["image"])
    np.testing.assert_array_equal(images.valid(1), images[1]["weights"])
    assert not images.image(1)[images.valid(1) == 0].any()
    assert 0 < images.valid(1).mean() < 1  # 96 x 128 in a square
    volumes = VOLUMES.source(infants, ["24m_S001"])
    assert isinstance(volumes, Volumes)
    assert volumes.image(0).shape == (*SHAPE, 2)


def test_everything_that_is_asked_for_reaches_the_stream_of_images(heads):
    source, other = IMAGES.source(heads, heads.names[:3]), IMAGES.source(heads, heads.names[3:5])
    zeros = [np.zeros((32, 32), np.uint8)] * 2
    pseudo = PseudoLabels(zeros, [z.astype(np.float32) for z in zeros], np.ones(2, bool))
    asked = request(pseudo=pseudo, strong="speckle", views=3, seed=9, draws=(0, 0, 2), n_unlabelled=1, batch_size=5)
    stream = dataclasses.replace(IMAGES, intensity="symmetric").stream(source, other, asked)
    assert stream == Stream(
        labelled=source,
        unlabelled=other,
        pseudo=pseudo,
        batch_size=5,
        n_unlabelled=1,
        augment="flips",
        views=3,
        seed=9,
        strong="speckle",
        draws=(0, 0, 2),
        intensity="symmetric",
    )
    assert IMAGES.stream(source, other, request(unlabelled=False)).unlabelled is None


@pytest.mark.parametrize(("augment", "flip"), [("none", False), ("flips", True)])
def test_everything_that_is_asked_for_reaches_the_stream_of_patches(infants, augment, flip):
    source, other = VOLUMES.source(infants, ["24m_S001"]), VOLUMES.source(infants, ["6m_S003"])
    nothing = [np.zeros(SHAPE, np.uint8)]
    pseudo = PseudoLabels(nothing, [np.zeros(SHAPE, np.float32)], np.zeros(1, bool))
    stream = VOLUMES.stream(source, other, request(pseudo=pseudo, augment=augment, views=2))
    assert stream == PatchStream(
        labelled=source,
        patch=(8, 8, 8),
        batch_size=4,
        seed=3,
        patches_per_volume=10,
        flip=flip,
        foreground=0.5,
        unlabelled=other,
        pseudo=pseudo,
        n_unlabelled=2,
        views=2,
    )
    assert VOLUMES.stream(source, other, request(unlabelled=False)).unlabelled is None


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_may_have_every_augmentation_and_setting(name):
    IMAGES.check({"stages.a.augment": name, "stages.a.strong": "perturb"}, ANY)


@pytest.mark.parametrize("name", STRONG)
def test_strong_views_of_images_may_have_every_augmentation_that_moves_nothing(name):
    IMAGES.check({"stages.a.strong": name}, ANY)


@pytest.mark.parametrize("augment", of_volumes.MIRRORS)
def test_volumes_may_be_mirrored(augment):
    VOLUMES.check({"stages.a.augment": augment, "stages.a.strong": "perturb"}, PLAIN)


@pytest.mark.parametrize(
    ("spec", "augmentations", "settings", "message"),
    [
        (
            IMAGES,
            {"stages.a.augment": "blurry"},
            ANY,
            r"^stages\.a\.augment: augment 'blurry' is unknown: choose one of",
        ),
        (
            IMAGES,
            {"stages.a.strong": "flips"},
            ANY,
            r"^stages\.a\.strong: augment 'flips' cannot be a strong view",
        ),
        (IMAGES, {"stages.a.strong": "blurry"}, ANY, r"^stages\.a\.strong: augment 'blurry' is unknown: "),
        (ImageSpec(32, "signed"), {}, ANY, "intensity 'signed' is unknown: choose one of unit, symmetric"),
        (
            VOLUMES,
            {"stages.a.augment": "thesis"},
            PLAIN,
            r"stages\.a\.augment: augment 'thesis' is for images: on volumes",
        ),
        (
            VOLUMES,
            {"stages.a.strong": "none"},
            PLAIN,
            r"stages\.a\.strong is 'none': on volumes it can be 'perturb' on",
        ),
        (VOLUMES, {}, PLAIN | {"evaluation.blur": 5}, r"^evaluation\.blur is 5: on volumes it can be 0 only"),
        (VOLUMES, {}, PLAIN | {"intensity": "symmetric"}, "intensity is 'symmetric': on volumes it can be 'unit' only"),
        (
            VOLUMES,
            {},
            PLAIN | {"sampling.structures": ("wm",)},
            r"sampling\.structures is \('wm',\): on volumes it can",
        ),
        (VolumeSpec(8, 0, 0.5), {}, PLAIN, r"patches\.per_volume is 0: it must be at least 1"),
        (VolumeSpec(8, 1, 1.1), {}, PLAIN, r"patches\.foreground is 1\.1: it must be a share, 0 to 1"),
        (VolumeSpec(8, 1, -0.1), {}, PLAIN, r"patches\.foreground is -0\.1"),
    ],
)
def test_what_a_spec_cannot_give_is_refused_by_its_key(spec, augmentations, settings, message):
    with pytest.raises(UserError, match=message):
        spec.check(augmentations, settings)


def test_images_have_no_patches(heads):
    assert builders.facts("fetal_phantom").dims == ImageSpec.dims
    with pytest.raises(UserError, match="has images: patches are drawn of volumes"):
        VOLUMES.source(heads, heads.names)
