"""The report of a run: one HTML file that opens offline, made from data alone.

Every text from outside (names, reasons, settings) is escaped; pictures and charts are inside the file.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fetal_jax.core.atomic import replacing_file
from fetal_jax.reporting.data import Example, Explanation, Report
from fetal_jax.reporting.environment import environment
from fetal_jax.reporting.format import counted, number
from fetal_jax.reporting.sections import clinical as report_findings
from fetal_jax.reporting.sections import gallery as report_pictures
from fetal_jax.reporting.sections import run as report_run
from fetal_jax.reporting.sections import scores as report_scores
from fetal_jax.reporting.sections import tests as report_tests

__all__ = ["Example", "Explanation", "Report", "write_report"]


def _config(report: Report) -> str:
    return json.dumps(report.config, indent=2, default=str)


# In the order of the page: the name of the section's macro and anchor, its title, and what makes its data.
SECTIONS: tuple[tuple[str, str, Callable[[Report], Any]], ...] = (
    ("data", "Data", report_run.parts),
    ("protocol", "Protocol", report_run.flow),
    ("scores", "Scores on the test images", report_scores.scores),
    ("tests", "Paired tests", report_tests.tests),
    ("gallery", "Examples from the test images", report_pictures.gallery),
    ("pixels", "Curves and calibration", report_findings.pixels),
    ("distances", "Distances between outlines", report_scores.distances),
    ("biometry", "Biometry", report_findings.biometry),
    ("uncertainty", "Uncertainty", report_findings.uncertainty),
    ("explanations", "What the network looked at", report_pictures.explanations),
    ("anomaly", "Anomaly scores", report_findings.anomaly),
    ("robustness", "Robustness", report_findings.robustness),
    ("pseudo_labels", "Pseudo-labels", report_run.labelling),
    ("training", "Training", report_run.training),
    ("settings", "Settings", _config),
)


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Writes the report as one HTML file, whole or not at all."""
    with replacing_file(path) as partial:
        partial.write_text(_render(report), encoding="utf-8")


def _render(report: Report) -> str:
    pages = environment(Path(__file__).parent / "templates")
    pages.filters["score"] = number
    pages.filters["counted"] = counted
    made = [{"id": name, "title": title, "data": make(report)} for name, title, make in SECTIONS]
    return pages.get_template("report.html").render(
        report=report,
        summary=report.summary,
        facts=report.facts,
        dealt=report_run.dealt(report.splits.get("request", {})),
        tiles=report_scores.header_tiles(report),
        warnings=report.summary.get("warnings", []),
        sections=[section for section in made if section["data"]],
        reference_colour=f"rgb{report_pictures.REFERENCE_COLOUR}",
        prediction_colour=f"rgb{report_pictures.PREDICTION_COLOUR}",
    )
