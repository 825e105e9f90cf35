"""What a run leaves behind while it runs: JSON lines, TensorBoard events, a progress bar.

`metrics.jsonl` is the record; TensorBoard is a view of it. Nothing here imports jax.
"""

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, SupportsFloat, SupportsInt, runtime_checkable

from tqdm.asyncio import tqdm as asyncio_tqdm
from tqdm.auto import tqdm
from tqdm.std import tqdm as std_tqdm

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

    def scalars(self, step: SupportsInt, kind: str, values: Mapping[str, SupportsFloat], **labels) -> None:
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

    raise UserError(f"{origin} is not a JSON record with kind and step: repair or remove that line")


def _write_lines(path: Path, lines: list[dict]) -> None:
    with replacing_file(path) as partial:
        partial.write_text("".join(_to_json(line) + "\n" for line in lines), encoding="utf-8")


@runtime_checkable
class Stream(Protocol):
    """What a progress bar is written to: an open text file."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...

    def fileno(self) -> int: ...


class Progress:
    """A tqdm bar in a terminal or a notebook; in a log or a pipe a plain line every 10 s or 10 %, whichever is first.

    `total` is in steps. `stream` is standard error by default. tqdm starts at the first update, so neither a resumed
    part nor what came before it counts for the time left.
    """

    REDRAW_SECONDS = 0.1
    LINE_SECONDS = 10.0
    LINE_SHARE = 0.1
    SMOOTHING = 0.03  # weight of the latest redraw in the rate: a first step that compiles is forgotten after a hundred
    BAR = "{desc}{bar} {percentage:.0f} %  {n_fmt}/{total_fmt}{postfix}, {remaining} left"
    LINE = "{desc}step {n_fmt}/{total_fmt}, {percentage:.0f} %{postfix}, {remaining} left"

    def __init__(self, total: int, *, stream: Stream | None = None):
        self._total = max(int(total), 1)
        self._stream: Stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._draws = self._terminal or (stream is None and _in_notebook())
        self._bar: std_tqdm | None = None
        self._next_line = 0.0  # step at which a log gets its next line, however little time has passed

    def update(self, done: int, *, stage: str = "", **values: SupportsFloat) -> None:
        """Shows that `done` steps of the total are done. `values` are shown by name, e.g. `loss=0.31`.

        `images_per_second` is shown as `1.9 img/s`.
        """
        desc = f"{stage} " if stage else ""
        postfix = ", ".join(_value_text(name, value) for name, value in values.items())
        if self._bar is None:
            self._bar, shown = self._open(initial=done, desc=desc, postfix=postfix), True
        else:
            self._bar.ncols = self._columns()
            self._bar.set_description_str(desc, refresh=False)
            self._bar.set_postfix_str(postfix, refresh=False)
            shown = bool(self._bar.update(done - self._bar.n))
        if not self._draws and (shown or done >= self._next_line):
            self._bar.refresh()  # a line that is there already is not written again
            self._next_line = min(done + self.LINE_SHARE * self._total, self._total)

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._draws and self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            self._stream.write(text + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Draws the last state and leaves the cursor on a fresh line."""
        if self._bar is not None:
            self._bar.close()

    def _open(self, **first: Any) -> std_tqdm:
        """A bar that shows its first state at once."""
        common = {"total": self._total, "smoothing": self.SMOOTHING, "miniters": 0, "position": 0, **first}
        if not self._draws:
            lines = _LineStream(self._stream)
            return _LogBar(file=lines, mininterval=self.LINE_SECONDS, bar_format=self.LINE, **common)
        return _Bar(
            file=self._stream,
            mininterval=self.REDRAW_SECONDS,
            bar_format=self.BAR,
            ncols=self._columns(),
            nrows=2,  # a terminal that says 0 has room for a line, too
            **common,
        )

    def _columns(self) -> int | None:
        """Columns of the terminal but for the last, where a cursor would wrap. None: a notebook or log has no width."""
        if not self._terminal:
            return None
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            columns = 0
        return (columns or shutil.get_terminal_size().columns) - 1  # some terminals say 0


class _Bar(tqdm):
    """tqdm's bar without its monitor thread, which is there for steps that never come to an update."""

    monitor_interval = 0


class _LogBar(std_tqdm):
    """tqdm's text also in a notebook that is told to write to a stream; no monitor thread."""

    monitor_interval = 0


class _LineStream:
    """A stream on which what tqdm redraws with carriage returns becomes lines, each state one."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> None:
        line = text.strip()
        if line and line != self._last:
            self._stream.write(line + "\n")
            self._last = line

    def flush(self) -> None:
        self._stream.flush()


def _in_notebook() -> bool:
    """Whether tqdm draws a widget, not text."""
    return tqdm is not asyncio_tqdm


def _value_text(name: str, value: SupportsFloat) -> str:
    if name == "images_per_second":
        return f"{float(value):.1f} img/s"
    return f"{name.replace('_', ' ')} {float(value):.3g}"
