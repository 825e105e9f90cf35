"""How two programs are timed against each other: in turns, on the same cores, by the ratio of each round.

What the benchmarks share. The other side lives in a process of its own, often in an environment of its own; it gets an
order a line and answers each with a line of JSON.
"""

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import quantile_test

from fetal_jax.core.types import UserError

ROOT = pathlib.Path(__file__).parents[1]
Side = Callable[[float], float]  # seconds of a turn -> what was measured in it
Ask = Callable[..., dict]  # an order -> its answer; without an order: what is said unasked


def pin(workers: int) -> list[int]:
    """Confines this process and all that it starts to `workers` cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[:workers]
    os.sched_setaffinity(0, cores)
    return cores


@contextlib.contextmanager
def worker(command: Sequence[str], failure: str, environment: Mapping[str, str] | None = None) -> Iterator[Ask]:
    """A process that answers orders; it lives as long as the context.

    Raises UserError: `failure` where the process ends without an answer, and the answer's own `error` where it has one.
    """
    variables = os.environ | dict(environment or {})
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables)

    orders, answers = process.stdin, process.stdout
    assert orders is not None  # a pipe
    assert answers is not None

    def ask(order: str = "") -> dict:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            orders.write(order + "\n" if order else "")
            orders.flush()
        line = answers.readline()
        answer = json.loads(line) if line else {"error": failure}
        if "error" in answer:
            raise UserError(answer["error"])
        return answer

    with process:  # its end closes the pipes and waits
        try:
            yield ask
        finally:
            with contextlib.suppress(BrokenPipeError):
                orders.close()


def interleaved(sides: Mapping[str, Side], rounds: int, seconds: float) -> dict[str, list[float]]:
    """What each side measures in each round; a first round, not counted, warms everything up."""
    for run in sides.values():
        run(seconds / 2)
    measured: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            measured[name].append(sides[name](seconds))
    return measured


def ratio(ours: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Of ours to the other, round by round: the median and its 95 % interval. Fewer than 6 rounds give none."""
    by_round = np.divide(ours, other)
    low, high = quantile_test(by_round).confidence_interval(0.95)
    return {"median": float(np.median(by_round)), "low": float(low), "high": float(high)}
