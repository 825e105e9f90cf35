"""Conformal intervals: the quantile by hand, and coverage of what was not seen."""

import math

import numpy as np
import pytest

from fetal_jax.biometry.conformal import calibrate


def test_the_half_width_is_the_rank_by_hand():
    found = calibrate([1, -2, 3, -4, 5, -6, 7, -8, 9, -10])  # ceil(11 * 0.9) = the 10th of 10
    assert (found.half_width, found.n, found.n_missing, found.reason) == (10, 10, 0, "")
    assert calibrate(range(1, 20)).half_width == 18  # ceil(20 * 0.9) = 18, though 20 * 0.9 is 18.000000000000004 or so
    assert calibrate(range(1, 100)).half_width == 90
    assert calibrate([3, 1, 2], level=0.5).half_width == 2
    assert found.interval(100.0) == (90, 110)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_too_few_subjects_have_no_finite_interval_and_one_more_has(level):
    least = round(level / (1 - level))
    few = calibrate(np.ones(least - 1), level)
    assert few.half_width == math.inf
    assert few.reason == f"{least - 1} subjects are too few: {least} are needed"
    assert calibrate(np.ones(least), level).half_width == 1


def test_nothing_has_no_interval():
    assert calibrate([]).half_width == math.inf
    assert calibrate([np.nan] * 12).n == 0


def test_of_a_subject_its_largest_error_counts():
    errors, subjects = [1, -9, 2, 3], ["a", "a", "b", "b"]
    found = calibrate(errors, level=0.5, subjects=subjects)  # ceil(3 * 0.5) = the 2nd of 3 and 9
    assert (found.half_width, found.n) == (9, 2)
    assert calibrate(errors, level=0.5).half_width == 3


def test_what_was_not_measured_is_counted_and_no_error():
    found = calibrate([*range(1, 10), np.nan])
    assert (found.half_width, found.n, found.n_missing) == (9, 9, 1)


def simulated(rng, subjects, images=3):
    """Errors with an effect of the subject that is as large as that of the image."""
    return rng.standard_normal((subjects, 1)) + rng.standard_normal((subjects, images))


def test_new_subjects_are_covered():
    """Over many calibrations, the mean coverage is at least the level, and not much more."""
    rng, all_images, one_image = np.random.default_rng(0), [], []
    names = np.repeat(np.arange(49), 3).tolist()
    for _ in range(100):
        found = calibrate(simulated(rng, 49).ravel().tolist(), subjects=[str(name) for name in names])
        new = np.abs(simulated(rng, 400)) <= found.half_width
        all_images.append(new.all(axis=1).mean())
        one_image.append(new.mean())
    assert 0.88 < np.mean(all_images) < 0.92
    assert np.mean(one_image) > 0.92


@pytest.mark.parametrize("level", [0, 1, 90])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        calibrate([1.0], level)


def test_errors_and_subjects_are_as_many():
    with pytest.raises(ValueError, match="2 errors of 1 subjects"):
        calibrate([1.0, 2.0], subjects=["a"])
