"""Golden files: written from a peer, or checked against one that is installed (--check)."""

import pathlib
import sys
from collections.abc import Callable, Mapping

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / "golden"


def main(name: str, peer: str, numbers: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Writes tests/golden/`name`.npz from `numbers()`; with --check compares the committed file with them instead.

    Exits with 1 where the file is not what the peer computes here, to 1e-4 of the scale of each entry.
    """
    path, golden = FOLDER / f"{name}.npz", numbers()
    if sys.argv[1:] == ["--check"]:
        sys.exit(not _equal(path, peer, golden))
    np.savez_compressed(path, **golden)
    print(f"{path}: {len(golden)} entries, {path.stat().st_size} bytes")


def _equal(path: pathlib.Path, peer: str, golden: Mapping[str, np.ndarray]) -> bool:
    with np.load(path) as kept:
        if kept.keys() != golden.keys():
            print(f"{path.name}: entries differ from those of {peer}: {sorted(kept.keys() ^ golden.keys())}")
            return False
        worst = {key: float(np.abs(golden[key] - kept[key]).max() / max(1.0, np.abs(kept[key]).max())) for key in kept}
    key = max(worst, key=worst.get)
    print(f"{len(worst)} entries of {path.name} against {peer}: worst {worst[key]:.1e} ({key})")
    return worst[key] <= 1e-4
