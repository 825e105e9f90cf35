"""How long a large dataset takes to open, and how much memory.

    python benchmarks/open_dataset.py --images 100000 --folder runs/large

Writes a folder of small labelled images (only once), prepares it as `folder`, and opens it in a process of its own:
seconds from the call to the list of names, a split and the first image, and the peak memory of that process.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

from input_pipeline.dataset import prepare

OPEN = """
import json, pathlib, resource, sys, time
from input_pipeline.dataset import Dataset
from input_pipeline.split_assignment import make_splits
from input_pipeline.splits import Request
start = time.perf_counter()
dataset = Dataset("folder", pathlib.Path(sys.argv[1]))
opened = time.perf_counter()
splits = make_splits(dataset.split_items(), Request(0, 70, 0, 15, 15, unit="percent"), dataset.version)
assigned = time.perf_counter()
dataset[splits.parts["test"][0]]
read = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
seconds = {"open": opened - start, "split": assigned - opened, "first image": read - assigned}
print(json.dumps({"images": len(dataset), "seconds": seconds, "peak_mb": peak}))
"""


def write(folder: pathlib.Path, n_images: int, side: int = 16, frames: int = 4) -> None:
    """`n_images` labelled images, `frames` a subject."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(n_images):
        name = f"S{i // frames:06d}_{i % frames}.png"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (side, side), np.uint8))
        cv2.imwrite(str(folder / "masks" / name), np.tri(side, k=int(rng.integers(-8, 8)), dtype=np.uint8) * 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/large"))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    source, data = args.folder / f"source_{args.images}", args.folder / f"data_{args.images}"
    if not source.exists():
        write(source, args.images)
    prepare("folder", data, None if data.exists() else str(source))
    for _ in range(args.repeats):
        done = subprocess.run([sys.executable, "-c", OPEN, str(data)], capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        seconds = ", ".join(f"{name} {value:.2f} s" for name, value in result["seconds"].items())
        print(f"{result['images']} images: {seconds}, peak {result['peak_mb']:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
