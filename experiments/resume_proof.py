"""Kills runs with SIGKILL in every stage, and while labelling, resumes them, and compares the weights bit by bit.

    python experiments/resume_proof.py [--workdir DIR]

One run is left alone. Another is killed once in each stage and once after the first label of LABEL was written,
and is started again each time. Both must end in the same bits. Takes about 5 minutes on 2 cores; exit code 1 if a
hash differs.
"""

import argparse
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

CONFIG = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32,labeller=naive"
OVERRIDES = {
    "split.labelled": 8,
    "split.unlabelled": 6,
    "split.validation": 3,
    "split.test": 3,
    "batch_size": 4,
    "unlabelled_per_batch": 2,
    "validate_every": 1,
    "stages.decoder.epochs": 4,
    "stages.fine_tune.epochs": 6,
    "stages.retrain.epochs": 4,
}
# The stages in whose middle the run is killed, and how many of their lines must be in metrics.jsonl by then.
KILLS = {"decoder": 5, "fine_tune": 7, "label": 0, "retrain": 7}
LABELLED_STAGE = "retrain"


def command(workdir: pathlib.Path) -> list[str]:
    overrides = [f"--config.{key}={value}" for key, value in OVERRIDES.items()]
    return [sys.executable, "-m", "fetal_jax", "train", "--config", CONFIG, "--workdir", str(workdir), *overrides]


def hashes(workdir: pathlib.Path) -> dict[str, str]:
    """SHA-256 over names and bits of every array of every stage's network."""
    found = {}
    for weights in sorted(workdir.glob("stages/*/weights.npz")):
        digest = hashlib.sha256()
        with np.load(weights) as arrays:
            for name in sorted(arrays):
                digest.update(name.encode() + arrays[name].tobytes())
        found[weights.parent.name] = digest.hexdigest()
    return found


def lines_of(workdir: pathlib.Path, stage: str) -> int:
    """How many training steps of a stage the run has written down."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return sum(line["kind"] == "train" and line["stage"] == stage for line in map(json.loads, lines))


def reached(workdir: pathlib.Path, where: str, lines: int) -> bool:
    if where == "label":
        return (workdir / "labels" / LABELLED_STAGE / "000000.npz").exists()
    return lines_of(workdir, where) >= lines


def run_until(workdir: pathlib.Path, where: str, lines: int) -> None:
    """Starts the run and kills it, without a chance to clean up, as soon as it is where it should be."""
    process = subprocess.Popen(command(workdir), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr
    assert errors is not None  # a pipe
    while not reached(workdir, where, lines):
        if process.poll() is not None:
            sys.exit(f"the run ended before it was in {where}:\n{errors.read().decode()}")
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    errors.close()
    print(f"killed in {where} after {sum(lines_of(workdir, s) for s in KILLS)} steps", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, help="where to keep the two runs (else a temporary folder)")
    root = parser.parse_args().workdir or pathlib.Path(tempfile.mkdtemp(prefix="resume_proof_"))
    whole, broken = root / "whole", root / "broken"
    subprocess.run(command(whole), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for where, lines in KILLS.items():
        run_until(broken, where, lines)
    subprocess.run(command(broken), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    expected, found = hashes(whole), hashes(broken)
    for stage in expected:
        same = "equal" if expected[stage] == found.get(stage) else "DIFFERENT"
        print(f"{stage:12} {expected[stage][:32]}  {found.get(stage, '-')[:32]}  {same}")
    return int(expected != found or len(expected) != 3)


if __name__ == "__main__":
    sys.exit(main())
