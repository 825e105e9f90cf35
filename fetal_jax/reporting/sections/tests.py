"""The section of a report on its paired tests: what the last stages gained, what was chosen and why."""

from typing import Any

from fetal_jax.reporting.data import Report
from fetal_jax.reporting.format import DASH, number, p_value, points

KINDS = {"tta": "Test-time augmentation", "postprocess": "Post-processing"}


def tests(report: Report) -> dict[str, Any] | None:
    gain = report.details.get("gain")
    choices = {kind: choice for kind, choice in (report.details.get("choices") or {}).items() if choice}
    if not gain and not choices:
        return None
    return {
        "gain": _gain(gain) if gain else None,
        "choices": [_choice(KINDS.get(kind, kind), choice) for kind, choice in choices.items()],
    }


def _gain(gain: dict) -> dict[str, Any]:
    low, high = (points(gain.get(end)) for end in ("low", "high"))
    facts = {
        "Mean gain in Dice, points": points(gain.get("difference")),
        "95 % interval": f"{low} to {high}",
        "Wilcoxon signed-rank test": p_value(gain.get("wilcoxon_p")),
        "Permutation test of the mean": p_value(gain["permutation_p"]) if gain.get("permutation_p") is not None else "",
        "Effect (Cohen's d of the differences)": number(gain.get("effect"), 2),
        "Smallest gain that so many subjects could show, points": points(gain.get("smallest_gain")).lstrip("+"),
        "Subjects": str(gain.get("n", "")),
    }
    told = [(name, value) for name, value in facts.items() if value]
    return {"before": gain["before"], "after": gain["after"], "verdict": gain.get("verdict") or "", "facts": told}


def _choice(title: str, choice: dict) -> dict[str, Any]:
    rows = []
    for i, each in enumerate(choice.get("candidates") or []):  # the first is what the others are compared with
        test = [points(each.get("difference")), p_value(each.get("p"))] if i else [DASH, DASH]
        chosen = each["name"] == choice["chosen"]
        rows.append({"name": each["name"], "chosen": chosen, "cells": [number(each.get("mean")), *test]})
    return {"title": title, "chosen": choice["chosen"], "reason": choice.get("reason") or "", "rows": rows}
