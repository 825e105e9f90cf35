"""The area under the ROC curve of subjects: as scikit-learn's, draw by draw."""

import math

import numpy as np
from sklearn.metrics import roc_auc_score

from fetal_jax.statistics.auroc import areas, auroc
from fetal_jax.statistics.bootstrap import multiplicities


def test_areas_of_draws_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, positive, times = rng.integers(0, 6, 20) * 1.0, rng.random(20) < 0.4, rng.integers(0, 3, (5, 20))
    expected = [roc_auc_score(positive, scores, sample_weight=weights) for weights in times]
    np.testing.assert_allclose(areas(scores, positive, times), expected)
    assert np.isnan(areas(scores, positive, np.where(positive, 1, 0)[None])[0])


def test_the_interval_is_of_draws_of_subjects_that_have_both_groups():
    scores, positive, subjects = np.array([1.0, 3, 2, 4, 5]), np.array([False, False, True, True, True]), list("abcde")
    area, low, high = auroc(scores, positive, subjects)
    draws = multiplicities(subjects)
    draws = draws[draws[:, :2].any(1) & draws[:, 2:].any(1)]
    found = [roc_auc_score(positive, scores, sample_weight=weights) for weights in np.unique(draws, axis=0)]
    assert area == 5 / 6
    assert min(found) <= low <= area <= high <= max(found)
    assert [low, high] == np.quantile(areas(scores, positive, draws), (0.025, 0.975)).tolist()


def test_one_group_alone_has_no_area():
    assert all(map(math.isnan, auroc(np.array([1.0, 2]), np.array([True, True]), ["a", "b"])))
