"""Patches of volumes: where they come from, how often, and that a volume is covered and put together again."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.types import UserError
from input_pipeline.builders.infant_mri.dummy import SHAPE, SPACING_MM, age_folders
from input_pipeline.dataset import Dataset, prepare
from input_pipeline.patches import PatchStream, Volumes
from input_pipeline.tiles import crop, importance, stitch, tiles

PATCH = (8, 6, 10)
NAMES = ("24m_S001", "24m_S002", "18m_S001")
UNLABELLED = "6m_S003"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four volumes of 20 x 24 x 18 with two modalities."""
    root = tmp_path_factory.mktemp("patches")
    age_folders(root / "source")
    prepare("infant_mri", root / "data", str(root / "source"))
    return Dataset("infant_mri", root / "data")


@pytest.fixture(scope="module")
def volumes(dataset):
    return Volumes(dataset, NAMES)


@pytest.fixture
def make(volumes):
    """A stream of 4 patches a step, 10 a volume and epoch; keywords replace its fields."""
    defaults = {"volumes": volumes, "patch": PATCH, "batch_size": 4, "seed": 3, "patches_per_volume": 10}
    return lambda **changes: PatchStream(**defaults | changes)


def upright(item, key):
    """What a patch showed before it was flipped."""
    return item[key][::-1] if item["flipped"] else item[key]


def assert_equal(first, second):
    for key in ("image", "labels", "weights"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key), err_msg=key)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("foreground", [0.0, 0.5])
def test_a_patch_is_its_volumes_own_region(make, volumes, flip, foreground):
    patches = make(flip=flip, foreground=foreground).patches()
    flipped = 0
    for i in range(60):
        item = patches[i]
        volume = volumes[int(item["volume"])]
        flipped += int(item["flipped"])
        region = np.stack(
            np.meshgrid(*(s + np.arange(p) for s, p in zip(item["start"], PATCH, strict=True)), indexing="ij")
        )
        inside = ((region >= 0) & (region < np.reshape(SHAPE, (3, 1, 1, 1)))).all(axis=0)
        np.testing.assert_array_equal(upright(item, "weights"), inside)
        for key in ("image", "labels"):
            whole = getattr(volume, key)
            np.testing.assert_array_equal(upright(item, key)[inside], whole[tuple(region[:, inside])])
            assert not upright(item, key)[~inside].any()
        np.testing.assert_array_equal(item["spacing_mm"], np.float32(SPACING_MM))
    assert flipped == 0 if not flip else 15 < flipped < 45


