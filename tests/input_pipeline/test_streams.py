"""The stream: what is drawn, how often, in which order, and that it can be picked up anywhere."""

import json
import time

import jax
import numpy as np
import pytest

from input_pipeline.dataset import Dataset, NetImages
from input_pipeline.streams import PseudoLabels, Stream

# Augmentations that leave every pixel in its place.
STRONG = ("perturb", "none", "speckle", "shadow", "gain_curve", "depth_attenuation", "gamma(0.4)|speckle(0.3)")

SIZE = 32
N_LABELLED, N_POOL = 10, 9


@pytest.fixture(scope="module")
def pools(data_dir):
    """10 labelled images and 9 others, at 32 x 32."""
    dataset = Dataset("fetal_phantom/tiny", data_dir, ("brain",))
    names = dataset.names[:N_LABELLED], dataset.names[N_LABELLED : N_LABELLED + N_POOL]
    return tuple(NetImages(dataset, part, SIZE) for part in names)


def pseudo_labels(pool, dropped=(2, 5)):
    """The teacher says class 2 everywhere on the image; some images are dropped."""
    kept = np.ones(len(pool), bool)
    kept[list(dropped)] = False
    valid = [pool[i]["weights"] for i in range(len(pool))]
    labels = [np.where(v > 0, 2, 0).astype(np.uint8) for v in valid]
    return PseudoLabels(labels, [(v * k).astype(np.float32) for v, k in zip(valid, kept, strict=True)], kept)


@pytest.fixture
def make(pools):
    """A stream over both pools, 5 + 3 images a step; keywords replace its fields."""
    labelled, pool = pools
    defaults = {
        "labelled": labelled,
        "unlabelled": pool,
        "pseudo": pseudo_labels(pool),
        "batch_size": 8,
        "n_unlabelled": 3,
        "augment": "none",
        "views": 1,
        "seed": 7,
    }
    return lambda **changes: Stream(**defaults | changes)


def which(image, pool):
    """The index in a pool of an image that was not augmented."""
    found = [i for i in range(len(pool)) if np.array_equal(pool[i]["image"].astype(np.float32) / 255, image)]
    assert len(found) == 1
    return found[0]


def drawn(stream, steps):
    """The indices drawn in some steps: labelled, unlabelled."""
    batches = list(stream.iterator(steps))
    labelled = [which(image, stream.labelled) for batch in batches for image in batch.labelled.image]
    weak = [image for batch in batches if batch.unlabelled is not None for image in batch.unlabelled.weak]
    return labelled, [which(image, stream.unlabelled) for image in weak]


