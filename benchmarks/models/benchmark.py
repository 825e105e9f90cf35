"""Times our networks against independent implementations of the same: inference, training step, compilation, memory.

    python benchmarks/models/benchmark.py --against smp monai --platform cpu [--peer-python PATH] [--json OUT]

Each side runs in a process of its own, the peer's in the environment that `make parity` makes, confined to the same
cores; they take turns, while the other waits, so that other load falls on both alike. Reported are medians over the
rounds, and of the ratios of each round with the interval that covers their median at 95 %, beside the bar that was set.
Yet run it on a machine that is idle otherwise: PyTorch's threads wait for each other, so other load slows it more.

Inference gives logits for a batch that is in memory; a training step is Adam on binary cross-entropy (ours also clips
the gradient, as the project always does). PyTorch runs channels last. Arithmetic is that of the forward pass, counted
by XLA (ours) and by PyTorch (theirs: only convolutions and matrix products). Memory is the largest resident memory of
a process in its turns. With --platform gpu: bfloat16, PyTorch under torch.compile and autocast, memory on the device.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import tempfile

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[2])  # a script finds its neighbours as a module does

from benchmarks.models import report
from benchmarks.models.pairs import COMPILE_BARS, LATENCY_BARS, PAIRS, WORKERS, Pair, Task
from benchmarks.side_by_side import ROOT, Ask, Side, interleaved, pin, ratio, worker
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError

PARITY = pathlib.Path(".venv-parity/bin/python")  # what `make parity` makes
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # both sides fit on one device
BUSY = 0.5  # load average above which a comparison means little


def our_worker(args: argparse.Namespace, cache: str) -> contextlib.AbstractContextManager[Ask]:
    variables = {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": cache} | SHARED
    variables |= {"JAX_PLATFORMS": "cpu"} if args.platform == "cpu" else {}
    command = [sys.executable, "-m", "benchmarks.models.jax_worker", args.platform]
    return worker(command, "our own side failed (see above)", variables)


def peer_worker(args: argparse.Namespace, against: str) -> contextlib.AbstractContextManager[Ask]:
    """Raises UserError if there is no such environment."""
    option = "--keras-python" if against == "keras" else "--peer-python"
    python = (args.keras_python if against == "keras" else None) or args.peer_python or ROOT / PARITY
    if not pathlib.Path(python).is_file():
        raise UserError(
            f"{python} is not a file: run `make parity`, or give {option} an environment that has {against}"
        )
    variables = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'parity'}", "KERAS_BACKEND": "jax"}
    variables |= {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)} | SHARED
    variables |= {"JAX_PLATFORMS": "cpu"} if args.platform == "cpu" else {}
    module = f"benchmarks.models.{WORKERS[against]}_worker"
    command = [str(python), "-W", "ignore", "-m", module, args.platform, str(args.threads)]
    return worker(command, f"{option} {python} fails: it needs {against} (see above)", variables)


def prepare(ask: Ask, args: argparse.Namespace, task: Task, **which) -> dict:
    precision = "float32" if args.platform == "cpu" else "bfloat16"
    setting = {"task": task.kind, "batch": task.batch, "size": args.size, "platform": args.platform}
    return ask(json.dumps({"prepare": which | setting | {"precision": precision}}))


def side(ask: Ask, peaks: list[float]) -> Side:
    """Seconds of a call; peaks of memory are noted down."""

    def run(seconds: float) -> float:
        answer = ask(json.dumps({"turn": seconds}))
        peaks.append(answer["peak_mb"])
        return answer["seconds"]

    return run


def tasks(args: argparse.Namespace) -> list[Task]:
    """Training first, in a process that has compiled nothing yet. On a GPU last: its peak of memory cannot be reset."""
    training = [Task("training", max(args.batch))]
    inference = [Task("inference", batch) for batch in sorted(args.batch)]
    return training + inference if args.platform == "cpu" else inference + training


def compare(pair: Pair, args: argparse.Namespace) -> list[dict]:
    """A row of numbers for each task."""
    which = {"model": pair.model, "options": pair.options}
    rows: dict[str, list[dict]] = {}
    print(f"\n{pair.model} {pair.options} against {pair.title}", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        with our_worker(args, cache) as ours, peer_worker(args, pair.against) as peer:
            for task in tasks(args):
                facts = {"ours": prepare(ours, args, task, **which), "peer": prepare(peer, args, task, peer=pair.peer)}
                rows[task.kind] = [*rows.get(task.kind, []), measure(pair, task, ours, peer, args) | facts]
                tell(rows[task.kind][-1], args)
        with our_worker(args, cache) as ours:
            again = prepare(ours, args, Task("training", max(args.batch)), **which)
    (training,) = rows["training"]
    training["compile_s"] = {"cold": training["ours"]["compile_s"], "cached": again["compile_s"]}
    print(report.compilation(training, COMPILE_BARS.get(pair.model)), flush=True)
    return [training, *rows["inference"]]


def measure(pair: Pair, task: Task, ours: Ask, peer: Ask, args: argparse.Namespace) -> dict:
    peaks: dict[str, list[float]] = {"ours": [], "peer": []}
    sides = {"ours": side(ours, peaks["ours"]), "peer": side(peer, peaks["peer"])}
    seconds = interleaved(sides, args.repeats, args.seconds)
    return {
        "model": pair.model,
        "against": pair.title,
        "task": str(task),
        "batch": task.batch,
        "seconds": seconds,
        "ratio": ratio(seconds["ours"], seconds["peer"]),
        "bar": pair.bar(task, args.platform),
        "peak_mb": {name: max(values) for name, values in peaks.items()},
    }


def tell(row: dict, args: argparse.Namespace) -> None:
    print(report.timing(row))
    print(report.costs(row))
    if args.platform != "cpu":
        print(report.throughput(row, args.peak_tflops, LATENCY_BARS.get(row["model"])))
    sys.stdout.flush()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", nargs="+", choices=WORKERS, default=["smp", "monai", "timm"])
    parser.add_argument("--models", nargs="+", choices=sorted({pair.model for pair in PAIRS}), help="default: all")
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels, a multiple of 32")
    parser.add_argument("--batch", type=int, nargs="+", help="of inference; the largest is that of training")
    parser.add_argument("--repeats", type=int, default=11, help="rounds; at least 6, for the interval")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn; one call at least")
    parser.add_argument("--threads", type=int, default=2, help="cores of both sides")
    parser.add_argument("--peer-python", help=f"python of the peers' environment; default: {PARITY}")
    parser.add_argument("--keras-python", help="python of an environment with Keras; default: that of the peers")
    parser.add_argument("--peak-tflops", type=float, help="what the accelerator can do in bfloat16, for the roofline")
    parser.add_argument("--json", type=pathlib.Path, help="also writes the numbers there")
    args = parser.parse_args(arguments)
    args.batch = args.batch or ([1, 8] if args.platform == "cpu" else [1, 64])
    if args.repeats < 6:
        parser.error("--repeats must be at least 6: of fewer rounds there is no 95 % interval")
    if args.size < 32 or args.size % 32 or min(args.batch) < 1:
        parser.error("--size must be a multiple of 32 and --batch 1 or more: the peers take nothing else")
    if args.threads < 1:
        parser.error("--threads must be at least 1")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def main() -> None:
    args = parse()
    pairs = [pair for pair in PAIRS if pair.against in args.against and pair.model in (args.models or [pair.model])]
    if not pairs:
        raise UserError(f"--models {' '.join(args.models)} has no peer in --against {' '.join(args.against)}")
    cores, load = pin(args.threads), os.getloadavg()[0]
    print(f"{args.platform}, size {args.size}, cores {cores}, {args.repeats} rounds of {args.seconds:g} s a side")
    print(
        f"load average before the start {load:.1f}" + (": the machine is busy, which is unfair" if load > BUSY else "")
    )
    rows = [row for pair in pairs for row in compare(pair, args)]
    if args.json:
        settings = {key: str(v) if isinstance(v, pathlib.Path) else v for key, v in vars(args).items()}
        write_json(args.json, {"settings": settings, "cores": cores, "load": load, "rows": rows}, format=1)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"benchmarks/models: {error}", file=sys.stderr)
        sys.exit(2)
