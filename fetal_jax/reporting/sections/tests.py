"""The section of a report on its paired tests: what the last stages gained, what was selected and why."""

from typing import Any

from fetal_jax.evaluation.results import GainResult, PairedTestsResult
from fetal_jax.evaluation.selection import Selection
from fetal_jax.reporting.base import DASH, known, number, p_value, points

KINDS = {"tta": "Test-time augmentation", "postprocess": "Post-processing"}


def tests(result: PairedTestsResult) -> dict[str, Any] | None:
    if not result.gain and not result.selections:
        return None
    return {
        "gain": _gain(result.gain) if result.gain else None,
        "choices": [_selection(KINDS[kind], selection) for kind, selection in result.selections.items()],
    }


def _gain(gain: GainResult) -> dict[str, Any]:
    facts = {
        "Mean gain in Dice, points": points(gain.difference),
        "95 % interval": f"{points(gain.low)} to {points(gain.high)}",
        "Wilcoxon signed-rank test": p_value(gain.wilcoxon_p),
        "Permutation test of the mean": p_value(gain.permutation_p) if known(gain.permutation_p) else "",
        "Effect (Cohen's d of the differences)": number(gain.effect, 2),
        "Smallest gain that so many subjects could show, points": points(gain.smallest_gain).lstrip("+"),
        "Subjects": str(gain.n),
    }
    told = [(name, value) for name, value in facts.items() if value]
    return {"before": gain.before, "after": gain.after, "verdict": gain.verdict, "facts": told}


def _selection(title: str, selection: Selection) -> dict[str, Any]:
    rows = []
    for i, each in enumerate(selection.candidates):  # the first is what the others are compared with
        test = [points(each.difference), p_value(each.p)] if i else [DASH, DASH]
        selected = each.name == selection.selected
        rows.append({"name": each.name, "chosen": selected, "cells": [number(each.mean), *test]})
    return {"title": title, "chosen": selection.selected, "reason": selection.reason, "rows": rows}
