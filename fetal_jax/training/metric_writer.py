"""What a run leaves behind while it runs: JSON lines, TensorBoard events, a progress bar.

`metrics.jsonl` is the record; TensorBoard is a view of it. Nothing here imports jax.
"""

import contextlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from fetal_jax.core.atomic import replacing_file

METRICS_FILE = "metrics.jsonl"


class RunWriter:
    """Appends the scalars of a run to `workdir/metrics.jsonl` and to TensorBoard events beside it.

    Opening it takes the record back to `resume_step`, the step of the checkpoint that the run goes on from
    (0: a fresh start). What was written after that step is dropped, and what is written again at that very
    step is written once, so that a killed run leaves the lines of an undisturbed one.

    Raises UserError where a line of `metrics.jsonl`, other than a torn last one, is damaged.
    """

    def __init__(self, workdir: str | os.PathLike, *, resume_step: int = 0):
        from tensorboardX import SummaryWriter  # slow to import, and only training needs it

        self._path = Path(workdir) / METRICS_FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(workdir) if line["step"] <= resume_step]
        _write_lines(self._path, kept)
        self._at_resume = [line for line in kept if line["step"] == resume_step]
        self._resume_step = resume_step
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(
            str(self._path.parent),
            purge_step=resume_step + 1,  # TensorBoard forgets what earlier files say from this step on
            flush_secs=30,
            filename_suffix=f".from_{resume_step}",  # file names tell only seconds apart
        )

    def scalars(self, step: int, kind: str, values: Mapping[str, float], **labels) -> None:
        """Writes one line `{"kind", "step", **labels, **values}` and the scalars `kind/name`.

        Numbers may be Python's, numpy's or jax's. JSON has no NaN and no infinity: both are written as null.
        """
        step = int(step)
        if step == self._resume_step and self._has_line(kind, labels):
            return
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        record = {"kind": kind, "step": step, **labels, **{name: finite.get(name) for name in numbers}}
        self._file.write(_to_json(record) + "\n")
        self._file.flush()
        for name, value in finite.items():
            self._events.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._events.close()

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _has_line(self, kind: str, labels: Mapping) -> bool:
        wanted = json.loads(_to_json({"kind": kind, **labels}))
        return any(wanted.items() <= line.items() for line in self._at_resume)


class SilentWriter:
    """Writes nothing: the record of a run is that of its first process."""

    def scalars(self, step: int, kind: str, values: Mapping[str, float], **labels) -> None:
        """Takes what `RunWriter.scalars` takes."""

    def __enter__(self) -> "SilentWriter":
        return self

    def __exit__(self, *exception) -> None:
        """Nothing is open."""


def _to_json(record: Mapping) -> str:
    return json.dumps(record, allow_nan=False, default=lambda scalar: scalar.item())


def read_metrics(workdir: str | os.PathLike) -> list[dict]:
    """The lines of `workdir/metrics.jsonl`, each with its `kind` and `step`: none without that file.

    A last line without its line break was torn by a kill and is left out. Raises UserError if another one is damaged.
    """
    path = Path(workdir) / METRICS_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [_from_json(row, f"{path}: line {number}") for number, row in enumerate(text.split("\n")[:-1], start=1)]


def _from_json(row: str, origin: str) -> dict:
    with contextlib.suppress(json.JSONDecodeError):
        line = json.loads(row)
        if isinstance(line, dict) and {"kind", "step"} <= line.keys():
            return line
    from fetal_jax.core.types import UserError  # imports jax, which this file does without

    raise UserError(f"{origin} is no JSON record with kind and step: repair or remove that line")


def _write_lines(path: Path, lines: list[dict]) -> None:
    with replacing_file(path) as partial:
        partial.write_text("".join(_to_json(line) + "\n" for line in lines), encoding="utf-8")


