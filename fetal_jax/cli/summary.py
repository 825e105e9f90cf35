"""The scores of a run as lines for the terminal."""

import pathlib
from collections.abc import Iterator

from fetal_jax.evaluation.results import EvaluationResult, ScoresResult
from fetal_jax.evaluation.scores import AVERAGES, Scores

NO_SPACING = "the size of a pixel is not known: nothing is measured in mm"
METRICS = ("dice", "jaccard", "precision", "recall", "accuracy", "hd95_mm", "assd_mm")


def lines(result: EvaluationResult, workdir: pathlib.Path) -> Iterator[str]:
    """The table of the stages' averages, the interval of the last Dice, and the warnings."""
    test = result.scores.test
    yield f"test: {test.n_images} images of {test.n_subjects} subjects, {result.dataset}"
    titles = [average.replace("_", " ") for average in AVERAGES]
    rows = [("", titles), *_averages(result.scores), _interval(result.scores)]
    width = max(len(title) for title, _ in rows) + 2
    for title, cells in rows:
        yield f"{title:{width}}" + "".join(f"{cell:>15}" for cell in cells)
    if not test.measures("hd95_mm"):
        yield f"note: {NO_SPACING}"
    for kind, selection in result.tests.selections.items():
        yield f"{kind}: {selection.reason}"
    for warning in result.warnings:
        yield f"note: {warning}"
    yield f"report: {workdir / 'report.html'}"


def _averages(result: ScoresResult) -> Iterator[tuple[str, list[str]]]:
    for name, scores in _named(result).items():
        for metric in (m for m in METRICS if scores.measures(m)):
            means = [scores.value(average, metric) for average in AVERAGES]
            yield f"{name} {metric}", ["—" if mean is None else f"{mean:.4f}" for mean in means]


def _interval(result: ScoresResult) -> tuple[str, list[str]]:
    edges = [result.intervals.of(average, "dice") for average in AVERAGES]
    words = ["—" if each is None else f"{each[0]:.4f}-{each[1]:.4f}" for each in edges]
    return f"{result.final_stage} dice, 95 %", words


def _named(result: ScoresResult) -> dict[str, Scores]:
    """The scores of every stage, and of what was added to the last one."""
    added = [result.final_stage, *([result.tta] if result.tta != "none" else [])]
    named = dict(result.stages)
    if result.with_ensemble:
        added.append("ensemble")
        named[" + ".join(added)] = result.with_ensemble
    elif result.with_tta:
        named[" + ".join(added)] = result.with_tta
    if result.postprocessed:
        named[" + ".join([*added, result.postprocess])] = result.postprocessed
    return named
