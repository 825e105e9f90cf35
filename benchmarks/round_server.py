"""The worker's half of side_by_side.py: prepares what it is told, then runs it for one turn at a time.

Standard library only, so that it runs in any environment. Orders and answers are lines of JSON: `{"prepare": {...}}`
and `{"turn": SECONDS}`.
"""

import contextlib
import ctypes
import gc
import json
import os
import pathlib
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Run = Callable[[], object]  # one call, over when it returns
Prepare = Callable[..., tuple[Run, dict]]  # what to call, and what there is to tell about it
PAUSE = 0.05  # seconds in which the other side's threads, which spin for a while, fall asleep


class Refusal(Exception):
    """This environment cannot do what is asked; one line that says why and what to do."""


def serve(prepare: Prepare, peak_mb: Callable[[], float] | None = None, refusals: tuple = ()) -> None:
    """Answers orders until the input ends.

    A Refusal, an ImportError, or what else is named in `refusals` becomes the answer `{"error": line}`. `peak_mb` is
    the peak memory of a turn; by default that of this process.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not a reply
    run: Run | None = None
    peak_mb = peak_mb or peak_resident_mb
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "prepare" in order:
                run = None  # frees the memory of what was prepared before
                run, answer = prepare(**order["prepare"])
                return_free_memory()
            elif run is None:
                raise Refusal("nothing was prepared: send an order to prepare first")
            else:
                answer = turn(run, order["turn"], peak_mb)
        except (Refusal, ImportError, *refusals) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def turn(run: Run, seconds: float, peak_mb: Callable[[], float]) -> dict[str, float]:
    """Calls for as long, at least once: the median time of a call, how many there were, and the peak memory."""
    with contextlib.suppress(OSError):  # from here on the peak counts anew, where Linux lets us
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    time.sleep(PAUSE)
    times: list[float] = []
    begin = time.perf_counter()
    while not times or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "calls": len(times), "peak_mb": peak_mb()}


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def return_free_memory() -> None:
    """Gives the system back what a compiler has left behind, so that it does not count as the network's."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only the GNU library has it
        ctypes.CDLL(None).malloc_trim(0)


def peak_resident_mb() -> float:
    """The largest resident memory of this process since it was reset, or ever where it cannot be."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()):
            return int(found[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
