"""The report of a run: one HTML file that opens offline, made from typed results alone.

Every text from outside (names, reasons, settings) is escaped; pictures and charts are inside the file.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from fetal_jax.core.atomic import replacing_file
from fetal_jax.reporting.base import (
    Explanation,
    GalleryImage,
    PseudoLabelsResult,
    Report,
    counted,
    environment,
    number,
)
from fetal_jax.reporting.charts.training import training_charts
from fetal_jax.reporting.sections import clinical, gallery, run, scores, tests

__all__ = ["Explanation", "GalleryImage", "PseudoLabelsResult", "Report", "write_report"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Section(Generic[T]):
    """A section of the page: what it shows, and how that becomes the data of its template."""

    id: str  # its anchor, and the macro of its template
    title: str
    result: Callable[[Report], T | None]  # its part of the report; None or empty: the section is left out
    render: Callable[[T], Any]


def _config(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, default=str)


# In the order of the page.
SECTIONS: tuple[Section[Any], ...] = (
    Section("data", "Data", lambda r: r.splits, run.parts),
    Section("protocol", "Protocol", lambda r: r.protocol, run.flow),
    Section("scores", "Scores on the test images", lambda r: r.scores, scores.scores),
    Section("tests", "Paired tests", lambda r: r.tests, tests.tests),
    Section("gallery", "Examples from the test images", lambda r: r.gallery, gallery.gallery),
    Section("pixels", "Curves and calibration", lambda r: r.pixels, clinical.pixels),
    Section("distances", "Distances between outlines", lambda r: r.scores, scores.distances),
    Section("biometry", "Biometry", lambda r: r.biometry, clinical.biometry),
    Section("uncertainty", "Uncertainty", lambda r: r.uncertainty, clinical.uncertainty),
    Section("explanations", "What the network looked at", lambda r: r.explanations, gallery.explanations),
    Section("anomaly", "Anomaly scores", lambda r: r.anomaly, clinical.anomaly),
    Section("robustness", "Robustness", lambda r: r.robustness, clinical.robustness),
    Section("pseudo_labels", "Pseudo-labels", lambda r: r.pseudo_labels, run.pseudo_labels),
    Section("training", "Training", lambda r: r.history, training_charts),
    Section("settings", "Settings", lambda r: r, lambda r: _config(r.config)),
)


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Writes the report as one HTML file, atomically."""
    with replacing_file(path) as partial:
        partial.write_text(_render(report), encoding="utf-8")


def _render(report: Report) -> str:
    pages = environment(Path(__file__).parent / "templates")
    pages.filters["score"] = number
    pages.filters["counted"] = counted
    made = [{"id": s.id, "title": s.title, "data": _data(s, report)} for s in SECTIONS]
    return pages.get_template("report.html").render(
        report=report,
        facts=report.facts,
        test=report.scores.test if report.scores else None,
        split_in_words=run.split_in_words(report.splits.request) if report.splits else "",
        tiles=scores.header_tiles(report.scores) if report.scores else [],
        sections=[section for section in made if section["data"]],
        reference_colour=f"rgb{gallery.REFERENCE_COLOUR}",
        prediction_colour=f"rgb{gallery.PREDICTION_COLOUR}",
    )


def _data(section: Section[Any], report: Report) -> Any:
    result = section.result(report)
    return section.render(result) if result else None
