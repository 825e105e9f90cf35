"""One pass over test images: every number by hand, in order, and no pixel kept."""

import threading
import time
import weakref

import numpy as np
import pytest
from planted import record, says

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.evaluator import WAITING, ImageFacts, evaluate_records, in_order
from fetal_jax.evaluation.scores import score
from fetal_jax.metrics.surface import SURFACE_METRICS_MM, SURFACE_METRICS_PX

CLASSES = ("background", "csp", "lv")


def square(row=4, column=4, label=1, side=10, shape=(24, 30)):
    labels = np.zeros(shape, np.uint8)
    labels[row : row + side, column : column + side] = label
    return labels


def shifted(name="S0_a", by=3, **others):
    return record(name, square(), square(column=4 + by), **others)


def test_the_distances_of_a_shifted_square():
    found = evaluate_records(says(3), [shifted(spacing_mm=0.4)], CLASSES).scored
    assert found.distances["hd95_px"][0, 0] == found.distances["hd_px"][0, 0] == 3
    assert found.distances["hd95_mm"][0, 0] == pytest.approx(1.2)
    assert found.summary()["per_image"]["hd95_mm"]["csp"] == pytest.approx(1.2)
    assert found.summary()["pooled"]["hd_mm"]["csp"] == pytest.approx(1.2)
    assert found.counts.tp.tolist() == [[70, 0]]
    assert found.values()["dice"][0, 0] == 0.7


def test_pixels_that_are_no_squares_are_measured_along_their_axes():
    found = evaluate_records(says(3), [shifted(spacing_mm=(0.4, 0.1))], CLASSES).scored
    assert found.distances["hd_px"][0, 0] == 3
    assert found.distances["hd_mm"][0, 0] == pytest.approx(0.3)


def test_an_image_without_a_spacing_has_no_distance_in_mm():
    records = [shifted("S0_a", spacing_mm=0.4), shifted("S0_b", by=5), shifted("S1_a", by=1, spacing_mm=(0.5, 0))]
    found = evaluate_records(says(3), records, CLASSES).scored
    np.testing.assert_allclose(found.distances["hd_px"][:, 0], [3, 5, 1])
    np.testing.assert_allclose(found.distances["hd_mm"][:, 0], [1.2, np.nan, np.nan])
    summary = found.summary()
    assert summary["per_image"]["hd_mm"]["csp"] == pytest.approx(1.2)
    assert summary["pooled"]["hd_mm"]["csp"] == pytest.approx(1.2)
    assert summary["pooled"]["hd_px"]["csp"] == 5
    assert (summary["defined"]["hd_mm"]["csp"], summary["defined"]["hd_px"]["csp"]) == (1, 3)


def test_without_any_spacing_mm_is_left_out():
    found = evaluate_records(says(3), [shifted(), shifted("S1_a", by=2)], CLASSES).scored
    assert set(found.distances) == set(found.pooled_distances) == set(SURFACE_METRICS_PX)
    assert not set(SURFACE_METRICS_MM) & set(found.summary()["per_image"])


def test_an_absent_structure_is_undefined_missed_or_false_positive_and_counted():
    nothing = np.zeros((24, 30), np.uint8)
    records = [shifted(), record("S1_a", square(label=2), nothing), record("S2_a", nothing, square(label=2))]
    found = evaluate_records(says(3), records, CLASSES).scored
    diagonal = np.hypot(24, 30)
    np.testing.assert_allclose(found.distances["hd95_px"][:, 1], [np.nan, diagonal, diagonal])
    np.testing.assert_allclose(found.values()["dice"][:, 1], [np.nan, 0, 0])
    assert found.summary()["absent"]["lv"] == {"reference": 1, "prediction": 1, "both": 1}
    assert found.summary()["defined"]["dice"] == {"csp": 1, "lv": 2}


def test_a_subject_counts_once_however_many_images_it_has():
    records = [shifted("S0_a"), shifted("S0_b", by=5), record("S1_a", square())]
    found = evaluate_records(says(3), records, CLASSES).scored.summary()
    assert (found["n_images"], found["n_subjects"]) == (3, 2)
    assert found["per_image"]["dice"]["csp"] == pytest.approx((0.7 + 0.5 + 1) / 3)
    assert found["per_subject"]["dice"]["csp"] == pytest.approx((0.6 + 1) / 2)
    assert found["per_subject"]["hd_px"]["csp"] == pytest.approx((4 + 0) / 2)


def test_counts_are_those_of_score_and_rows_keep_their_order():
    rng = np.random.default_rng(0)
    records = [record(f"S{i}_a", *rng.integers(0, 3, (2, 9 + i % 3, 12))) for i in range(11)]
    found, alone = evaluate_records(says(3), iter(records), CLASSES), score(says(3), records, CLASSES)
    assert (found.scored.names, found.scored.subjects) == (alone.names, alone.subjects)
    for name in ("tp", "fp", "fn", "tn"):
        np.testing.assert_array_equal(getattr(found.scored.counts, name), getattr(alone.counts, name))


def test_the_tally_is_of_all_pixels_of_all_images():
    records = [shifted(), record("S1_a", [[0, 2], [2, 2]], [[0, 2], [1, 2]])]
    found = evaluate_records(says(3, sure=0.8), records, CLASSES).tally
    assert found.pixels == 24 * 30 + 4
    np.testing.assert_array_equal(found.confusion, [[24 * 30 - 130 + 1, 30, 0], [30, 70, 0], [0, 1, 2]])


