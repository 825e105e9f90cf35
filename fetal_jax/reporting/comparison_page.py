"""A comparison as one HTML file that opens offline. Every text from outside is escaped."""

from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from fetal_jax.core import config as configs
from fetal_jax.core.atomic import replacing_file
from fetal_jax.evaluation.comparison import ALPHA, Comparison
from fetal_jax.evaluation.runs import Run
from fetal_jax.metrics.registry import higher_is_better
from fetal_jax.reporting import comparison_text as text
from fetal_jax.reporting.base import environment
from fetal_jax.reporting.charts.comparison import differences_by_subject
from fetal_jax.statistics.bootstrap import DRAWS

MOST_SETTINGS = 8  # by which runs differ, named in the table of runs


def write_page(path: Path, comparison: Comparison) -> None:
    """Writes the page, atomically."""
    with replacing_file(path) as partial:
        partial.write_text(_render(comparison), encoding="utf-8")


def _render(comparison: Comparison) -> str:
    pages = environment(Path(__file__).parent / "templates")
    pages.filters["breakable"] = _breakable
    return pages.get_template("comparison.html").render(
        comparison=comparison,
        numbers=text.Numbers.of(comparison),
        text=text,
        higher_is_better=higher_is_better(comparison.metric),
        runs=[_about(run, comparison.runs[0]) for run in comparison.runs],
        charts=[
            differences_by_subject(
                {row.label: (row.differences, row.result.low, row.result.high) for row in pair.rows},
                label=f"difference in {comparison.metric.replace('_', ' ')}",
            )
            for pair in comparison.pairs
        ],
        alpha=ALPHA,
        draws=f"{DRAWS:,}",
    )


def _about(run: Run, baseline: Run) -> dict[str, str]:
    """What is told of a run; of another than the baseline also by which settings it differs."""
    differing = configs.differences(baseline.config, run.config)
    settings = [f"{key} = {_setting(run.config, key)}" for key in differing[:MOST_SETTINGS]]
    if len(differing) > MOST_SETTINGS:
        settings.append(f"and {len(differing) - MOST_SETTINGS} more")
    return {
        "label": run.label,
        "model": run.model,
        "stage": run.stage,
        "dataset": run.dataset,
        "seed": run.seed,
        "split": f"{run.splits.hash[:12]}, seed {run.splits.seed}",
        "differs": "the baseline" if run is baseline else "; ".join(settings) or "in nothing",
    }


def _setting(config: dict[str, Any], key: str) -> str:
    """A setting as text; a list of stages by their names."""
    value: Any = config
    for part in key.split("."):
        if isinstance(value, list):
            value = {stage["name"]: stage for stage in value}
        value = value[part] if isinstance(value, dict) and part in value else text.DASH
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(stage["name"] for stage in value)
    return str(value)


def _breakable(name: str) -> Markup:
    """A long name may go on in another line after an underscore."""
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))
