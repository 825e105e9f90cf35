"""Selection on validation images: the baseline stays unless a paired test says otherwise."""

import math

import numpy as np
import pytest

from fetal_jax.evaluation.selection import select


def subjects(n):
    return [f"s{i}" for i in range(n)]


def base(n):
    return np.linspace(0.7, 0.9, n)


def test_one_that_is_better_on_every_subject_is_selected():
    gains = np.linspace(0.01, 0.02, 8)
    selection = select({"none": base(8), "flips": base(8) + gains}, subjects(8), "none")
    assert selection.selected == "flips"
    none, flips = selection.candidates
    assert (none.name, none.difference, none.n_undefined) == ("none", 0, 0)
    assert math.isnan(none.p)
    assert flips.p == pytest.approx(2 / 2**8)  # all eight signs alike, by hand
    assert flips.difference == pytest.approx(0.015)
    assert flips.mean == pytest.approx(0.815)
    assert selection.reason == "flips: better than none by 0.0150 on 8 validation subjects (p = 0.0078)"


def test_one_that_is_worse_on_every_subject_is_not():
    selection = select({"none": base(8), "flips": base(8) - np.linspace(0.01, 0.02, 8)}, subjects(8), "none")
    assert selection.selected == "none"
    assert selection.candidates[1].p < 0.05
    assert selection.reason == "none: no candidate is shown to be better (largest gain flips, -0.0150, p = 0.0078)"


def test_of_two_that_are_better_the_one_that_gains_more_is_selected():
    scores = {"none": base(9), "flips": base(9) + np.linspace(0.01, 0.02, 9), "scales": base(9) + 0.03}
    selection = select(scores, subjects(9), "none")
    assert selection.selected == "scales"
    assert [candidate.name for candidate in selection.candidates] == ["none", "flips", "scales"]
    assert [candidate.p for candidate in selection.candidates[1:]] == pytest.approx([2 * 2 / 2**9] * 2)  # Holm: twice


def test_five_subjects_are_too_few_whatever_they_say():
    selection = select({"none": base(5), "flips": base(5) + 0.1}, subjects(5), "none")
    assert selection.selected == "none"
    assert selection.reason == "none: 5 validation subjects are too few to show that flips is better (p < 0.05)"


def test_six_subjects_are_enough_for_one_candidate_and_too_few_for_two():
    gains = np.linspace(0.01, 0.02, 6)
    assert select({"none": base(6), "flips": base(6) + gains}, subjects(6), "none").selected == "flips"
    selection = select({"none": base(6), "flips": base(6) + gains, "scales": base(6)}, subjects(6), "none")
    assert selection.selected == "flips"  # what changes nothing is no candidate
    assert math.isnan(selection.candidates[2].p)
    two = select({"none": base(6), "flips": base(6) + gains, "scales": base(6) + gains / 2}, subjects(6), "none")
    assert two.selected == "none"
    assert "6 validation subjects are too few to show that one of 2 candidates is better" in two.reason


def test_frames_of_a_subject_are_one_pair():
    frames = np.repeat(base(5), 4)
    selection = select({"none": frames, "flips": frames + 0.1}, [f"s{i // 4}" for i in range(20)], "none")
    assert (selection.selected, selection.candidates[1].n) == ("none", 5)


def test_undefined_scores_are_counted():
    scores = base(9)
    scores[0] = np.nan
    flips = base(9) + 0.1
    flips[:2] = np.nan
    selection = select({"none": scores, "flips": flips}, subjects(9), "none")
    assert [candidate.n_undefined for candidate in selection.candidates] == [1, 2]
    assert selection.candidates[1].n == 7
    assert selection.selected == "flips"
    nothing = select({"none": np.full(3, np.nan), "flips": base(3)}, subjects(3), "none")
    assert (nothing.selected, nothing.candidates[1].n) == ("none", 0)
    assert math.isnan(nothing.candidates[0].mean)


def test_an_outlier_does_not_decide():
    gains = np.full(10, -0.001) * np.arange(1, 11)
    gains[0] = 0.9  # the mean is better, nearly every subject is worse
    selection = select({"none": base(10), "flips": base(10) + gains}, subjects(10), "none", alpha=0.5)
    assert selection.candidates[1].difference > 0
    assert selection.selected == "none"


def test_without_candidates_the_baseline_stays():
    assert select({"none": base(3)}, subjects(3), "none").reason == "none: nothing else was tried"


def test_the_baseline_is_one_of_them():
    with pytest.raises(ValueError, match="the baseline 'none' is none of flips"):
        select({"flips": base(3)}, subjects(3), "none")


def test_what_changes_nothing_is_not_selected():
    selection = select({"none": base(9), "flips": base(9)}, subjects(9), "none")
    assert (selection.selected, selection.reason) == ("none", "none: nothing that was tried changes a score")


@pytest.mark.parametrize("seed", range(4))
def test_what_is_selected_is_the_baseline_or_better(seed):
    rng = np.random.default_rng(seed)
    scores = {"none": base(7)} | {f"c{i}": base(7) + rng.normal(0.02 * i, 0.02, 7) for i in range(3)}
    selection = select(scores, subjects(7), "none")
    table = {candidate.name: candidate for candidate in selection.candidates}
    assert set(table) == set(scores)
    better = [c for c in selection.candidates if c.p < 0.05 and c.difference > 0]
    assert selection.selected == max(better, key=lambda c: c.difference, default=selection.candidates[0]).name
    assert selection.reason.startswith(f"{selection.selected}: ")
