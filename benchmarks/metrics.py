"""Times our surface metrics on a pair of masks, and against them MONAI's HD95 and mean surface distance of the same.

    python benchmarks/metrics.py [--peer-python PATH] [--json OUT]

Ours are all ten metrics, in pixels and millimetres, from maps of labels; MONAI's are compute_hausdorff_distance
(percentile=95) and compute_average_surface_distance, from masks that are already as it wants them. The peer is the
python of the environment that `make parity` makes. The sides run in turns, confined to the same cores, so that other
load falls on both alike; reported are medians over the rounds, and of the ratios of each round, with the interval that
covers their median at 95 %.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

from benchmarks import round_server
from benchmarks.metrics_peer import CASES, masks
from benchmarks.side_by_side import ROOT, Ask, Side, interleaved, pin, ratio, worker
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError
from fetal_jax.metrics.surface import surface

PARITY = pathlib.Path(".venv-parity/bin/python")  # what `make parity` makes
SPACING_MM = (0.15, 0.15)
BUDGET_MS = 5.0  # of all our metrics of a pair


def our_run(case: str, height: int, width: int) -> Callable[[], dict[str, np.ndarray]]:
    prediction, labels = (mask.astype(np.uint8) for mask in masks(case, height, width))
    return lambda: surface(prediction, labels, 2, spacing_mm=SPACING_MM).values()


def our_side(run: round_server.Run) -> Side:
    """Seconds of a call."""
    return lambda seconds: round_server.turn(run, seconds, lambda: 0.0)["seconds"]


def peer_side(ask: Ask) -> Side:
    return lambda seconds: ask(json.dumps({"turn": seconds}))["seconds"]


def peer_worker(python: str) -> contextlib.AbstractContextManager[Ask]:
    """Raises UserError if there is no such environment."""
    if not pathlib.Path(python).is_file():
        raise UserError(f"--peer-python {python} is not a file: run `make parity`, or give an environment with MONAI")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [str(python), "-W", "ignore", "-m", "benchmarks.metrics_peer"]
    return worker(command, f"--peer-python {python} fails: it needs torch and monai (see above)", {"PYTHONPATH": path})


def machine() -> str:
    """The processor and the versions of what our side computes with."""
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy")]
    return ", ".join([found[1] if found else platform.machine(), f"Python {platform.python_version()}", *versions])


def compare(case: str, args: argparse.Namespace, ask: Ask | None) -> dict:
    """A row of numbers. Raises UserError if both sides do not find the same."""
    run = our_run(case, args.height, args.width)
    sides = {"ours": our_side(run)}
    row: dict[str, Any] = {"case": case}
    if ask:
        size = {"height": args.height, "width": args.width}
        facts = ask(json.dumps({"prepare": {"case": case, "threads": args.threads} | size}))
        _same(run(), facts["values"])
        sides["monai"], row["versions"] = peer_side(ask), facts["versions"]
    row["seconds"] = interleaved(sides, args.repeats, args.seconds)
    return row | ({"ratio": ratio(row["seconds"]["ours"], row["seconds"]["monai"])} if ask else {})


def _same(ours: dict[str, np.ndarray], theirs: dict[str, float]) -> None:
    for metric, value in theirs.items():
        if not np.isclose(ours[metric][0], value, rtol=1e-4):
            raise UserError(f"{metric} is {ours[metric][0]} here and {value} in the peer: compare with MONAI 1.6")


def line(row: dict) -> str:
    medians = {name: 1e3 * np.median(values) for name, values in row["seconds"].items()}
    text = f"{row['case']:7} ours {medians['ours']:7.2f} ms (budget {BUDGET_MS:g} ms)"
    if "ratio" not in row:
        return text
    r = row["ratio"]
    interval = f"(95 % interval {r['low']:.2f} to {r['high']:.2f})"
    return f"{text}, MONAI {medians['monai']:7.2f} ms, ratio {r['median']:.2f} {interval}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--height", type=int, default=540)
    parser.add_argument("--width", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=15, help="rounds; at least 6, for the interval")
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn; one call at least")
    parser.add_argument("--threads", type=int, default=1, help="cores of both sides; MONAI is no faster on more")
    parser.add_argument("--peer-python", help=f"python of an environment with MONAI; default: {PARITY} if it is there")
    parser.add_argument("--json", type=pathlib.Path, help="also writes the numbers there")
    args = parser.parse_args(arguments)
    if args.repeats < 6:
        parser.error("--repeats must be at least 6: of fewer rounds there is no 95 % interval")
    if min(args.height, args.width, args.threads) < 1:
        parser.error("--height, --width and --threads must be at least 1")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    cores, load = pin(args.threads), os.getloadavg()[0]
    print(f"{machine()}; cores {cores}, load average before the start {load:.1f}; {args.height} x {args.width} pixels")
    python = args.peer_python or (str(ROOT / PARITY) if (ROOT / PARITY).is_file() else None)
    rows = []
    with peer_worker(python) if python else contextlib.nullcontext() as ask:
        for case in args.cases:
            rows.append(compare(case, args, ask))
            print(line(rows[-1]), flush=True)
    print("peer: " + ", ".join(f"{k} {v}" for k, v in rows[0]["versions"].items()) if python else "no peer: ours alone")
    if args.json:
        settings = {key: str(v) if isinstance(v, pathlib.Path) else v for key, v in vars(args).items()}
        facts = {"settings": settings, "machine": machine(), "cores": cores, "load": load}
        write_json(args.json, facts | {"rows": rows}, format=1)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"benchmarks/metrics: {error}", file=sys.stderr)
        sys.exit(2)
