"""The other side of input.py: torch.utils.data.DataLoader and Albumentations, in an environment of its own.

Started by input.py with the folder it wrote. Reads orders of one line, `memory SECONDS` or `files SECONDS`,
and answers each with a line of JSON: images and seconds. The first line tells the versions.
"""

import json
import pathlib
import sys
import time

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader, Dataset, RandomSampler

ENDLESS = 10**8


def thesis(size: int, *, fit: bool) -> A.Compose:
    """The same augmentation as input_pipeline's `thesis`; `fit` resizes and pads first."""
    fitting = [A.LongestMaxSize(size), A.PadIfNeeded(size, size)] if fit else []
    return A.Compose(
        [
            *fitting,
            A.HorizontalFlip(p=0.5),
            A.ShiftScaleRotate(
                shift_limit=0.0625, scale_limit=0.0625, rotate_limit=6.25, border_mode=cv2.BORDER_CONSTANT, p=0.5
            ),
            A.RandomBrightnessContrast(p=0.3),
            A.CLAHE(p=0.2),
            A.Normalize(mean=(0.5,), std=(0.5,)),
            ToTensorV2(),
        ]
    )


class InMemory(Dataset):
    """Decoded images at network size."""

    def __init__(self, folder: pathlib.Path):
        self.images, self.labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
        self.transform = thesis(self.images.shape[1], fit=False)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        out = self.transform(image=self.images[i], mask=self.labels[i])
        return out["image"], out["mask"].long()


def grey(path: pathlib.Path) -> np.ndarray:
    """The pixels of a PNG file that this benchmark wrote."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None, path
    return pixels


class Files(Dataset):
    """PNG files, decoded each time."""

    def __init__(self, folder: pathlib.Path, size: int):
        self.images, self.masks = sorted(folder.glob("*_image.png")), sorted(folder.glob("*_mask.png"))
        self.transform = thesis(size, fit=True)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        out = self.transform(image=grey(self.images[i])[..., None], mask=grey(self.masks[i]))
        return out["image"], out["mask"].long()


def batches(dataset: Dataset, batch: int, workers: int):
    """An endless loader, so that no time goes into the start of an epoch."""
    sampler = RandomSampler(dataset, replacement=True, num_samples=ENDLESS)
    return iter(DataLoader(dataset, batch, sampler=sampler, num_workers=workers, worker_init_fn=single_threaded))


def single_threaded(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def main(folder: str, batch: str, workers: str) -> None:
    torch.set_num_threads(1)
    in_memory = InMemory(pathlib.Path(folder))
    files = Files(pathlib.Path(folder), in_memory.images.shape[1])
    loaders = {name: batches(d, int(batch), int(workers)) for name, d in (("memory", in_memory), ("files", files))}
    print(json.dumps({"torch": torch.__version__, "albumentations": A.__version__}), flush=True)
    for order in sys.stdin:
        name, seconds = order.split()
        print(json.dumps(timed(loaders[name], float(seconds), int(workers))), flush=True)


def timed(loader, seconds: float, workers: int) -> dict[str, float]:
    for _ in range(4 * workers):  # what was prefetched while the other side ran does not count
        next(loader)
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        images += len(next(loader)[0])
    return {"images": images, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main(*sys.argv[1:])