def test_places_are_everywhere_in_the_volume_and_never_outside(make):
    starts = np.array([make(patches_per_volume=500).patches()[i]["start"] for i in range(900)])
    assert (starts.min(axis=0) == 0).all()
    assert (starts.max(axis=0) == np.subtract(SHAPE, PATCH)).all()
    room = np.subtract(SHAPE, PATCH)
    np.testing.assert_allclose(starts.mean(axis=0), room / 2, atol=4 * room.max() / np.sqrt(12 * 900))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_patches_around_the_foreground(make, share):
    patches = make(foreground=share, patches_per_volume=200).patches()
    centred = [patches[i]["labels"][tuple(n // 2 for n in PATCH)] > 0 for i in range(600)]
    anywhere = make(patches_per_volume=200).patches()
    by_chance = np.mean([anywhere[i]["labels"][tuple(n // 2 for n in PATCH)] > 0 for i in range(600)])
    assert np.mean(centred) == pytest.approx(share + (1 - share) * by_chance, abs=0.06)
    if share == 1:
        assert all(centred)


def test_every_volume_is_drawn_equally_often_in_an_epoch_and_epochs_differ(make):
    patches = make().patches()
    drawn = [[int(patches[epoch * 30 + i]["volume"]) for i in range(30)] for epoch in range(3)]
    assert all(np.bincount(epoch).tolist() == [10, 10, 10] for epoch in drawn)
    assert len({tuple(epoch) for epoch in drawn}) == 3
    starts = {tuple(patches[i]["start"].tolist()) for i in range(90)}
    assert len(starts) > 60  # not the places of the first epoch again


def test_an_epoch_is_a_thousand_of_each_volume_unless_told_otherwise(make, volumes):
    assert make().steps_per_epoch == 30 // 4
    assert make(batch_size=64).steps_per_epoch == 1
    assert PatchStream(volumes, (32, 32, 32), 50, 0).steps_per_epoch == 60


def test_a_batch(make, volumes):
    stream = make()
    batches = list(stream.iterator(5))
    assert len(batches) == 5
    for step, batch in enumerate(batches):
        assert batch.image.shape == (4, *PATCH, 2)
        assert batch.labels.shape == batch.weights.shape == (4, *PATCH)
        assert [x.dtype for x in (batch.image, batch.labels, batch.weights)] == [np.float32, np.int32, np.float32]
        assert batch.strong.shape == (0, *PATCH, 2)
        assert 0 <= batch.image.min() < batch.image.max() <= 1
        for i in range(4):
            item = stream.patches()[4 * step + i]
            np.testing.assert_allclose(batch.image[i], item["image"] / 65535, rtol=1e-6)
            np.testing.assert_array_equal(batch.labels[i], item["labels"])


def test_the_same_stream_twice_is_bit_equal_and_another_seed_is_another(make):
    first, second = list(make(flip=True).iterator(6)), list(make(flip=True).iterator(6))
    for a, b in zip(first, second, strict=True):
        assert_equal(a, b)
    other = next(make(flip=True, seed=4).iterator(1))
    assert not np.array_equal(first[0].image, other.image)


def test_what_is_kept_in_memory_changes_nothing(make, dataset):
    for a, b in zip(make().iterator(6), make(volumes=Volumes(dataset, NAMES, memory=0)).iterator(6), strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_stream_goes_on_where_it_was_left(make, after):
    stream = make(flip=True, foreground=0.5)
    whole, first, second = list(stream.iterator(8)), stream.iterator(8), stream.iterator(8)
    for _ in range(after):
        next(first)
    second.set_state(json.loads(json.dumps(first.get_state())))  # as a checkpoint keeps it
    for a, b in zip(second, whole[after:], strict=True):
        assert_equal(a, b)


def test_processes_share_the_batch_of_one(make):
    stream = make(flip=True)
    shards = zip(*(stream.iterator(6, (i, 2)) for i in range(2)), strict=True)
    for whole, (first, second) in zip(stream.iterator(6), shards, strict=True):
        assert len(first.image) == len(second.image) == 2
        shared = [patch.tobytes() for part in (first, second) for patch in part.image]
        assert sorted(shared) == sorted(patch.tobytes() for patch in whole.image)


def test_a_volume_smaller_than_the_patch_lies_in_its_middle_and_the_rest_has_weight_zero(make, volumes):
    item = make(patch=(30, 8, 18)).patches()[0]
    assert item["start"][0] == -5
    assert item["start"][2] == 0
    assert item["weights"][5:25].all()
    assert not item["weights"][:5].any()
    assert not item["weights"][25:].any()
    rows = slice(item["start"][1], item["start"][1] + 8)
    np.testing.assert_array_equal(item["image"][5:25], volumes[int(item["volume"])].image[:, rows])


def test_a_volume_without_labels_has_weight_zero(make, dataset):
    batch = next(make(volumes=Volumes(dataset, [UNLABELLED]), foreground=1.0).iterator(1))
    assert batch.image.any()
    assert not batch.weights.any()


def test_volumes_are_read_once_as_far_as_memory_goes(dataset):
    size = Volumes(dataset, NAMES)[0].nbytes
    assert size == 20 * 24 * 18 * (2 * 2 + 1) + 4 * int((dataset[NAMES[0]].labels > 0).sum())
    both = Volumes(dataset, NAMES, memory=size)
    assert both[0] is both[0]
    assert both[1] is not both[1]


def test_images_have_no_patches(data_dir):
    with pytest.raises(UserError, match="has images: patches are drawn of volumes"):
        Volumes(Dataset("fetal_phantom/tiny", data_dir), [])


sides = st.integers(1, 12)
shapes = st.tuples(sides, sides, sides)


@settings(max_examples=40, deadline=None)
@given(shapes, shapes, st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_a_volume_put_together_from_its_tiles_is_itself(shape, patch, overlap, seed):
    volume = np.random.default_rng(seed).normal(size=(*shape, 2)).astype(np.float32)
    starts = tiles(shape, patch, overlap)
    together = stitch((crop(volume, start, patch) for start in starts), starts, shape)
    np.testing.assert_allclose(together, volume, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(shapes, shapes, st.floats(0, 0.9))
def test_tiles_stay_inside_and_overlap_as_asked(shape, patch, overlap):
    starts = np.array(tiles(shape, patch, overlap))
    assert len(set(map(tuple, starts.tolist()))) == len(starts)
    for axis, (n, p) in enumerate(zip(shape, patch, strict=True)):
        places = np.unique(starts[:, axis])
        if n <= p:
            assert places.tolist() == [(n - p) // 2]
        else:
            assert (places[0], places[-1]) == (0, n - p)
            assert (np.diff(places) <= max(1, p * (1 - overlap))).all()


def test_tiles_of_known_sizes():
    assert tiles((4, 4, 10), (4, 6, 4), 0.5) == [(0, -1, 0), (0, -1, 2), (0, -1, 4), (0, -1, 6)]
    assert [start[2] for start in tiles((1, 1, 10), (1, 1, 4), 0.0)] == [0, 3, 6]
    for overlap in (-0.1, 1.0):
        with pytest.raises(ValueError, match="expected 0 or more and less than 1"):
            tiles((4, 4, 4), (2, 2, 2), overlap)


def test_where_patches_disagree_the_one_whose_middle_is_nearer_counts_more():
    counts = importance((1, 1, 4))[0, 0]
    np.testing.assert_allclose(counts[:2], np.exp([-0.5 * 3**2, -0.5]), rtol=1e-6)  # sigma is half a voxel
    ones = np.ones((1, 1, 4, 1), np.float32)
    together = stitch([0 * ones, ones], [(0, 0, 0), (0, 0, 2)], (1, 1, 6))[0, 0, :, 0]
    share = np.exp(-4.5) / (np.exp(-4.5) + np.exp(-0.5))
    np.testing.assert_allclose(together, [0, 0, share, 1 - share, 1, 1], rtol=1e-6)


def test_a_volume_that_is_not_covered_is_refused():
    patch = np.ones((2, 2, 2, 1), np.float32)
    with pytest.raises(ValueError, match=r"do not cover a volume of shape \(2, 2, 3\)"):
        stitch([patch], [(0, 0, 0)], (2, 2, 3))
    with pytest.raises(ValueError, match="do not cover"):
        stitch([], [], (2, 2, 2))
    with pytest.raises(ValueError, match="argument 2 is longer"):
        stitch([patch], [(0, 0, 0), (0, 0, 1)], (2, 2, 3))


@settings(max_examples=40, deadline=None)
@given(shapes, shapes, st.tuples(*[st.integers(-15, 15)] * 3))
def test_a_crop_is_the_same_box_of_the_padded_array(shape, size, start):
    array = np.arange(1, 1 + np.prod(shape)).reshape(shape)
    padded = np.pad(array, 30)
    expected = padded[tuple(slice(30 + s, 30 + s + n) for s, n in zip(start, size, strict=True))]
    np.testing.assert_array_equal(crop(array, start, size), expected)
