"""The training stream of volumes: patches at random places, 1,000 of each volume an epoch (Sun et al. 2020).

Everything random is drawn from a generator made of the seed and the position in the stream, so the order and the
content never depend on threads, and the whole state of the stream is one number, kept in the checkpoint.
"""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Float32, UInt8, UInt16, UInt32

from fetal_jax.types import Batch, UserError
from input_pipeline.dataset import Dataset
from input_pipeline.once import Once
from input_pipeline.tiles import Shape, crop
from input_pipeline.transforms import unit_range

SIDES = 0  # the axis of a volume [d h w] from the right to the left


@dataclasses.dataclass(frozen=True)
class Volume:
    """One decoded volume."""

    image: UInt16[np.ndarray, "d h w c"]
    labels: UInt8[np.ndarray, "d h w"]
    labelled: bool
    spacing_mm: Float32[np.ndarray, "3"]
    foreground: UInt32[np.ndarray, " n"]  # places of the voxels whose class is not 0, in the flat labels

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + self.labels.nbytes + self.foreground.nbytes


class Volumes:
    """A random-access source of the named volumes.

    They are kept as they are first read, as long as `memory` bytes hold them: 8 GB are 90 volumes of 256x256x256 with
    two modalities. Any more are decoded whenever a patch of theirs is drawn, which takes a moment each.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], memory: int = 8 * 2**30):
        """Raises UserError for a dataset of images."""
        if dataset.facts.dims != 3:
            raise UserError(f"dataset {dataset.name} has images: patches are drawn of volumes")
        self._dataset, self._names = dataset, list(names)
        self._volumes = Once(self._read, lambda volume: volume.nbytes, memory)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:  # grain prints sources in its errors
        return f"Volumes({self._dataset.name}, {len(self)} volumes)"

    def __getitem__(self, i: int) -> Volume:
        return self._volumes[i]

    def _read(self, i: int) -> Volume:
        record = self._dataset[self._names[i]]
        foreground = np.flatnonzero(record.labels).astype(np.uint32)
        return Volume(record.image, record.labels, record.labelled, record.spacing_mm, foreground)


@dataclasses.dataclass(frozen=True)
class PatchStream:
    """What one stage draws from.

    Attributes:
      volumes: those to draw of; one without labels has weight 0.
      patch: shape of a patch, in voxels.
      batch_size: patches a step, over all processes.
      seed: of the order, the places and the flips.
      patches_per_volume: how many of each volume are an epoch.
      flip: whether to mirror half of the patches, left for right.
      foreground: share of the patches whose centre is a voxel of the foreground; the others lie anywhere in the volume.
    """

    volumes: Volumes
    patch: Shape
    batch_size: int
    seed: int
    patches_per_volume: int = 1000
    flip: bool = False
    foreground: float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which `patches_per_volume` of each volume are drawn; at least 1."""
        return max(1, len(self.volumes) * self.patches_per_volume // self.batch_size)

    def patches(self) -> grain.MapDataset:
        """An endless random-access stream of patches, each volume equally often in an epoch, in ever another order.

        An item is a dict of image uint16 [d h w c], labels uint8, weights uint8 (0 or 1), spacing_mm, and where it is
        from: volume (its index), start (its first voxel, maybe outside the volume) and flipped.
        """
        numbers = grain.MapDataset.range(len(self.volumes) * self.patches_per_volume).seed(self.seed)
        return numbers.shuffle().repeat(None, reseed_each_epoch=True).random_map(self._draw)

    def iterator(self, steps: int, shard: tuple[int, int] = (0, 1)) -> grain.DatasetIterator:
        """`steps` batches of NumPy arrays; `shard` is (index, count) of the process that reads them."""
        index, count = shard
        mine = self.patches()[: self.batch_size * steps][index::count]
        batches = mine.batch(self.batch_size // count).map(_to_batch)
        # Threads, not processes: with worker processes a restored state silently depends on their number.
        return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))

    def _draw(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        index = int(number) % len(self.volumes)
        volume = self.volumes[index]
        start = self._start(volume, rng)
        item = {key: crop(getattr(volume, key), start, self.patch) for key in ("image", "labels")}
        item["weights"] = _inside(volume.labels.shape, start, self.patch) * np.uint8(volume.labelled)
        flipped = self.flip and rng.random() < 0.5
        if flipped:
            item = {key: np.flip(array, SIDES) for key, array in item.items()}
        source = {"volume": np.int32(index), "start": np.array(start), "flipped": np.bool_(flipped)}
        return item | source | {"spacing_mm": volume.spacing_mm}

    def _start(self, volume: Volume, rng: np.random.Generator) -> Shape:
        """A volume that is shorter than the patch lies in its middle, unless the patch has its own centre."""
        if volume.foreground.size and rng.random() < self.foreground:
            place = volume.foreground[rng.integers(volume.foreground.size)]
            start = np.subtract(np.unravel_index(place, volume.labels.shape), np.floor_divide(self.patch, 2))
        else:
            room = np.subtract(volume.labels.shape, self.patch)
            start = np.where(room > 0, rng.integers(0, np.maximum(room, 0) + 1), room // 2)
        depth, height, width = start.tolist()
        return depth, height, width


def _inside(shape: Sequence[int], start: Shape, patch: Shape) -> UInt8[np.ndarray, "d h w"]:
    """1 on the volume, 0 where a patch leaves it."""
    places = (s + np.arange(p) for s, p in zip(start, patch, strict=True))
    d, h, w = ((i >= 0) & (i < n) for i, n in zip(places, shape, strict=True))
    return (d[:, None, None] & h[:, None] & w).astype(np.uint8)


def _to_batch(items: dict[str, np.ndarray]) -> Batch:
    image = unit_range(items["image"])
    labels, weights = items["labels"].astype(np.int32), items["weights"].astype(np.float32)
    return Batch(image, labels, weights, image[:0], np.zeros(0, np.int32))
