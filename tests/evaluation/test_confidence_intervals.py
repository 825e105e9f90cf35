"""Bootstrap intervals of all averages at once: those of drawing subjects again, one draw at a time."""

import dataclasses

import numpy as np
import pytest
from planted import record, says

from fetal_jax.evaluation.confidence_intervals import intervals
from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.scores import score
from fetal_jax.metrics.surface import SURFACE_METRICS_PX
from fetal_jax.statistics.bootstrap import multiplicities

CLASSES = ("background", "csp", "lv")


def records(n_subjects=5, seed=0):
    """One to three images a subject, of which only two subjects have the second class."""
    rng = np.random.default_rng(seed)
    for i in range(3 * n_subjects):
        if i % 3 <= (i // 3) % 3:
            labels, answer = rng.integers(0, 3 if i // 3 in (1, 2) else 2, (2, 6, 7))
            yield record(f"S{i // 3}_{i % 3}", labels, np.where(rng.random(labels.shape) < 0.6, labels, answer))


def mean(values):
    """Over what is defined; NaN where nothing is."""
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else np.nan


def drawn_again(dice, counts, subjects, weights):
    """The averages of one class, each image as often as its weight: per image, per subject, pooled."""
    rows = np.repeat(np.arange(len(weights)), weights)
    once = dict(zip(subjects, weights, strict=True))
    of_subject = {name: mean(dice[[other == name for other in subjects]]) for name in once}
    tp, fp, fn = counts[rows].sum(0)
    pooled = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else np.nan
    return mean(dice[rows]), mean([of_subject[name] for name in once for _ in range(once[name])]), pooled


@pytest.mark.slow
def test_they_are_those_of_a_direct_bootstrap():
    scored = score(says(3), records(), CLASSES)
    dice, counts = scored.values()["dice"], np.stack([scored.counts.tp, scored.counts.fp, scored.counts.fn], -1)
    draws = np.array(
        [
            [drawn_again(dice[:, c], counts[:, c], scored.subjects, weights) for c in range(2)]
            for weights in multiplicities(scored.subjects)
        ]
    )  # [draws classes averages]
    found = intervals(scored)
    assert np.isnan(draws).any()  # a draw may lack a structure
    for i, average in enumerate(("per_image", "per_subject", "pooled")):
        for c, name in enumerate(("csp", "lv")):
            expected = np.nanquantile(draws[:, c, i], (0.025, 0.975))
            np.testing.assert_allclose(found.of(average, "dice", name), expected, rtol=1e-12)
        whole = [np.mean(of_classes) for of_classes in draws[:, :, i] if not np.isnan(of_classes).any()]
        expected = np.quantile(whole, (0.025, 0.975))
        np.testing.assert_allclose(found.of(average, "dice"), expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_average_lies_in_its_interval(seed):
    scored = evaluate_records(says(3), records(8, seed), CLASSES).scored
    found, summary = intervals(scored), scored.summary()
    assert set(SURFACE_METRICS_PX) < set(found.per_image)
    for average, metrics in dataclasses.asdict(found).items():
        for metric, of_class in metrics.items():
            for name, (low, high) in of_class.items():
                assert low <= summary[average][metric][name] <= high, (average, metric, name)


def test_pooled_distances_have_none():
    found = intervals(evaluate_records(says(3), records(), CLASSES).scored)
    assert set(found.per_image) - set(found.pooled) == set(SURFACE_METRICS_PX)


def test_images_of_one_subject_give_no_interval():
    images = [record(f"S0_{i}", [[0, 1, 1, 2]], [[0, 1, i % 2, 2]]) for i in range(6)]
    for average in dataclasses.asdict(intervals(score(says(3), images, CLASSES))).values():
        assert average["dice"] == average["accuracy"] == {"csp": None, "lv": None, "mean": None}


def test_a_structure_of_one_subject_has_none():
    """Drawn again and again, it would always be the same."""
    images = [record(f"S{i}_a", [[0, 1, 1, 1]], [[0] * (3 - i) + [1] * (i + 1)]) for i in range(3)]
    images += [record("S3_a", [[2, 2, 2, 0]], [[2, 2, 0, 0]])]
    found = intervals(score(says(3), images, CLASSES))
    for average in dataclasses.asdict(found).values():
        assert average["dice"]["lv"] is None
        assert average["dice"]["csp"][0] < average["dice"]["csp"][1]
        assert average["dice"]["mean"] is None  # of something else in every draw that lacks the structure
        assert average["specificity"]["lv"] is not None


def test_a_structure_of_no_subject_has_none():
    images = [record(f"S{i}_a", [[0, 1, 1]], [[0, 1, i]]) for i in range(2)]
    found = intervals(score(says(3), images, CLASSES))
    assert found.pooled["dice"]["lv"] is None
    assert found.pooled["dice"]["mean"] == found.pooled["dice"]["csp"]
