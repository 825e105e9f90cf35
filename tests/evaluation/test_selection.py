"""Test-time augmentation and post-processing are selected on validation images: none, unless it is shown to help."""

import numpy as np
import pytest
from planted import dataset, record, segmenter

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.selection import InferenceSettings, check_names, select_inference

CLASSES = ("background", "csp")
SIDE = 24


def square(row=6, column=4, side=10, extra=0):
    """A square, and a speck of so many pixels far from it."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[row : row + side, column : column + side] = 1
    labels[22, 23 - extra : 23] = 1
    return labels


def squares(n_subjects, frames=1, specks=False):
    """Of another place in each, in the left half; the network sees them, and perhaps a speck."""
    for i in range(n_subjects):
        for frame in range(frames):
            labels = square(3 + i % 5, 1 + frame, 8)
            answer = labels | square(3 + i % 5, 1 + frame, 8, extra=i + 1) if specks else labels
            yield record(f"S{i}_{frame}", labels, answer)


def half_blind(variables, images):
    """It sees what is in the right half, and from the left only a shadow: mirrored once, it sees all."""
    sure = np.where(np.arange(images.shape[2]) < images.shape[2] // 2, 0.25, 0.9)[:, None]
    foreground = np.where(np.rint(images * 255) == 1, sure, 0.05).astype(np.float32)
    return np.concatenate([1 - foreground, foreground], -1)


def selected(validation, network=None, **asked):
    given = {"tta": "auto", "postprocess": "auto"} | asked
    return select_inference(dataset(CLASSES, validation=list(validation)), segmenter(CLASSES, SIDE, network), **given)


def test_without_validation_images_nothing_is_chosen_and_it_is_said_why():
    found = selected([], half_blind)
    assert (found.tta, found.postprocess) == ("none", "none")
    assert {choice.reason for choice in found.selections.values()} == {
        "none: there are no validation images to choose on"
    }


def test_what_obviously_helps_is_chosen():
    found = selected(squares(9), half_blind, postprocess="none")
    assert found.tta == "horizontal"
    table = {candidate.name: candidate for candidate in found.selections["tta"].candidates}
    assert (table["none"].mean, table["horizontal"].mean) == (0, 1)
    assert table["horizontal"].p < 0.05
    assert set(found.selections) == {"tta"}


def test_what_cleans_up_is_chosen_after_the_augmentation():
    found = selected(squares(8, specks=True))
    assert found.tta == "none"
    assert found.postprocess == "largest"
    assert found.selections["postprocess"].candidates[1].difference > 0
    clean = found.cleaner(CLASSES, 2)
    np.testing.assert_array_equal(clean(square(extra=4)), square())


def test_post_processing_is_chosen_for_the_answers_of_the_augmentation_that_was():
    """Of the network by itself every answer is the speck alone, and no recipe helps."""
    records = list(squares(9, specks=True))
    alone = selected(records, half_blind, tta="none").selections["postprocess"]
    assert {candidate.mean for candidate in alone.candidates} == {0}
    both = selected(records, half_blind)
    assert (both.tta, both.postprocess) == ("horizontal", "largest")
    assert both.selections["postprocess"].candidates[0].mean == pytest.approx(
        max(candidate.mean for candidate in both.selections["tta"].candidates)
    )


def test_where_nothing_helps_nothing_is_chosen():
    found = selected(squares(9))
    assert (found.tta, found.postprocess) == ("none", "none")
    assert found.selections["postprocess"].reason == "none: nothing that was tried changes a score"


@pytest.mark.slow
def test_many_frames_of_few_subjects_are_too_few():
    found = selected(squares(4, frames=5), half_blind)
    assert found.tta == "none"
    assert "too few" in found.selections["tta"].reason
    assert {candidate.n for candidate in found.selections["tta"].candidates[1:]} == {4}


def test_what_is_dictated_is_not_chosen():
    assert selected(squares(9), half_blind, tta="flips", postprocess="thesis") == InferenceSettings(
        "flips", "thesis", {}
    )
    assert selected([], tta="none", postprocess="none") == InferenceSettings()


def test_nothing_cleans_nothing():
    assert InferenceSettings().cleaner(CLASSES, 2) is None


def test_unknown_names_are_refused():
    made = dataset(CLASSES)
    with pytest.raises(UserError, match="tta 'sideways' is unknown: choose one of none, horizontal, "):
        check_names(made, tta="sideways", postprocess="none")
    with pytest.raises(UserError, match="postprocess 'polish' is unknown for csp: choose one of none, largest, "):
        check_names(made, tta="auto", postprocess="polish")
    with pytest.raises(UserError, match="tta 'scales' is for images, this model takes volumes"):
        check_names(dataset(("background", "wm"), dims=3), tta="scales", postprocess="auto")
    with pytest.raises(UserError, match="'polish'"):
        selected(squares(2), postprocess="polish")
    check_names(made, tta="auto", postprocess="auto")
