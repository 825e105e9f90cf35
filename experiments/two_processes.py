"""Trains ten steps in two processes on loopback and in one, and compares losses and weights.

    python experiments/two_processes.py [--workdir DIR]

Both processes read their half of every batch and score their half of the validation images; the first one writes the
files. The losses of both must agree with those of one process within 1e-5, and so must the weights. The order of
the additions in a sum differs, nothing else. Takes about two minutes on 2 cores; exit code 1 if they differ.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np

CONFIG = "configs/ss_case_unet.py:model=plain_unet,dataset=fetal_phantom/tiny,size=32,labeller=naive"
# Four steps on labelled images and six with pseudo-labelled ones. SGD: Adam divides gradients by their size, and makes
# noise of those that are noise.
OVERRIDES = {
    "split.labelled": 8,
    "split.unlabelled": 6,
    "split.validation": 3,
    "split.test": 3,
    "batch_size": 4,
    "unlabelled_per_batch": 2,
    "optimizer.name": "sgd",
    "model.width": 4,
    "validate_every": 1,
    "stages": "fine_tune,retrain",
    "stages.fine_tune.epochs": 2,
    "stages.retrain.epochs": 2,
}
TIMEOUT = 600  # seconds: a process that waits for one that is gone would wait for ever
TOLERANCE = 1e-5


def command(workdir: pathlib.Path, *options: str) -> list[str]:
    overrides = [f"--config.{key}={value}" for key, value in OVERRIDES.items()]
    start = [sys.executable, "-m", "fetal_jax", "train", "--config", CONFIG, "--workdir", str(workdir)]
    return [*start, *overrides, *options]


def run(workdir: pathlib.Path, processes: int) -> None:
    """Trains in that many processes. Raises RuntimeError if one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    joined = [
        ("--coordinator", coordinator, "--processes", str(processes), "--process", str(i)) for i in range(processes)
    ]
    commands = [command(workdir, *(options if processes > 1 else ())) for options in joined]
    started = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for c in commands]
    try:
        for i, process in enumerate(started):
            text, _ = process.communicate(timeout=TIMEOUT)
            if process.returncode:
                raise RuntimeError(f"process {i} of {processes} ended with {process.returncode}:\n{text[-3000:]}")
    finally:
        for process in started:
            process.kill()


def losses(workdir: pathlib.Path) -> list[float]:
    """The losses of all steps, in order."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


def weights(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "model" / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=pathlib.Path, help="keep the runs here; it must be empty")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.workdir or pathlib.Path(temporary)
        for processes in (1, 2):
            run(folder / str(processes), processes)
        one, two = losses(folder / "1"), losses(folder / "2")
        worst_loss = float(np.abs(np.subtract(one, two)).max()) if len(one) == len(two) else float("inf")
        first, second = weights(folder / "1"), weights(folder / "2")
        worst_weight = max(float(np.abs(first[name] - second[name]).max(initial=0)) for name in first)
        summaries = [json.loads((folder / n / "summary.json").read_text()) for n in "12"]
        scores = [summary["test"]["per_image"]["dice"]["mean"] for summary in summaries]
    print(f"{len(one)} steps; loss of the last: {one[-1]:.6f} with one process, {two[-1]:.6f} with two")
    print(f"largest difference: {worst_loss:.2g} in a loss, {worst_weight:.2g} in a weight")
    print(f"test Dice per image: {scores[0]:.4f}, {scores[1]:.4f}")
    same = worst_loss < TOLERANCE and worst_weight < TOLERANCE
    print("the same" if same else f"DIFFERENT: more than {TOLERANCE}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