def assert_equal(first, second):
    """Two batches with the same arrays in the same places, bit by bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_streams_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert_equal(a, b)


def test_a_batch_holds_labelled_images_and_views_of_the_others(make, pools):
    for batch in make().iterator(4):
        sample, views = batch.labelled, batch.unlabelled
        assert sample.image.shape == (5, SIZE, SIZE, 1)
        assert sample.labels.shape == sample.weights.shape == (5, SIZE, SIZE)
        assert views.weak.shape == (3, SIZE, SIZE, 1)
        assert views.labels.shape == views.weights.shape == (3, SIZE, SIZE)
        assert [view.shape for view in views.strong] == [(3, SIZE, SIZE, 1)]
        for images in (sample.image, views.weak, *views.strong):
            assert images.dtype == np.float32
        for labels, weights in ((sample.labels, sample.weights), (views.labels, views.weights)):
            assert (labels.dtype, weights.dtype) == (np.int32, np.float32)
        for image, labels, weights in zip(sample.image, sample.labels, sample.weights, strict=True):
            item = pools[0][which(image, pools[0])]
            np.testing.assert_array_equal(labels, item["labels"])
            np.testing.assert_array_equal(weights, item["weights"])
        assert all(which(image, pools[1]) >= 0 for image in views.weak)
        pseudo = views.pseudo
        assert pseudo.image is views.weak
        assert (pseudo.labels is views.labels, pseudo.weights is views.weights) == (True, True)


def test_every_image_is_drawn_once_an_epoch_and_epochs_differ(make):
    labelled, pool = drawn(make(), 12)  # 60 labelled draws are 6 epochs of 10, 36 others are 4 epochs of 9
    for indices, size in ((labelled, N_LABELLED), (pool, N_POOL)):
        epochs = [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len(set(epochs)) == len(epochs)


def test_an_epoch_has_as_many_images_as_are_used(make):
    assert make().steps_per_epoch == (10 + 9) // 8
    assert make(views=0).steps_per_epoch == (10 + 7) // 8
    assert make(unlabelled=None, batch_size=4).steps_per_epoch == 10 // 4
    assert make(unlabelled=None, batch_size=64).steps_per_epoch == 1


def test_the_stream_ends_when_it_should(make):
    assert len(list(make().iterator(5))) == 5


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "comprehensive", "simplified"])
def test_the_same_stream_twice_is_bit_equal(make, augment):
    stream = make(augment=augment)
    assert_streams_equal(stream.iterator(6), make(augment=augment).iterator(6))
    longer = stream.iterator(9)
    assert_streams_equal(stream.iterator(6), [next(longer) for _ in range(6)])


def test_another_seed_is_another_stream(make):
    assert drawn(make(), 4) != drawn(make(seed=8), 4)
    first, second = (next(make(seed=seed, augment="comprehensive").iterator(1)) for seed in (7, 8))
    assert not np.array_equal(first.unlabelled.strong[0], second.unlabelled.strong[0])


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_stream_goes_on_where_it_was_left(make, after):
    whole = list(make(augment="comprehensive").iterator(8))
    first = make(augment="comprehensive").iterator(8)
    for _ in range(after):
        next(first)
    state = json.loads(json.dumps(first.get_state()))  # as a checkpoint keeps it
    second = make(augment="comprehensive").iterator(8)
    second.set_state(state)
    assert_streams_equal(second, whole[after:])


def test_the_speed_of_the_reader_changes_nothing(make):
    slow = []
    for i, batch in enumerate(make(augment="comprehensive").iterator(8)):
        time.sleep(0.02 * (i % 3))  # lets the threads run ahead by different amounts
        slow.append(batch)
    assert_streams_equal(slow, make(augment="comprehensive").iterator(8))


def test_dropped_images_have_weight_zero_and_kept_ones_their_pseudo_labels(make, pools):
    seen = set()
    for batch in make().iterator(6):
        views = batch.unlabelled
        for image, labels, weights in zip(views.weak, views.labels, views.weights, strict=True):
            index = which(image, pools[1])
            seen.add(index)
            valid = pools[1][index]["weights"]
            np.testing.assert_array_equal(weights, valid * (index not in (2, 5)))
            np.testing.assert_array_equal(labels, 2 * valid)
    assert seen == set(range(N_POOL))


def test_without_views_only_kept_images_are_drawn(make):
    stream = make(views=0)
    assert next(stream.iterator(1)).unlabelled.strong == ()
    _, pool = drawn(stream, 7)
    assert set(pool) == set(range(N_POOL)) - {2, 5}


@pytest.mark.parametrize("views", [0, 1])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_images_that_nobody_labelled_have_no_labels_and_weight_one_but_in_the_padding(make, pools, views, augment):
    seen = set()
    for batch in make(pseudo=None, views=views, augment=augment).iterator(3):
        assert batch.unlabelled.labels is None
        assert len(batch.unlabelled.strong) == views
        assert (batch.labelled.weights.max((1, 2)) == 1).all()
        for image, weights in zip(batch.unlabelled.weak, batch.unlabelled.weights, strict=True):
            turned = [which_or_none(image, pools[1]), which_or_none(image[:, ::-1], pools[1])]
            assert any(index is not None for index in turned)
            for index, valid in zip(turned, (weights, weights[:, ::-1]), strict=True):
                if index is not None:
                    np.testing.assert_array_equal(valid, pools[1][index]["weights"])
                    seen.add(index)
    assert seen == set(range(N_POOL))
    padded = [pools[1][i]["weights"] for i in range(N_POOL)]
    assert all(set(np.unique(weights)) == {0, 1} for weights in padded)  # images of 96 x 128 have padding in a square


def which_or_none(image, pool):
    found = [i for i in range(len(pool)) if np.array_equal(pool[i]["image"] / np.float32(255), image)]
    return found[0] if found else None


@pytest.mark.parametrize("changes", [{"unlabelled": None}, {"n_unlabelled": 0}], ids=["no pool", "none a step"])
def test_without_a_pool_the_whole_batch_is_labelled(make, pools, changes):
    batch = next(make(**changes).iterator(1))
    assert [which(image, pools[0]) >= 0 for image in batch.labelled.image] == [True] * 8
    assert batch.unlabelled is None


def test_where_nothing_was_kept_the_whole_batch_is_labelled(make, pools):
    stream = make(views=0, pseudo=pseudo_labels(pools[1], dropped=range(N_POOL)))
    batch = next(stream.iterator(1))
    assert len({which(image, pools[0]) for image in batch.labelled.image}) == 8
    assert batch.unlabelled is None
    assert stream.steps_per_epoch == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("labelled_by", ["a teacher", "nobody"])
def test_processes_share_the_batch_of_one(make, pools, count, labelled_by):
    """Each item with all that belongs to it, in exactly one of them."""
    pseudo = pseudo_labels(pools[1]) if labelled_by == "a teacher" else None
    stream = make(batch_size=12, n_unlabelled=4, views=2, augment="flips", pseudo=pseudo)
    shards = zip(*(stream.iterator(4, (i, count)) for i in range(count)), strict=True)
    for whole, parts in zip(stream.iterator(4), shards, strict=True):
        assert [len(part.labelled.image) for part in parts] == [8 // count] * count
        assert [len(part.unlabelled.weak) for part in parts] == [4 // count] * count
        for group in ("labelled", "unlabelled"):
            together = [item for part in parts for item in items_of(getattr(part, group))]
            assert sorted(together) == sorted(items_of(getattr(whole, group)))


def items_of(group):
    """The bytes of each item: its image, labels, weights and views."""
    return [b"".join(array[i].tobytes() for array in jax.tree.leaves(group)) for i in range(len(group.weights))]


def shifted(image, by):
    return np.roll(image, by, axis=1)


def test_a_strong_view_looks_different_but_lies_on_the_weak_one(make):
    for batch in make(augment="flips", views=2).iterator(4):
        first, second = batch.unlabelled.strong
        assert not np.array_equal(first, second)
        for strong_views in (first, second):
            for weak, strong in zip(batch.unlabelled.weak[..., 0], strong_views[..., 0], strict=True):
                assert (strong[weak == 0] == 0).all()
                assert 0 <= strong.min() < strong.max() <= 1
                assert np.abs(strong - weak).max() > 0.02
                likeness = {
                    by: np.corrcoef(shifted(weak, by).ravel(), strong.ravel())[0, 1] for by in (-2, -1, 0, 1, 2)
                }
                assert max(likeness, key=likeness.get) == 0
                assert likeness[0] > np.corrcoef(weak[:, ::-1].ravel(), strong.ravel())[0, 1]


@pytest.mark.parametrize("name", STRONG)
def test_strong_views_are_of_the_augmentation_that_is_named_and_move_nothing(make, name):
    plain, batch = (next(make(strong=strong, augment="flips").iterator(1)).unlabelled for strong in ("perturb", name))
    np.testing.assert_array_equal(batch.weak, plain.weak)
    np.testing.assert_array_equal(batch.weights, plain.weights)
    (view,) = batch.strong
    assert view.dtype == np.float32
    assert (view[batch.weak == 0] == 0).all()
    assert np.array_equal(view, batch.weak) == (name == "none")
    assert np.array_equal(view, plain.strong[0]) == (name == "perturb")
    for weak, strong in zip(batch.weak[..., 0], view[..., 0], strict=True):
        assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.6


def test_the_number_of_views_changes_no_weak_image(make):
    """What the views draw comes after it."""
    batches = [next(make(views=views, augment="comprehensive").iterator(1)) for views in (1, 3)]
    assert [len(batch.unlabelled.strong) for batch in batches] == [1, 3]
    np.testing.assert_array_equal(batches[0].unlabelled.weak, batches[1].unlabelled.weak)
    np.testing.assert_array_equal(batches[0].unlabelled.strong[0], batches[1].unlabelled.strong[0])


def test_labels_move_with_their_image(make, pools):
    flipped = 0
    for batch in make(unlabelled=None, augment="flips").iterator(4):
        for image, labels in zip(batch.labelled.image, batch.labelled.labels, strict=True):
            turned = image[:, ::-1]
            is_flipped = not any(np.array_equal(pools[0][i]["image"] / np.float32(255), image) for i in range(10))
            item = pools[0][which(turned if is_flipped else image, pools[0])]
            np.testing.assert_array_equal(labels, item["labels"][:, ::-1] if is_flipped else item["labels"])
            flipped += is_flipped
    assert 4 < flipped < 28  # of 32, half by chance


def test_draws_say_how_often_an_image_comes_and_an_epoch_stays_as_long(make):
    plain = make(unlabelled=None, batch_size=5)
    stream = make(unlabelled=None, batch_size=5, draws=(0, 1, 1, 1, 4))
    assert stream.steps_per_epoch == plain.steps_per_epoch == 2
    labelled, _ = drawn(stream, 6)
    counts = np.bincount(labelled, minlength=N_LABELLED)
    assert counts.tolist() == [6, 18, 0, 0, 6, 0, 0, 0, 0, 0]


def test_a_symmetric_intensity_is_twice_the_unit_one_less_one(make):
    unit, symmetric = (next(make(intensity=name, augment="flips").iterator(1)) for name in ("unit", "symmetric"))
    assert unit.labelled.image.min() == unit.unlabelled.weak.min() == 0
    pairs = [(unit.labelled.image, symmetric.labelled.image), (unit.unlabelled.weak, symmetric.unlabelled.weak)]
    for one, two in [*pairs, (unit.unlabelled.strong[0], symmetric.unlabelled.strong[0])]:
        assert two.dtype == np.float32
        np.testing.assert_allclose(two, 2 * one - 1, atol=1e-6)
    np.testing.assert_array_equal(unit.labelled.labels, symmetric.labelled.labels)
