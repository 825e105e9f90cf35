"""Scores of a set of images: by hand, in their own pixels, and on paper."""

import csv
import dataclasses

import numpy as np
import pytest

from fetal_jax.evaluation.score import score, write_per_image
from fetal_jax.metrics.overlap import METRICS
from fetal_jax.types import UserError

CLASSES = ("background", "csp", "lv")


@dataclasses.dataclass
class Image:
    """An image of which everything is known; `answer` is what the network says."""

    name: str
    subject: str
    labels: np.ndarray
    answer: np.ndarray

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
    assert list(rows[0]) == ["name", "subject", "class", *METRICS]
    assert [(row["name"], row["class"]) for row in rows[:3]] == [("S0_a", "csp"), ("S0_a", "lv"), ("S0_b", "csp")]
    assert len(rows) == 8
    assert [rows[2][metric] for metric in METRICS] == ["0.750000", "0.500000", "1.000000", "0.500000", "0.666667"]
    assert [rows[7][metric] for metric in METRICS] == ["1.000000", "", "", "", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["per_image.csv"]


def test_no_image_is_a_user_error():
    with pytest.raises(UserError, match=r"has no image: raise split\.test"):
        score(said, [], CLASSES)
