"""Times the input pipeline, and against it torch.utils.data.DataLoader with Albumentations on the same images.

    python benchmarks/input.py [--dataset fetal_phantom] [--peer-python PATH] [--json OUT]

Counts images with their masks that come out in batches, augmented as the thesis says (`augment="thesis"`).
The peer is the python of an environment that has torch and albumentations; without it only ours is timed. It is timed
twice: `memory`, where both sides hold decoded images of network size, and `files`, where the peer decodes PNG files
each time, as Datasets usually do, while ours decodes each file once. The sides run in turns, confined to the same
cores, so that other load falls on all alike; reported are medians over the rounds, and of the ratios of each round,
with the interval that covers their median at 95 %. Takes about 3 x rounds x seconds.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

import cv2
import numpy as np
from absl import flags

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

from benchmarks.side_by_side import Side, interleaved, pin, ratio, worker
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError
from input_pipeline.dataset import Dataset, NetImages, default_data_dir
from input_pipeline.patch_stream import PatchStream, Volumes
from input_pipeline.streams import Stream

PEER = pathlib.Path(__file__).with_name("input_peer.py")
ENDLESS = 10**8  # steps
PATCH = (32, 32, 32)


def image_stream(images: NetImages, batch: int) -> Stream:
    """Our stream, every image decoded before the clock starts."""
    for i in range(len(images)):
        images[i]
    return Stream(
        labelled=images,
        unlabelled=None,
        pseudo=None,
        batch_size=batch,
        n_unlabelled=0,
        augment="thesis",
        views=0,
        seed=0,
    )


def patch_stream(dataset: Dataset, batch: int) -> PatchStream:
    """Patches of all volumes of a dataset, decoded before the clock starts."""
    volumes = Volumes(dataset, dataset.names)
    for i in range(len(volumes)):
        volumes[i]
    return PatchStream(volumes, PATCH, batch, seed=0, flip=True)


def our_side(stream: Stream | PatchStream) -> Side:
    batches = stream.iterator(ENDLESS)

    def run(seconds: float) -> float:
        for _ in range(16):  # what was prefetched while the other side ran does not count
            next(batches)
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            count += len(next(batches).labelled.image)
        return count / (time.perf_counter() - start)

    return run


def write_images(dataset: Dataset, images: NetImages, names: list[str], folder: pathlib.Path) -> None:
    """What the peer reads: all images at network size in two arrays, and the originals as PNG files."""
    items = [images[i] for i in range(len(images))]
    np.save(folder / "images.npy", np.stack([item["image"] for item in items]))
    np.save(folder / "labels.npy", np.stack([item["labels"] for item in items]))
    for i, record in enumerate(dataset.records(names)):
        cv2.imwrite(str(folder / f"{i:05}_image.png"), record.image)
        cv2.imwrite(str(folder / f"{i:05}_mask.png"), record.labels)


@contextlib.contextmanager
def peer_sides(python: str, folder: pathlib.Path, batch: int, workers: int) -> Iterator[dict[str, Side]]:
    """The peer's two ways, `memory` and `files`. Its process lives as long as the context."""
    if not pathlib.Path(python).is_file():
        raise UserError(f"--peer-python {python} is not a file: give the python of an environment with torch")
    command = [python, "-W", "ignore", str(PEER), str(folder), str(batch), str(workers)]
    failure = f"--peer-python {python} fails: it needs torch and albumentations (see above)"
    quiet = {"NO_ALBUMENTATIONS_UPDATE": "1"}  # it would ask the network for its newest version
    with worker(command, failure, quiet) as ask:

        def side(name: str) -> Side:
            def run(seconds: float) -> float:
                result = ask(f"{name} {seconds}")
                return result["images"] / result["seconds"]

            return run

        print("peer:", ", ".join(f"{name} {version}" for name, version in ask().items()), flush=True)
        yield {name: side(name) for name in ("memory", "files")}


def ratios(speeds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of ours to each other side, round by round."""
    return {name: ratio(speeds["ours"], speeds[name]) for name in sorted(speeds.keys() - {"ours"}, reverse=True)}


def report(speeds: dict[str, list[float]]) -> dict[str, dict]:
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    for name, value in medians.items():
        print(f"{name:8} {value:8.0f} images/s  (rounds: {' '.join(f'{v:.0f}' for v in speeds[name])})")
    found = ratios(speeds)
    for name, r in found.items():
        print(f"ours / {name:8} {r['median']:6.2f}  (95 % interval of the median {r['low']:.2f} to {r['high']:.2f})")
    return {"images_per_second": medians, "rounds": speeds, "ratios": found}


def report_patches(args: argparse.Namespace) -> dict[str, object]:
    """Patches a second of our stream of volumes; there is no peer for them."""
    side = our_side(patch_stream(Dataset(args.volumes, args.data_dir), args.batch))
    speeds = interleaved({"patches": side}, args.rounds, args.seconds)["patches"]
    rounds = " ".join(f"{v:.0f}" for v in speeds)
    print(f"{'patches':8} {np.median(speeds):8.0f} patches/s of 32^3, {args.volumes}  (rounds: {rounds})")
    return {"dataset": args.volumes, "per_second": float(np.median(speeds)), "rounds": speeds}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fetal_phantom")
    parser.add_argument("--data-dir", type=pathlib.Path, default=default_data_dir())
    parser.add_argument("--size", type=int, default=256, help="side of the network's square in pixels")
    parser.add_argument("--images", type=int, default=200, help="how many images of the dataset are used")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2, help="cores, and worker processes of the peer")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=9, help="at least 6, for the interval")
    parser.add_argument("--peer-python", help="python of an environment with torch and albumentations")
    parser.add_argument("--volumes", help="a dataset of volumes: also times 3-D patches, e.g. fetal_phantom/infant")
    parser.add_argument("--json", type=pathlib.Path, help="also writes the numbers there")
    args = parser.parse_args()
    if args.rounds < 6:
        parser.error("--rounds must be at least 6: of fewer there is no 95 % interval")
    return args


def main() -> None:
    args = parse()
    flags.FLAGS.mark_as_parsed()  # grain reads absl flags
    cores = pin(args.workers)
    dataset = Dataset(args.dataset, args.data_dir)
    names = dataset.names[: args.images]
    images = NetImages(dataset, names, args.size)
    print(f"{args.dataset}, {len(names)} images, size {args.size}, batch {args.batch}, cores {cores}", flush=True)
    with contextlib.ExitStack() as stack:
        sides = {"ours": our_side(image_stream(images, args.batch))}
        if args.peer_python:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_images(dataset, images, names, folder)
            sides |= stack.enter_context(peer_sides(args.peer_python, folder, args.batch, args.workers))
        else:
            print("no --peer-python: ours alone")
        result = report(interleaved(sides, args.rounds, args.seconds))
    if args.volumes:
        result["patches"] = report_patches(args)
    if args.json:
        settings = {key: str(v) if isinstance(v, pathlib.Path) else v for key, v in vars(args).items()}
        write_json(args.json, {"settings": settings, "cores": cores, **result}, format=1)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"benchmarks/input: {error}")
