"""Compares runs that were tested on the same images: a table in words, and one HTML page that opens offline."""

from collections.abc import Sequence
from pathlib import Path

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.comparison import Comparison, compare_runs
from fetal_jax.evaluation.runs import read_runs
from fetal_jax.reporting.comparison_page import write_page
from fetal_jax.reporting.comparison_text import lines_of

__all__ = ["Comparison", "compare"]


def compare(workdirs: Sequence[Path], metric: str = "dice", out: Path | None = None) -> list[str]:
    """Compares every pair of runs by the `metric` of their test images; the first run is the baseline.

    Args:
      workdirs: at least two, evaluated, with the same test images.
      metric: a column of `per_image.csv`.
      out: the page to write; by default `comparison.html` in the first workdir.

    Returns the lines to print. Raises UserError, in one line, for what cannot be compared.
    """
    if out is not None:
        _check_writable(Path(out))
    comparison = compare_runs(read_runs([Path(workdir) for workdir in workdirs], metric), metric)
    page = Path(workdirs[0]) / "comparison.html" if out is None else Path(out)
    write_page(page, comparison)
    return [*lines_of(comparison), f"page: {page}"]


def _check_writable(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it, such as {out / 'comparison.html'}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: the folder {out.parent} does not exist: make it first")
