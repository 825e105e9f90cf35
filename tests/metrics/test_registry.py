"""The registry of metrics, and the worked example of docs/evaluation.md: a new row is in every file and table."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest
from planted import record, says

from fetal_jax.core.types import DatasetFacts
from fetal_jax.evaluation import findings
from fetal_jax.evaluation.confidence_intervals import intervals
from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.results import ScoresResult, to_json
from fetal_jax.evaluation.scores import write_per_image
from fetal_jax.metrics import registry
from fetal_jax.metrics.registry import COUNT_METRICS, SURFACE_METRICS, CountMetric, higher_is_better
from fetal_jax.metrics.surface import SURFACE_METRICS as MEASURED
from fetal_jax.reporting.report import Report, write_report

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "evaluation.md"
NAME = "volumetric_similarity"


@pytest.fixture
def added(monkeypatch):
    """The metric of the example, registered as it says."""
    section = DOCS.read_text().split("### Add a metric")[1].split("\n### ")[0]
    module, row = re.findall(r"```python\n(.*?)```", section, re.S)
    names = {"CountMetric": CountMetric}
    exec(compile(module, "example", "exec"), names)
    (metric,) = eval(f"({row})", names)
    monkeypatch.setitem(registry.COUNT_METRICS, metric.name, metric)
    return metric


def test_a_row_is_in_every_file_and_table(added, tmp_path):
    assert added.name == NAME
    found = [1, 3, 4]  # of four pixels of the structure
    records = [record(f"S{i}_a", [[0, 1, 1, 1, 1]], [[0] + [0] * (4 - n) + [1] * n]) for i, n in enumerate(found)]
    test = evaluate_records(says(2), records, ("background", "csp"))
    expected = [1 - (4 - n) / (4 + n) for n in found]

    write_per_image(tmp_path / "per_image.csv", test.scored)
    with (tmp_path / "per_image.csv").open(newline="") as file:
        assert [float(row[NAME]) for row in csv.DictReader(file)] == pytest.approx(expected, abs=1e-6)

    scores = ScoresResult(
        foreground=("csp",),
        stages={"supervised": test.scored.averages()},
        intervals=intervals(test.scored),
        overall=findings.overall_result(test),
    )
    summary = json.loads(json.dumps(to_json(scores.test)))
    assert summary["per_image"][NAME]["csp"] == pytest.approx(np.mean(expected))
    assert summary["pooled"][NAME]["mean"] == pytest.approx(1 - 4 / 20)
    low, high = to_json(scores.intervals)["per_image"][NAME]["csp"]
    assert min(expected) <= low < high <= 1

    facts = DatasetFacts("d", "a dataset", ("background", "csp"), ((0, 0, 0), (0, 9, 0)), "its name", "none", "")
    write_report(tmp_path / "report.html", Report("A run", facts, {}, scores=scores))
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(rf"<th>Volumetric similarity</th>\s*<td[^>]*>{np.mean(expected):.4f}", html)


def test_without_its_row_there_is_no_such_metric():
    assert NAME not in COUNT_METRICS


def test_which_way_is_better():
    better = ("dice", "accuracy", "surface_dice_mm", "surface_dice_px", "specificity")
    assert all(higher_is_better(name) for name in better)
    worse = ("area_error", "hd_px", "hd95_mm", "asd_mm", "assd_px")
    assert not any(higher_is_better(name) for name in worse)


def test_the_rows_of_distances_are_those_that_are_measured():
    assert set(SURFACE_METRICS) == set(MEASURED)
