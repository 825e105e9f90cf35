"""Scores of a set of images: by hand, in their own pixels, and on paper."""

import csv
import dataclasses

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.scores import score, write_per_image
from fetal_jax.metrics.registry import COUNT_METRICS

CLASSES = ("background", "csp", "lv")


@dataclasses.dataclass
class Image:
    """An image of which everything is known; `answer` is what the network says."""

    name: str
    subject: str
    labels: np.ndarray
    answer: np.ndarray
    spacing_mm: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2, np.float32))
    about: dict = dataclasses.field(default_factory=dict)

    @property
    def image(self):
        return self.answer


def said(images):
    """A network that says what stands in the image."""
    return (np.eye(3, dtype=np.float32)[image] for image in images)


def records():
    return [
        Image("S0_a", "S0", np.array([[0, 1, 1, 2]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8)),
        Image("S0_b", "S0", np.array([[0, 1], [0, 0]], np.uint8), np.array([[1, 1], [0, 0]], np.uint8)),
        Image("S1_a", "S1", np.array([[0, 0, 2]], np.uint8), np.array([[0, 1, 0]], np.uint8)),
        Image("S1_b", "S1", np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint8)),
    ]


def test_counts_come_in_order_from_images_of_different_sizes():
    scored = score(said, iter(records()), CLASSES)
    assert scored.names == ("S0_a", "S0_b", "S1_a", "S1_b")
    assert scored.subjects == ("S0", "S0", "S1", "S1")
    assert scored.classes == ("csp", "lv")
    np.testing.assert_array_equal(scored.counts.tp, [[2, 1], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(scored.counts.fp, [[0, 0], [1, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(scored.counts.fn, [[0, 0], [0, 0], [0, 1], [0, 0]])


def test_records_may_be_read_ahead_of_the_answers():
    def in_one_go(images):
        return said(list(images))

    assert score(in_one_go, records(), CLASSES).names == score(said, records(), CLASSES).names


def test_the_dice_of_an_image_is_over_its_defined_classes():
    dice = score(said, records(), CLASSES).dice()
    np.testing.assert_allclose(dice[:3], [1, 2 / 3, 0])
    assert np.isnan(dice[3])


def test_the_summary_holds_the_three_averages():
    summary = score(said, records(), CLASSES).summary()
    assert summary["per_image"]["dice"]["csp"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert summary["per_subject"]["dice"]["csp"] == pytest.approx(((1 + 2 / 3) / 2 + 0) / 2)
    assert summary["pooled"]["dice"]["csp"] == pytest.approx(6 / 8)
    assert summary["n_images"] == 4


def test_the_table_has_a_row_an_image_and_class(tmp_path):
    path = tmp_path / "per_image.csv"
    write_per_image(path, score(said, records(), CLASSES))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "subject", "class", *COUNT_METRICS]
    assert [(row["name"], row["class"]) for row in rows[:3]] == [("S0_a", "csp"), ("S0_a", "lv"), ("S0_b", "csp")]
    assert len(rows) == 8
    some = ("accuracy", "precision", "recall", "specificity", "jaccard", "dice")
    assert [float(rows[2][metric]) for metric in some] == [0.75, 0.5, 1, 0.666667, 0.5, 0.666667]
    defined = [metric for metric in COUNT_METRICS if rows[7][metric]]
    assert defined == ["accuracy", "specificity"]
    assert [p.name for p in tmp_path.iterdir()] == ["per_image.csv"]


def test_distances_are_summed_up_beside_the_scores():
    """As they are measured in assess.py; here they are only averaged and written."""
    scored = score(said, records(), CLASSES)
    far = {"hd_px": np.array([[0, 0], [4, np.nan], [2, 9], [np.nan, np.nan]])}
    summary = dataclasses.replace(scored, distances=far, pooled_distances={"hd_px": np.array([4.0, 9])}).summary()
    assert summary["per_image"]["hd_px"] == {"csp": 2, "lv": 4.5, "mean": 3.25}
    assert summary["per_subject"]["hd_px"]["csp"] == 2
    assert summary["pooled"]["hd_px"] == {"csp": 4, "lv": 9, "mean": 6.5}
    assert summary["defined"]["hd_px"] == {"csp": 3, "lv": 2}
    assert summary["absent"]["csp"] == {"reference": 1, "prediction": 0, "both": 1}


def test_no_image_is_a_user_error():
    with pytest.raises(UserError, match=r"has no image: raise split\.test"):
        score(said, [], CLASSES)


def test_a_reference_that_does_not_fit_is_named_with_the_remedy():
    wide = dataclasses.replace(records()[0], labels=np.zeros((1, 5), np.uint8))
    with pytest.raises(UserError, match=r"^S0_a: the reference is \(1, 5\), its image \(1, 4\): prepare it again$"):
        score(said, [wide], CLASSES)
    other = dataclasses.replace(records()[0], labels=np.array([[0, 1, 1, 3]], np.uint8))
    message = r"^S0_a: the reference has label 3, but the classes are 0 to 2 \(background, csp, lv\): prepare it again"
    with pytest.raises(UserError, match=message):
        score(said, [other], CLASSES)


def test_an_answer_that_is_no_number_is_an_error_of_ours():
    with pytest.raises(FloatingPointError, match="the probabilities of S0_b are not numbers"):
        score(lambda images: (np.full((2, 2, 3), np.nan) for _ in images), records()[1:2], CLASSES)