class Progress:
    """A one-line progress bar on a terminal; elsewhere a plain line every 10 s or 10 %, whichever is first.

    `total` is in steps. `clock` gives seconds. The time left comes from a rate smoothed over about half a
    minute that starts at the first update, so neither a resumed part nor what came before it counts.
    """

    REDRAW_SECONDS = 0.1
    LINE_SECONDS = 10.0
    LINE_SHARE = 0.1
    SMOOTHING_SECONDS = 30.0
    BAR_CELLS = 24

    def __init__(self, total: int, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self._total = max(int(total), 1)
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._previous: tuple[float, int] | None = None  # time and step of the last update
        self._shown: tuple[float, int] | None = None  # time and step of what was last drawn
        self._rate: float | None = None  # steps a second
        self._latest: tuple[str, dict] = ("", {})  # stage and values of the last update
        self._drawn = True  # whether the last update was shown

    def update(self, done: int, *, stage: str = "", **values: float) -> None:
        """Shows that `done` steps of the total are done. `values` are shown by name, e.g. `loss=0.31`.

        `images_per_second` is shown as `1.9 img/s`.
        """
        now = self._clock()
        self._measure(now, done)
        self._latest, self._drawn = (stage, values), False
        if self._is_due(now, done):
            self._show(now, done)

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._terminal:
            return self._put(text + "\n")
        self._put(f"\r\x1b[K{text}\n")
        if self._previous is not None:
            self._show(*self._previous)

    def close(self) -> None:
        """Draws the last state and leaves the cursor on a fresh line."""
        if self._previous is None:
            return
        if not self._drawn:
            self._show(*self._previous)
        if self._terminal:
            self._put("\n")

    def _measure(self, now: float, done: int) -> None:
        if self._previous is not None and done >= self._previous[1]:
            seconds, steps = now - self._previous[0], done - self._previous[1]
            if seconds <= 0 or steps == 0:
                return
            rate = steps / seconds
            weight = 1 - math.exp(-seconds / self.SMOOTHING_SECONDS)
            self._rate = rate if self._rate is None else self._rate + weight * (rate - self._rate)
        self._previous = (now, done)

    def _is_due(self, now: float, done: int) -> bool:
        if self._shown is None or (done >= self._total and done != self._shown[1]):
            return True
        seconds, steps = now - self._shown[0], done - self._shown[1]
        if self._terminal:
            return seconds >= self.REDRAW_SECONDS
        return seconds >= self.LINE_SECONDS or steps >= self.LINE_SHARE * self._total

    def _show(self, now: float, done: int) -> None:
        self._shown, self._drawn = (now, done), True
        if self._terminal:
            self._put("\r" + self._bar_line(done, _columns(self._stream) - 1) + "\x1b[K")
        else:
            stage, _ = self._latest
            words = [stage, f"step {done}/{self._total}", self._percent(done), *self._facts(done)]
            self._put("  ".join(word for word in words if word) + "\n")

    def _bar_line(self, done: int, width: int) -> str:
        """Stage, bar and facts in `width` columns: the bar shrinks first, then facts are cut."""
        head = f"{self._latest[0]} ".lstrip()
        tail = "  ".join([f" {self._percent(done)}", *self._facts(done)])
        cells = min(self.BAR_CELLS, max(4, width - len(head) - len(tail)))
        full = round(cells * min(done / self._total, 1.0))
        return (head + "━" * full + "─" * (cells - full) + tail)[:width]

    def _percent(self, done: int) -> str:
        return f"{100 * min(done / self._total, 1.0):.0f} %"

    def _facts(self, done: int) -> list[str]:
        facts = [_value_text(name, value) for name, value in self._latest[1].items()]
        if done < self._total and self._rate:
            facts.append(f"{_clock_text((self._total - done) / self._rate)} left")
        return facts

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _value_text(name: str, value: float) -> str:
    if name == "images_per_second":
        return f"{float(value):.1f} img/s"
    return f"{name.replace('_', ' ')} {float(value):.3g}"


def _clock_text(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


def _columns(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns  # some terminals say 0
