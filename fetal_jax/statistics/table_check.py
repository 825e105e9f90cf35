"""Reads a table of published scores and says what in it cannot be true: see docs/check_table.md."""

import csv
import pathlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from fetal_jax.core.types import UserError
from fetal_jax.statistics.consistency import RULES, check_row, known
from fetal_jax.statistics.consistency_tables import check_rows
from fetal_jax.statistics.published import (
    AVERAGINGS,
    DISTANCES,
    FRACTIONS,
    METRICS,
    UNKNOWN,
    Finding,
    Gain,
    Number,
    Row,
    read_number,
)

GAIN = ("claim_of", "claim_against", "claim_metric", "claim_gain")
WORDS = ("source", "table", "method", "structure", "test_set", "averaging", "test", "mean_of")
SIZES = ("prevalence_max", "area_px", "height_px", "width_px")
COLUMNS = (*WORDS, "n", "p", *METRICS, *(f"{metric}_sd" for metric in METRICS), *SIZES, *GAIN)
MISSING = {"", "-", "–", "—", "na", "n/a", "nan"}
PLUS_MINUS = re.compile(r"\s*(?:±|\+/-|\+-)\s*")

Cells = dict[str, str]


def check_table(path: pathlib.Path) -> list[str]:
    """What is wrong with the numbers of a CSV file, a line each; then what was looked at.

    Raises UserError if it cannot be read as such a table.
    """
    rows, gains = read_table(path)
    findings = [finding for row in rows for finding in check_row(row)]
    try:
        findings += check_rows(rows, gains)
    except KeyError as error:
        raise UserError(f"{path}: claims a gain of or against {error}, which its table does not hold") from None
    return [*_lines(findings), *_checked(rows, gains), _total(findings, rows)]


def _lines(findings: list[Finding]) -> Iterator[str]:
    for finding in sorted(dict.fromkeys(findings), key=lambda f: not f.certain):
        yield f"{'impossible' if finding.certain else 'implausible'}: {finding.label}: {finding.text} [{finding.rule}]"


def _checked(rows: list[Row], gains: list[Gain]) -> Iterator[str]:
    numbers = Counter(name for row in rows for name, (needs, *_) in RULES.items() if needs <= known(row))
    listed = ", ".join(f"{name} ({numbers[name]})" for name in RULES if numbers[name])
    yield f"looked at: {listed or 'no rule within a row has what it needs'}; gains ({len(gains)})"


def _total(findings: list[Finding], rows: list[Row]) -> str:
    different = set(findings)
    certain = sum(finding.certain for finding in different)
    return f"{certain} impossible and {len(different) - certain} implausible in {len(rows)} rows"


def read_table(path: pathlib.Path) -> tuple[list[Row], list[Gain]]:
    """The rows and the claimed gains of a CSV file. Raises UserError naming the line and the remedy."""
    lines = _read_cells(path)
    _check_units(path, lines)
    scales = _scales(lines)
    rows, gains = [], []
    for line, cells in lines:
        try:
            if any(cells[name] for name in GAIN):
                gains.append(_gain(cells, scales))
            else:
                rows.append(_row(cells, scales))
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
    if not rows:
        raise UserError(f"{path} has no row of scores: give it a line for each method and structure")
    return rows, gains


def _read_cells(path: pathlib.Path) -> list[tuple[int, Cells]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            header = reader.fieldnames
            lines = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}): save it as one") from None
    if len(header) == 1 and ";" in header[0]:
        raise UserError(f"{path} is separated by semicolons: save it with commas, and a point in its numbers")
    twice = [name for name, number in Counter(header).items() if number > 1]
    if twice:
        raise UserError(f"{path} has the column {twice[0]!r} twice: keep one of them")
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise UserError(f"{path} has a column {unknown[0]!r}: the columns are {', '.join(COLUMNS)}")
    for line, row in lines:
        if None in row or None in row.values():
            raise UserError(f"{path}, line {line} has more or fewer cells than the header: quote text with commas")
    return [(line, {name: row.get(name, "").strip() for name in COLUMNS}) for line, row in lines]


