"""Numbers of a report as words. What is undefined is a dash."""

import math
from collections.abc import Sequence

from fetal_jax.statistics.paired import p_in_words

DASH = "–"
MINUS = "−"

Number = float | int | None


def known(value: Number) -> bool:
    return value is not None and not math.isnan(value)


def number(value: Number, digits: int = 4) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS) if known(value) else DASH


def signed(value: Number, digits: int = 2) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS) if known(value) else DASH


def points(value: Number) -> str:
    """A difference of two fractions, in hundredths."""
    return signed(100 * value) if known(value) else DASH


def percent(share: Number, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %" if known(share) else DASH


def interval(ends: Sequence[Number] | None, digits: int = 3) -> str:
    """Two numbers with a dash between, or "to" where one is negative; empty where one is undefined."""
    if not ends or not all(map(known, ends)):
        return ""
    low, high = (number(end, digits) for end in ends)
    return f"{low} to {high}" if MINUS in low + high else f"{low}{DASH}{high}"


def p_value(p: Number) -> str:
    return p_in_words(p) if known(p) else DASH


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def counted(number: int, noun: str) -> str:
    """1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
