"""Patches of volumes: where they come from, how often, and that a volume is covered and put together again."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline.builders.infant_mri.dummy import SHAPE, SPACING_MM, age_folders
from input_pipeline.dataset import Dataset, prepare
from input_pipeline.patch_stream import PatchStream, Volume, Volumes
from input_pipeline.sliding_window import crop, importance, stitch, tiles
from input_pipeline.streams import PseudoLabels

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
    defaults = {"labelled": volumes, "patch": PATCH, "batch_size": 4, "seed": 3, "patches_per_volume": 10}
    return lambda **changes: PatchStream(**defaults | changes)


def upright(item, key):
    """What a patch showed before it was flipped."""
    return item[key][::-1] if item["flipped"] else item[key]


def assert_equal(first, second):
    """Two batches with the same arrays in the same places, bit by bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
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


@pytest.mark.slow
def test_places_are_everywhere_in_the_volume_and_never_outside(make):
    starts = np.array([make(patches_per_volume=500).patches()[i]["start"] for i in range(900)])
    assert (starts.min(axis=0) == 0).all()
    assert (starts.max(axis=0) == np.subtract(SHAPE, PATCH)).all()
    room = np.subtract(SHAPE, PATCH)
    np.testing.assert_allclose(starts.mean(axis=0), room / 2, atol=4 * room.max() / np.sqrt(12 * 900))


@pytest.mark.slow
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
        sample = batch.labelled
        assert batch.unlabelled is None
        assert sample.image.shape == (4, *PATCH, 2)
        assert sample.labels.shape == sample.weights.shape == (4, *PATCH)
        assert [x.dtype for x in (sample.image, sample.labels, sample.weights)] == [np.float32, np.int32, np.float32]
        assert 0 <= sample.image.min() < sample.image.max() <= 1
        for i in range(4):
            item = stream.patches()[4 * step + i]
            np.testing.assert_allclose(sample.image[i], item["image"] / 65535, rtol=1e-6)
            np.testing.assert_array_equal(sample.labels[i], item["labels"])
            np.testing.assert_array_equal(sample.weights[i], item["weights"])


def test_the_same_stream_twice_is_bit_equal_and_another_seed_is_another(make):
    first, second = list(make(flip=True).iterator(6)), list(make(flip=True).iterator(6))
    for a, b in zip(first, second, strict=True):
        assert_equal(a, b)
    other = next(make(flip=True, seed=4).iterator(1))
    assert not np.array_equal(first[0].labelled.image, other.labelled.image)


def test_what_is_kept_in_memory_changes_nothing(make, dataset):
    for a, b in zip(make().iterator(6), make(labelled=Volumes(dataset, NAMES, memory=0)).iterator(6), strict=True):
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
        assert len(first.labelled.image) == len(second.labelled.image) == 2
        shared = [item for part in (first, second) for item in items_of(part.labelled)]
        assert sorted(shared) == sorted(items_of(whole.labelled))


def items_of(group):
    """The bytes of each patch: its image, labels, weights and views."""
    return [b"".join(array[i].tobytes() for array in jax.tree.leaves(group)) for i in range(len(group.weights))]


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
    batch = next(make(labelled=Volumes(dataset, [UNLABELLED]), foreground=1.0).iterator(1))
    assert batch.labelled.image.any()
    assert not batch.labelled.weights.any()


@pytest.fixture
def half(make, dataset):
    """The same stream with 2 of 4 patches of two volumes that nobody labelled; keywords replace its fields."""
    unlabelled = Volumes(dataset, [UNLABELLED, "18m_S001"])
    defaults = {"unlabelled": unlabelled, "n_unlabelled": 2, "patches_per_volume": 8}
    return lambda **changes: make(**defaults | changes)


class Numbered(Volumes):
    """Decoded volumes in which every voxel has a grey value of its own: a patch tells where it is from."""

    def __init__(self, *shapes):
        ends = np.cumsum([1, *(np.prod(shape) for shape in shapes)])
        self.numbers = [np.arange(a, b).reshape(s) for a, b, s in zip(ends, ends[1:], shapes, strict=False)]

    def __len__(self):
        return len(self.numbers)

    def __repr__(self):
        return "Numbered"

    def __getitem__(self, i):
        image, labels = self.numbers[i][..., None].astype(np.uint16), np.zeros(self.numbers[i].shape, np.uint8)
        return Volume(image, labels, False, np.ones(3, np.float32), np.zeros(0, np.uint32))


@pytest.fixture
def numbered():
    """Two volumes without labels: the first has voxels 1 to 540, the second all after them, to 1,296."""
    return Numbered((5, 9, 12), (9, 6, 14))


def numbers_in(images):
    """Of float patches [u d h w 1]: 0 outside of the volume."""
    return np.rint(images[..., 0].astype(np.float64) * 65535).astype(int)


def test_unlabelled_patches_have_labels_and_weights_of_their_own_voxels(half, numbered):
    """Pseudo-labels and trust are functions of a voxel's number here; outside of a volume both are 0."""
    labels = [(n % 4).astype(np.uint8) for n in numbered.numbers]
    weights = [np.float32(1 / 8) * (n % 8).astype(np.float32) for n in numbered.numbers]
    pseudo = PseudoLabels(labels, weights, np.array([True, True]))
    stream, seen, outside = half(unlabelled=numbered, pseudo=pseudo, flip=True), set(), 0
    for batch in stream.iterator(40):
        assert len(batch.labelled.image) == len(batch.unlabelled.weak) == 2
        views = batch.unlabelled
        assert (views.weak.dtype, views.labels.dtype, views.weights.dtype) == (np.float32, np.int32, np.float32)
        numbers = numbers_in(views.weak)
        np.testing.assert_array_equal(views.labels, np.where(numbers, numbers % 4, 0))
        np.testing.assert_array_equal(views.weights, np.where(numbers, numbers % 8 / 8, 0))
        seen |= set(np.unique(numbers).tolist())
        outside += (numbers == 0).sum()
    assert outside > 0  # the first is shorter than the patch
    assert seen - {0} == set(range(1, 1 + 1296))


