"""Which images a report shows, and what of them: worst first, undefined ones not at all."""

import math

import numpy as np
import pytest
from planted import dataset, record, says, segmenter

from fetal_jax.core.types import Variables
from fetal_jax.evaluation.explain import Concentration
from fetal_jax.evaluation.explain.explanations import Explainer, Explanations
from fetal_jax.evaluation.protocol import LabellingResult, PseudoLabelFacts
from fetal_jax.evaluation.scores import score
from fetal_jax.reporting import gallery

CLASSES = ("background", "csp")
SIDE = 12


def images(found):
    """A square of twelve pixels each, of which so many are found; None: there is none, and none is found."""
    for i, number in enumerate(found):
        labels, answer = np.zeros((2, SIDE, SIDE), np.uint8)
        labels[3, :], answer[3, : number or 0] = number is not None, 1
        yield record(f"S{i}_a", labels, answer)


def of(found):
    records = list(images(found))
    return dataset(CLASSES, test=records), segmenter(CLASSES, SIDE), score(says(2), records, CLASSES)


def test_images_are_ranked_worst_first_and_those_without_a_score_left_out():
    assert gallery.ranked(of([9, 3, None, 12, 0, 3])[2]) == [4, 1, 5, 0, 3]
    assert gallery.ranked(of([None])[2]) == []


def test_the_worst_the_median_and_the_best_are_shown():
    shown = gallery.test_gallery(*of([9, 3, 12, 0, 6, 11, None, 1, 2, 4, 5]))
    names = {title: [e.name for e in shown if e.title == title] for title in ("worst", "median", "best")}
    assert names == {
        "worst": ["S3_a", "S7_a", "S8_a"],
        "median": ["S9_a", "S10_a", "S4_a"],
        "best": ["S2_a", "S5_a", "S0_a"],
    }
    best = shown[6]
    assert (best.dice, best.subject, best.prediction.sum(), best.labels.sum()) == (1, "S2", 12, 12)
    assert [int(e.prediction.sum()) for e in shown] == [0, 1, 2, 4, 5, 6, 12, 11, 9]
    assert all(e.image.shape == (SIDE, SIDE) for e in shown)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_of_few_images_as_many_are_shown_as_there_are(number):
    shown = gallery.test_gallery(*of([9, 3, 12, 6][:number]))
    for title in ("worst", "median", "best"):
        names = [e.name for e in shown if e.title == title]
        assert len(names) == len(set(names)) == min(number, 3)
    assert gallery.test_gallery(*of([None])) == ()


@pytest.fixture
def explained(monkeypatch):
    """The explainer is told what it was asked for; the other tests are in evaluation/test_explain.py."""
    asked = []

    class Told(Explainer):
        def __init__(self, config, variables):
            pass

        def __call__(self, image, labels):
            asked.append(int((image == 1).sum()))
            maps = {name: np.eye(SIDE, dtype=np.float32) for name in ("grad_cam", "occlusion", "gates/up_1")}
            lift = math.nan if len(asked) > 1 else 2.5
            return Explanations(maps, {"grad_cam": Concentration(0.5, 0.2, lift, 0.4, 0.1)}, 1, "up_3", ("a note",))

    monkeypatch.setattr(gallery, "Explainer", Told)
    return asked


def test_the_worst_images_are_explained(explained):
    made, network, scored = of([9, 3, None, 12, 0])
    first, second = gallery.explanations(made, network, Variables({}, {}), scored, 2)
    assert explained == [0, 3]
    assert (first.name, second.name, first.subject, first.structure) == ("S4_a", "S1_a", "S4", "csp")
    assert list(first.maps) == ["Grad-CAM, up_3", "Occlusion", "gates/up_1"]
    assert all(image.shape == (SIDE, SIDE, 3) for image in first.maps.values())
    assert (first.concentration, second.concentration, first.notes[0]) == (2.5, None, "a note")
    assert first.notes[1] == gallery.CONCENTRATION
    assert (second.prediction.sum(), second.labels.sum()) == (3, 12)


def test_no_more_are_explained_than_there_are(explained):
    assert len(gallery.explanations(of([9, None])[0], of([9])[1], Variables({}, {}), of([9, None])[2], 8)) == 1


def test_nothing_is_explained_unasked_or_of_volumes(explained):
    made, network, scored = of([9, 3])
    assert gallery.explanations(made, network, Variables({}, {}), scored, 0) == ()
    volumes = dataset(("background", "wm"), dims=3)
    assert gallery.explanations(volumes, network, Variables({}, {}), scored, 3) == ()
    assert explained == []


class Unlabelled:
    """Items whose images show their number."""

    def picture(self, i, labels):
        return np.full((SIDE, SIDE), i, np.uint8), labels


def test_kept_and_dropped_pseudo_labels_are_shown():
    kept = (True, False, True, True, True, False)
    facts = tuple(PseudoLabelFacts(f"P{i}", f"s{i}", k, "kept" if k else "small", 9, 0.9) for i, k in enumerate(kept))
    labels = [np.full((SIDE, SIDE), i % 2, np.uint8) for i in range(6)]
    shown = gallery.pseudo_label_gallery(LabellingResult("retrain", "naive", {}, 6, 4, facts), Unlabelled(), labels)
    assert [(each.title, each.name) for each in shown] == [
        ("kept", "P0"),
        ("kept", "P2"),
        ("kept", "P3"),
        ("small", "P1"),
        ("small", "P5"),
    ]
    assert [int(each.image[0, 0]) for each in shown] == [0, 2, 3, 1, 5]
    assert [int(each.prediction[0, 0]) for each in shown] == [0, 0, 1, 1, 1]
    assert {(each.dice, each.labels is None) for each in shown} == {(None, True)}
