import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.statistics.bootstrap import interval, mean_interval, mean_intervals, multiplicities, subject_means

SUBJECTS = ["c", "a", "a", "b", "c", "c"]


def test_images_of_a_subject_are_drawn_together_and_as_many_subjects_as_there_are():
    drawn = multiplicities(SUBJECTS, n=50)
    assert drawn.shape == (50, 6)
    assert (drawn[:, 1] == drawn[:, 2]).all()
    assert (drawn[:, 0] == drawn[:, 4]).all()
    assert (drawn[:, [1, 3, 0]].sum(1) == 3).all()
    assert len(np.unique(drawn, axis=0)) > 5


def test_draws_depend_on_the_seed_and_on_names_but_not_on_the_order_of_images():
    order = [3, 0, 5, 1, 4, 2]
    drawn = multiplicities(SUBJECTS, n=20, seed=3)
    assert np.array_equal(drawn[:, order], multiplicities([SUBJECTS[i] for i in order], n=20, seed=3))
    assert not np.array_equal(drawn, multiplicities(SUBJECTS, n=20, seed=4))


def test_every_subject_is_drawn_once_on_average():
    assert multiplicities(list("abcde"), n=20_000).mean(0) == pytest.approx(np.ones(5), abs=0.03)


def test_the_interval_is_of_percentiles_and_leaves_undefined_draws_out():
    draws = np.stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.full(50, np.nan), np.arange(51.0)]], 1)
    low, high = interval(draws, level=0.9)
    assert low == pytest.approx([5, np.nan, 2.5], nan_ok=True)
    assert high == pytest.approx([95, np.nan, 47.5], nan_ok=True)


def test_an_interval_keeps_the_other_axes():
    low, high = interval(np.random.default_rng(0).random((200, 2, 3)))
    assert low.shape == high.shape == (2, 3)
    assert (low < high).all()


def test_the_interval_of_a_mean_is_near_the_known_one_of_many_independent_values():
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    mean, low, high = mean_interval(values, [str(i) for i in range(400)])
    half = 1.96 * values.std(ddof=1) / 20
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.001)


def test_images_that_repeat_their_subject_do_not_narrow_the_interval():
    values, subjects = np.random.default_rng(2).random(30), [f"{i:02d}" for i in range(30)]
    once = mean_interval(values, subjects)
    assert mean_interval(np.repeat(values, 5), np.repeat(subjects, 5).tolist()) == pytest.approx(once)


def test_undefined_values_are_in_no_sum_and_no_count():
    values = np.array([[0.2, 1.0], [np.nan, 1.0], [0.6, np.nan], [np.nan, np.nan]])
    result = mean_intervals(values, ["a", "b", "c", "d"])
    assert result.mean == pytest.approx([0.4, 1])
    assert result.n.tolist() == [2, 2]
    assert result.low == pytest.approx([0.2, 1])
    assert result.high == pytest.approx([0.6, 1])


@pytest.mark.parametrize(
    ("values", "subjects", "mean"),
    [
        ([], [], np.nan),
        ([np.nan] * 3, list("abc"), np.nan),
        ([0.5], ["a"], 0.5),
        ([0.4, 0.6, np.nan], list("aab"), 0.5),
    ],
)
def test_there_is_no_interval_without_two_subjects(values, subjects, mean):
    assert mean_interval(np.array(values), subjects) == pytest.approx((mean, np.nan, np.nan), nan_ok=True)


def test_every_image_needs_its_subject():
    with pytest.raises(ValueError, match="2 values of 1 images: give the subject of every image"):
        mean_interval(np.ones(2), ["a"])


def test_means_by_subject_are_in_the_order_of_their_names():
    names, means = subject_means(np.array([0.5, 0.1, 0.3, np.nan, np.nan, 0.7]), SUBJECTS)
    assert names == ("a", "b", "c")
    assert means == pytest.approx([0.2, np.nan, 0.6], nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1) | st.just(np.nan)), max_size=20))
def test_an_interval_lies_within_the_values(images):
    values, subjects = np.array([value for _, value in images]), [subject for subject, _ in images]
    mean, low, high = mean_interval(values, subjects, n=100)
    if np.isnan(low):
        assert len({s for s, v in images if not np.isnan(v)}) < 2
    else:
        assert np.nanmin(values) - 1e-12 <= low <= high <= np.nanmax(values) + 1e-12
        assert np.nanmin(values) - 1e-12 <= mean <= np.nanmax(values) + 1e-12