def test_unlabelled_patches_that_nobody_labelled_have_weight_one_inside_and_no_labels(half, numbered):
    for batch in half(unlabelled=numbered, flip=True).iterator(20):
        assert batch.unlabelled.labels is None
        assert batch.unlabelled.strong == ()
        np.testing.assert_array_equal(batch.unlabelled.weights, numbers_in(batch.unlabelled.weak) > 0)


def test_unlabelled_volumes_are_drawn_equally_often_and_half_of_them_mirrored(half, numbered):
    volumes, flipped = [], []
    for batch in half(unlabelled=numbered, flip=True).iterator(24):  # 3 epochs of 2 x 8 patches
        for patch in numbers_in(batch.unlabelled.weak):
            volumes.append(int(patch.max() > 540))
            inside = patch[(patch > 0).any(axis=(1, 2))][:, 0, 0]
            flipped.append(bool(inside[0] > inside[-1]))
    assert [np.bincount(volumes[i : i + 16]).tolist() for i in (0, 16, 32)] == [[8, 8]] * 3
    assert 10 < sum(flipped) < 38


def test_dropped_volumes_are_drawn_only_where_views_are_to_be_consistent(half, numbered):
    zeros = [np.zeros(n.shape, np.uint8) for n in numbered.numbers]
    for kept, views, expected in (
        ((True, False), 0, {0}),
        ((True, False), 1, {0, 1}),
        ((False, True), 0, {1}),
    ):
        weights = [np.full(z.shape, float(k), np.float32) for z, k in zip(zeros, kept, strict=True)]
        stream = half(unlabelled=numbered, pseudo=PseudoLabels(zeros, weights, np.array(kept)), views=views)
        found = set()
        for batch in stream.iterator(12):
            for patch, trust in zip(numbers_in(batch.unlabelled.weak), batch.unlabelled.weights, strict=True):
                volume = int(patch.max() > 540)
                np.testing.assert_array_equal(trust, (patch > 0) * float(kept[volume]))
                found.add(volume)
        assert found == expected
        assert stream.steps_per_epoch == (3 + len(expected)) * 8 // 4


def test_where_no_volume_was_kept_or_none_is_asked_for_all_patches_are_labelled(half, numbered):
    zeros = [np.zeros(n.shape, np.uint8) for n in numbered.numbers]
    nothing = PseudoLabels(zeros, [z.astype(np.float32) for z in zeros], np.zeros(2, bool))
    for stream in (half(unlabelled=numbered, pseudo=nothing), half(n_unlabelled=0), half(unlabelled=None)):
        batch = next(stream.iterator(1))
        assert batch.unlabelled is None
        assert len(batch.labelled.image) == 4


def test_the_views_of_a_patch_look_different_but_lie_on_it(half):
    for batch in half(views=2, flip=True).iterator(6):
        weak, (first, second) = batch.unlabelled.weak, batch.unlabelled.strong
        assert first.shape == second.shape == weak.shape == (2, *PATCH, 2)
        assert not np.array_equal(first, second)
        for view in (first, second):
            assert view.dtype == np.float32
            assert 0 <= view.min() < view.max() <= 1
            assert (view[weak == 0] == 0).all()
            for patch, strong in zip(weak, view, strict=True):
                assert np.abs(strong - patch).max() > 0.02
                for channel in range(2):
                    assert np.corrcoef(patch[..., channel].ravel(), strong[..., channel].ravel())[0, 1] > 0.7


def test_labelled_patches_are_those_of_a_stream_without_unlabelled_ones(half, make):
    both = [batch.labelled for batch in half(views=1).iterator(4)]
    alone = [batch.labelled for batch in make(batch_size=2, patches_per_volume=8).iterator(4)]
    for a, b in zip(both, alone, strict=True):
        assert_equal(a, b)


def test_processes_share_unlabelled_patches_too(half):
    stream = half(batch_size=8, n_unlabelled=4, views=2, flip=True)
    shards = zip(*(stream.iterator(4, (i, 4)) for i in range(4)), strict=True)
    for whole, parts in zip(stream.iterator(4), shards, strict=True):
        for group in ("labelled", "unlabelled"):
            together = [item for part in parts for item in items_of(getattr(part, group))]
            assert len(together) == 4
            assert sorted(together) == sorted(items_of(getattr(whole, group)))


@pytest.mark.parametrize("after", [0, 3])
def test_a_stream_of_both_goes_on_where_it_was_left(half, after):
    stream = half(views=1, flip=True)
    whole, first, second = list(stream.iterator(6)), stream.iterator(6), stream.iterator(6)
    for _ in range(after):
        next(first)
    second.set_state(json.loads(json.dumps(first.get_state())))
    for a, b in zip(second, whole[after:], strict=True):
        assert_equal(a, b)


def test_a_volume_in_training_is_itself_and_has_no_padding(volumes, dataset):
    np.testing.assert_array_equal(volumes.image(1), dataset[NAMES[1]].image)
    np.testing.assert_array_equal(volumes.valid(1), np.ones(SHAPE, np.float32))
    assert volumes.valid(1).dtype == np.float32


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
