"""The stream: what is drawn, how often, in which order, and that it can be picked up anywhere."""

import json
import time

import numpy as np
import pytest

from input_pipeline.dataset import Dataset, NetImages
from input_pipeline.pipeline import PseudoLabels, Stream

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
    valid = np.stack([pool[i]["weights"] for i in range(len(pool))])
    labels = np.where(valid > 0, 2, 0).astype(np.uint8)
    return PseudoLabels(labels, (valid * kept[:, None, None]).astype(np.float32), kept)


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
        "strong": True,
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
    n = len(batches[0].image) - (stream.n_unlabelled if stream.unlabelled is not None else 0)
    labelled = [which(image, stream.labelled) for batch in batches for image in batch.image[:n]]
    pool = [which(image, stream.unlabelled) for batch in batches for image in batch.image[n:]]
    return labelled, pool


def assert_equal(first, second):
    for key in ("image", "labels", "weights", "strong"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key), err_msg=key)


def assert_streams_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert_equal(a, b)


def test_a_batch_holds_labelled_images_first_and_then_the_pool(make, pools):
    for batch in make().iterator(4):
        assert batch.image.shape == (8, SIZE, SIZE, 1)
        assert batch.labels.shape == batch.weights.shape == (8, SIZE, SIZE)
        assert batch.strong.shape == (3, SIZE, SIZE, 1)
        assert [x.dtype for x in (batch.image, batch.labels, batch.weights, batch.strong)] == [
            np.float32,
            np.int32,
            np.float32,
            np.float32,
        ]
        for image, labels, weights in zip(batch.image[:5], batch.labels[:5], batch.weights[:5], strict=True):
            item = pools[0][which(image, pools[0])]
            np.testing.assert_array_equal(labels, item["labels"])
            np.testing.assert_array_equal(weights, item["weights"])
        assert all(which(image, pools[1]) >= 0 for image in batch.image[5:])


def test_every_image_is_drawn_once_an_epoch_and_epochs_differ(make):
    labelled, pool = drawn(make(), 12)  # 60 labelled draws are 6 epochs of 10, 36 others are 4 epochs of 9
    for indices, size in ((labelled, N_LABELLED), (pool, N_POOL)):
        epochs = [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len(set(epochs)) == len(epochs)


def test_an_epoch_has_as_many_images_as_are_used(make):
    assert make().steps_per_epoch == (10 + 9) // 8
    assert make(strong=False).steps_per_epoch == (10 + 7) // 8
    assert make(unlabelled=None, batch_size=4).steps_per_epoch == 10 // 4
    assert make(unlabelled=None, batch_size=64).steps_per_epoch == 1


def test_the_stream_ends_when_it_should(make):
    assert len(list(make().iterator(5))) == 5


@pytest.mark.parametrize("augment", ["none", "comprehensive", "simplified"])
def test_the_same_stream_twice_is_bit_equal(make, augment):
    stream = make(augment=augment)
    assert_streams_equal(stream.iterator(6), make(augment=augment).iterator(6))
    longer = stream.iterator(9)
    assert_streams_equal(stream.iterator(6), [next(longer) for _ in range(6)])


def test_another_seed_is_another_stream(make):
    assert drawn(make(), 4) != drawn(make(seed=8), 4)
    first, second = (next(make(seed=seed, augment="comprehensive").iterator(1)) for seed in (7, 8))
    assert not np.array_equal(first.strong, second.strong)


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
        for image, labels, weights in zip(batch.image[5:], batch.labels[5:], batch.weights[5:], strict=True):
            index = which(image, pools[1])
            seen.add(index)
            valid = pools[1][index]["weights"]
            np.testing.assert_array_equal(weights, valid * (index not in (2, 5)))
            np.testing.assert_array_equal(labels, 2 * valid)
    assert seen == set(range(N_POOL))


def test_without_a_second_view_only_kept_images_are_drawn(make):
    stream = make(strong=False)
    assert next(stream.iterator(1)).strong.shape == (0, SIZE, SIZE, 1)
    _, pool = drawn(stream, 7)
    assert set(pool) == set(range(N_POOL)) - {2, 5}


def test_a_pool_that_nobody_labelled_has_weight_zero(make):
    for batch in make(pseudo=None).iterator(3):
        assert (batch.weights[5:] == 0).all()
        assert (batch.weights[:5].max((1, 2)) == 1).all()


@pytest.mark.parametrize("changes", [{"unlabelled": None}, {"n_unlabelled": 0}], ids=["no pool", "none a step"])
def test_without_a_pool_the_whole_batch_is_labelled(make, pools, changes):
    batch = next(make(**changes).iterator(1))
    assert [which(image, pools[0]) >= 0 for image in batch.image] == [True] * 8
    assert batch.strong.shape == (0, SIZE, SIZE, 1)


def test_where_nothing_was_kept_the_whole_batch_is_labelled(make, pools):
    stream = make(strong=False, pseudo=pseudo_labels(pools[1], dropped=range(N_POOL)))
    batch = next(stream.iterator(1))
    assert len({which(image, pools[0]) for image in batch.image}) == 8
    assert stream.steps_per_epoch == 1


def test_two_processes_share_the_batch_of_one(make):
    stream = make(batch_size=8, n_unlabelled=2, augment="flips")
    halves = zip(stream.iterator(4, (0, 2)), stream.iterator(4, (1, 2)), strict=True)
    for whole, (first, second) in zip(stream.iterator(4), halves, strict=True):
        assert len(first.image) == len(second.image) == 4
        assert len(first.strong) == len(second.strong) == 1
        for key in ("image", "labels", "weights", "strong"):
            shared = np.concatenate([getattr(first, key), getattr(second, key)])
            assert sorted(x.tobytes() for x in shared) == sorted(x.tobytes() for x in getattr(whole, key))
        image, strong = (np.concatenate([getattr(first, k), getattr(second, k)]) for k in ("image", "strong"))
        for shown, view in zip([*first.strong_of, *second.strong_of], strong, strict=True):
            assert np.array_equal(image[shown] == 0, view == 0) or (view[image[shown] == 0] == 0).all()
            assert np.corrcoef(image[shown].ravel(), view.ravel())[0, 1] > 0.8


def shifted(image, by):
    return np.roll(image, by, axis=1)


def test_the_second_view_looks_different_but_lies_on_the_first(make):
    for batch in make(augment="flips").iterator(4):
        for weak, strong in zip(batch.image[5:, ..., 0], batch.strong[..., 0], strict=True):
            assert (strong[weak == 0] == 0).all()
            assert 0 <= strong.min() < strong.max() <= 1
            assert np.abs(strong - weak).max() > 0.02
            likeness = {by: np.corrcoef(shifted(weak, by).ravel(), strong.ravel())[0, 1] for by in (-2, -1, 0, 1, 2)}
            assert max(likeness, key=likeness.get) == 0
            assert likeness[0] > np.corrcoef(weak[:, ::-1].ravel(), strong.ravel())[0, 1]


def test_labels_move_with_their_image(make, pools):
    flipped = 0
    for batch in make(unlabelled=None, augment="flips").iterator(4):
        for image, labels in zip(batch.image, batch.labels, strict=True):
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
    assert unit.image.min() == 0
    for key in ("image", "strong"):
        one, two = getattr(unit, key), getattr(symmetric, key)
        assert two.dtype == np.float32
        np.testing.assert_allclose(two, 2 * one - 1, atol=1e-6)
    np.testing.assert_array_equal(unit.labels, symmetric.labels)