def _check_units(path: pathlib.Path, lines: list[tuple[int, Cells]]) -> None:
    """Refuses a column of one table with numbers on both sides of 1: 0 is the same in both units, % says its own."""
    units: dict[tuple[str, str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for line, cells in lines:
        for metric in FRACTIONS:
            mean = PLUS_MINUS.split(cells[metric])[0]
            percent, fractions = units[cells["source"], cells["table"], metric]
            if re.fullmatch(r"\d*\.?\d+%", mean) or (_plain(mean) and float(mean) > 1):
                percent.append(line)
            elif _plain(mean) and float(mean) > 0:
                fractions.append(line)
    for (_, _, metric), (percent, fractions) in units.items():
        if percent and fractions:
            rows = ", ".join(map(str, sorted([*percent, *fractions])))
            raise UserError(
                f"{path}: mixed percent and fraction in column {metric}: rows {rows}: write all in one unit"
                " (a score below 1 percent as 0.9%)"
            )


def _plain(text: str) -> bool:
    return re.fullmatch(r"\d+\.?\d*|\.\d+", text) is not None


def _scales(lines: list[tuple[int, Cells]]) -> dict[tuple[str, str, str], float]:
    """What one unit is worth by source, table and metric: a column that has a number above 1 is in percent."""
    largest: dict[tuple[str, str, str], float] = defaultdict(float)
    for _, cells in lines:
        for metric in FRACTIONS:
            mean = PLUS_MINUS.split(cells[metric])[0]
            number = float(mean.rstrip("%")) if re.fullmatch(r"[\d.]+%?", mean) and mean.count(".") < 2 else 0.0
            key = cells["source"], cells["table"], metric
            largest[key] = max(largest[key], 101.0 if mean.endswith("%") else number)
    return {key: 0.01 if value > 1 else 1.0 for key, value in largest.items()}


def _row(cells: Cells, scales: dict[tuple[str, str, str], float]) -> Row:
    values: dict[str, Number] = {}
    spreads: dict[str, Number] = {}
    for metric in METRICS:
        scale = scales.get((cells["source"], cells["table"], metric), 1.0)
        mean, *spread = PLUS_MINUS.split(cells[metric])
        for target, text in ((values, mean), (spreads, (*spread, cells[f"{metric}_sd"])[0])):
            if text.lower() not in MISSING:
                target[metric] = _number(text.rstrip("% "), metric, scale)
    averaging = cells["averaging"] or UNKNOWN
    if averaging not in AVERAGINGS:
        raise ValueError(f"averaging is {averaging!r}: choose from {', '.join(AVERAGINGS)}")
    height, width = _size(cells["height_px"], "height_px"), _size(cells["width_px"], "width_px")
    return Row(
        **{name: cells[name] for name in ("source", "table", "method", "structure", "test_set", "test")},
        values=values,
        spreads=spreads,
        averaging=averaging,
        n=_whole(cells["n"]),
        p=_p(cells["p"]),
        prevalence_max=_share(cells["prevalence_max"]),
        area_px=_size(cells["area_px"], "area_px"),
        size_px=(height, width) if height and width else None,
        mean_of=tuple(part.strip() for part in cells["mean_of"].split(";") if part.strip()),
    )


def _number(text: str, metric: str, scale: float) -> Number:
    try:
        number = read_number(text, scale)
    except ValueError:
        raise ValueError(f"{metric} is {text!r}: write a plain number such as 0.79, 79.0 or 79.0 ± 1.2") from None
    if number.high < 0 or (metric not in DISTANCES and number.low > 1):
        raise ValueError(f"{metric} is {text}: it must lie from 0 to 1, or to 100 in percent")
    return number


def _p(text: str) -> Number | None:
    if text.lower() in MISSING:
        return None
    below = text.removeprefix("<").strip()
    number = _number(below, "p", 1.0)
    return Number(0.0, float(below), text, 1.0) if text.startswith("<") else number


def _whole(text: str) -> int | None:
    if text and not re.fullmatch(r"[1-9]\d*", text):
        raise ValueError(f"n is {text!r}: write how many images or subjects there are")
    return int(text) if text else None


def _size(text: str, name: str) -> float | None:
    if text and (not re.fullmatch(r"\d+(\.\d*)?", text) or float(text) == 0):
        raise ValueError(f"{name} is {text!r}: write a number of pixels")
    return float(text) if text else None


def _share(text: str) -> float | None:
    share = _size(text, "prevalence_max")
    if share is not None and share >= 1:
        raise ValueError(f"prevalence_max is {text}: write the largest share of an image that the structure takes")
    return share


def _gain(cells: Cells, scales: dict[tuple[str, str, str], float]) -> Gain:
    metric = cells["claim_metric"]
    if metric not in METRICS:
        raise ValueError(f"claim_metric is {metric!r}: choose from {', '.join(METRICS)}")
    scale = scales.get((cells["source"], cells["table"], metric), 1.0)
    return Gain(
        source=cells["source"],
        table=cells["table"],
        of=cells["claim_of"],
        against=cells["claim_against"],
        metric=metric,
        gain=read_number(cells["claim_gain"], scale),
        structure=cells["structure"],
        test_set=cells["test_set"],
    )
