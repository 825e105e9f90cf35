"""Numbers as they are printed: each one is an interval, half a unit of its last digit to either side."""

import dataclasses
import re
from collections.abc import Iterator, Mapping

FLOAT_ERROR = 1e-9
OVERLAPS = ("accuracy", "precision", "recall", "jaccard", "dice")
FRACTIONS = (*OVERLAPS, "auc_roc", "auc_pr")  # printed as fractions or in percent
DISTANCES = ("asd_px", "hd_px", "asd_mm", "hd_mm")
METRICS = (*FRACTIONS, *DISTANCES)
POOLED, UNKNOWN = "pooled", "unknown"
AVERAGINGS = (POOLED, "per_image", "per_subject", UNKNOWN)

_NUMBER = re.compile(r"[+-]?(\d+\.?(?P<digits>\d*)|\.(?P<more>\d+))")


@dataclasses.dataclass(frozen=True)
class Number:
    """All that a printed number may have been before it was rounded."""

    low: float
    high: float
    text: str
    scale: float = 1.0  # what one unit of print is worth: 0.01 for percent

    def printed(self, value: float) -> str:
        """Another value as this one is printed, with two more digits."""
        return f"{value / self.scale:.{_digits(self.text) + 2}f}"

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def width(self) -> float:
        return self.high - self.low


def read_number(text: str, scale: float = 1.0) -> Number:
    """`0.79`, `97.80`, `-1.2`. Raises ValueError where it is not a plain decimal number."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a plain decimal number")
    half = 0.5 * 10.0 ** -_digits(text) + FLOAT_ERROR
    return Number((float(text) - half) * scale, (float(text) + half) * scale, text, scale)


def _digits(text: str) -> int:
    """Behind the point."""
    match = _NUMBER.fullmatch(text)
    return len(match["digits"] or match["more"] or "") if match else 0


def outside(number: Number, low: float, high: float, name: str, why: str) -> Iterator[str]:
    """In words, where nothing inside the interval lies between the bounds."""
    if number.low > high:
        yield f"{name} {number.text} is above {number.printed(high)}, the most possible with {why}"
    if number.high < low:
        yield f"{name} {number.text} is below {number.printed(low)}, the least possible with {why}"


@dataclasses.dataclass(frozen=True)
class Row:
    """What a table says of one method and structure."""

    source: str
    table: str
    method: str
    structure: str
    values: Mapping[str, Number]  # by name of METRICS
    spreads: Mapping[str, Number] = dataclasses.field(default_factory=dict)  # standard deviations over images
    test_set: str = ""  # where a source has several
    averaging: str = UNKNOWN
    n: int | None = None  # images, or subjects
    p: Number | None = None  # the claim is that p is at most p.high
    test: str = ""  # that p is of
    prevalence_max: float | None = None  # largest share of an image that the structure takes
    area_px: float | None = None  # of the structure, on average
    size_px: tuple[float, float] | None = None  # rows and columns of an image
    mean_of: tuple[str, ...] = ()  # the methods or structures whose plain mean this row is said to be

    @property
    def label(self) -> str:
        return ", ".join(part for part in (self.source, self.table, self.method, self.structure, self.test_set) if part)

    @property
    def pooled(self) -> bool:
        return self.averaging == POOLED


@dataclasses.dataclass(frozen=True)
class Gain:
    """The claim that a method of a table is better than another by so much."""

    source: str
    table: str
    of: str
    against: str
    metric: str
    gain: Number
    structure: str = ""
    test_set: str = ""

    @property
    def label(self) -> str:
        return ", ".join(part for part in (self.source, self.table, self.structure, self.test_set) if part)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with a row or a table."""

    rule: str
    certain: bool  # no numbers whatever can be like this; else none that one meets
    label: str  # where it is
    text: str
