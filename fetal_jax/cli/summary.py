"""What a terminal shows of a run's scores."""

import pathlib
from collections.abc import Iterator
from typing import Any

NO_SPACING = "the size of a pixel is not known: nothing is measured in mm"
AVERAGES = ("per_image", "per_subject", "pooled")
METRICS = ("dice", "jaccard", "precision", "recall", "accuracy", "hd95_mm", "assd_mm")


def lines(summary: dict[str, Any], workdir: pathlib.Path) -> Iterator[str]:
    """The table of the stages' averages, the interval of the last Dice, and the warnings, of `summary.json`."""
    test = summary["test"]
    yield f"test: {test['n_images']} images of {test['n_subjects']} subjects, {summary['dataset']}"
    rows = [("", [average.replace("_", " ") for average in AVERAGES]), *_scores(summary), _interval(summary)]
    width = max(len(title) for title, _ in rows) + 2
    for title, cells in rows:
        yield f"{title:{width}}" + "".join(f"{cell:>15}" for cell in cells)
    if "hd95_mm" not in test["per_image"]:
        yield f"note: {NO_SPACING}"
    for kind, reason in summary["choices"].items():
        yield f"{kind}: {reason}"
    for warning in summary["warnings"]:
        yield f"note: {warning}"
    yield f"report: {workdir / 'report.html'}"


def _scores(summary: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, scores in _answers(summary).items():
        for metric in (m for m in METRICS if m in scores["per_image"]):
            means = [scores[average][metric]["mean"] for average in AVERAGES]
            yield f"{name} {metric}", ["—" if mean is None else f"{mean:.4f}" for mean in means]


def _interval(summary: dict[str, Any]) -> tuple[str, list[str]]:
    edges = [summary["intervals"][average]["dice"]["mean"] for average in AVERAGES]
    words = ["—" if each is None else f"{each[0]:.4f}-{each[1]:.4f}" for each in edges]
    return f"{summary['final_stage']} dice, 95 %", words


def _answers(summary: dict[str, Any]) -> dict[str, dict]:
    """The scores of every stage, and of what was added to the last one's answers."""
    final, others = summary["final_stage"], {}
    added = [summary["tta"]] if summary["tta"] != "none" else []
    if "test_ensemble" in summary:
        others[" + ".join([final, *added, "ensemble"])] = summary["test_ensemble"]
        added.append("ensemble")
    elif "test_tta" in summary:
        others[" + ".join([final, *added])] = summary["test_tta"]
    if "test_cleaned" in summary:
        others[" + ".join([final, *added, summary["postprocess"]])] = summary["test_cleaned"]
    return summary["stages"] | others