def test_expected_dice_is_that_of_the_networks_own_probabilities():
    found = evaluate_records(says(3, sure=0.8), [shifted()], CLASSES).expected_dice
    inside, outside = 0.8 * 100, 0.1 * (24 * 30 - 100)
    np.testing.assert_allclose(found, [[2 * inside / (inside + outside + 100), np.nan]], rtol=1e-6)


def test_what_is_cleaned_stands_beside_what_is_raw():
    def without_lv(labels):
        return np.where(labels == 2, 0, labels).astype(np.uint8)

    answer = square(column=7)
    answer[20:, 20:] = 2
    found = evaluate_records(says(3), [record("S0_a", square(), answer, spacing_mm=1)], CLASSES, without_lv)
    assert found.scored.counts.fp.tolist() == [[30, 40]]
    assert found.cleaned.counts.fp.tolist() == [[30, 0]]
    assert found.cleaned.distances["hd_mm"][0, 0] == 3
    assert np.isnan(found.cleaned.distances["hd_mm"][0, 1])
    assert found.tally.confusion[0, 2] == 40
    assert np.isnan(found.expected_dice[0, 1])
    assert [(s.name, s.area_px) for s in found.predicted[0].structures] == [("head", 0), ("csp", 100), ("lv", 0)]
    assert evaluate_records(says(3), [shifted()], CLASSES).cleaned is None


def test_sizes_are_measured_of_prediction_and_reference():
    rows, columns = np.mgrid[:100, :120]
    disc = [((rows - 50) ** 2 + (columns - 60) ** 2 <= radius**2).astype(np.uint8) for radius in (30, 36)]
    records = [record("S0_a", *disc, spacing_mm=0.5, ga_weeks=20.0), record("S1_a", *disc)]
    found = evaluate_records(says(2), records, ("background", "head"))
    assert found.reference[0].sizes["hc_mm"] == pytest.approx(2 * np.pi * 30 * 0.5, rel=0.01)
    assert found.predicted[0].sizes["hc_mm"] == pytest.approx(2 * np.pi * 36 * 0.5, rel=0.01)
    assert found.facts == (ImageFacts(ga_weeks=20.0), ImageFacts())
    assert np.isnan(found.predicted[1].sizes["hc_mm"])
    assert "hc_mm" in found.reference[0].features
    assert "hc_mm" not in found.reference[1].features


def test_volumes_have_distances_and_no_anatomy():
    labels, answer = np.zeros((2, 6, 12, 12), np.uint8)
    labels[1:5, 3:9, 3:9], answer[2:6, 3:9, 3:9] = 1, 1
    found = evaluate_records(says(2), [record("S0", labels, answer, spacing_mm=(2, 1, 1))], ("background", "wm"))
    assert (found.scored.distances["hd_px"][0, 0], found.scored.distances["hd_mm"][0, 0]) == (1, 2)
    assert (found.predicted[0].sizes, found.reference[0].structures) == ({}, ())


def test_wrong_references_are_told_in_a_line_that_names_them():
    with pytest.raises(UserError, match=r"^S0_a: the reference is \(24, 30\), its image \(3, 3\): prepare it again$"):
        evaluate_records(says(3), [record("S0_a", square(), np.zeros((3, 3)))], CLASSES)
    with pytest.raises(UserError, match=r"^S0_a: the reference has label 7, but the classes are 0 to 2 \(background, "):
        evaluate_records(says(3), [record("S0_a", square(label=7), square())], CLASSES)
    with pytest.raises(UserError, match=r"has no image: raise split\.test"):
        evaluate_records(says(3), [], CLASSES)
    with pytest.raises(FloatingPointError, match="the probabilities of S0_a are not numbers"):
        evaluate_records(says(3, sure=np.nan), [shifted()], CLASSES)


def test_an_error_on_the_way_comes_out_and_nothing_hangs():
    def fails(labels):
        raise ArithmeticError(f"{labels.shape}")

    with pytest.raises(ArithmeticError, match=r"\(24, 30\)"):
        evaluate_records(says(3), [shifted(f"S{i}") for i in range(9)], CLASSES, fails)


def test_images_are_let_go():
    alive, most = set(), []

    def images():
        for i in range(20):
            each = shifted(f"S{i}")
            alive.add(i)
            weakref.finalize(each.image, alive.discard, i)
            yield each
            del each
            most.append(len(alive))

    evaluate_records(says(3), images(), CLASSES)
    assert max(most) <= WAITING + 2  # and the one that is asked for, and the one before


def test_what_runs_side_by_side_comes_in_order_and_never_far_ahead():
    asked, done, lock = [], [], threading.Lock()

    def items():
        for i in range(30):
            asked.append(i)
            assert len(asked) - len(done) <= WAITING
            yield i

    def slow(i):
        time.sleep(0.003 * (i % 3 == 0))
        with lock:
            return i * i

    for i, value in enumerate(in_order(slow, items())):
        assert value == i * i
        done.append(value)
    assert len(done) == 30


def test_an_error_comes_in_its_place():
    results = in_order(lambda i: 1 // (5 - i), range(9))
    assert [next(results) for _ in range(5)] == [0, 0, 0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
