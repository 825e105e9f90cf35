"""The training stream of volumes: patches at random places, 1,000 of each volume an epoch (Sun et al. 2020).

Everything random is drawn from a generator made of the seed and the position in the stream, so the order and the
content never depend on threads, and the whole state of the stream is one number, kept in the checkpoint.
"""

import dataclasses
from collections.abc import Callable, Sequence

import grain
import numpy as np
from jaxtyping import Float32, UInt8, UInt16, UInt32

from fetal_jax.core.types import UserError
from input_pipeline.augment.intensity import perturb_volume
from input_pipeline.cache import MemoryCache
from input_pipeline.dataset import Dataset
from input_pipeline.letterbox import unit_range
from input_pipeline.sliding_window import Shape, crop
from input_pipeline.streams import PseudoLabels, batches, to_iterator

Item = dict[str, np.ndarray]
UNLABELLED_SEED = 500_000_000  # far from the seeds of labelled streams, which count stages
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
        self._volumes = MemoryCache(self._read, lambda volume: volume.nbytes, memory)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:  # grain prints sources in its errors
        return f"Volumes({self._dataset.name}, {len(self)} volumes)"

    def __getitem__(self, i: int) -> Volume:
        return self._volumes[i]

    def image(self, i: int) -> np.ndarray:
        """The volume as it is, uint16 [d h w c]."""
        return self[i].image

    def picture(self, i: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A slice of the volume and of labels in its voxels, to draw."""
        record = dataclasses.replace(self._dataset[self._names[i]], labels=labels)
        return record.picture(), record.picture_labels()

    def valid(self, i: int) -> np.ndarray:
        """1 on the volume, float32 [d h w]: it has no padding."""
        return np.ones(self[i].labels.shape, np.float32)

    def _read(self, i: int) -> Volume:
        record = self._dataset[self._names[i]]
        foreground = np.flatnonzero(record.labels).astype(np.uint32)
        return Volume(record.image, record.labels, record.labelled, record.spacing_mm, foreground)


@dataclasses.dataclass(frozen=True)
class PatchStream:
    """What one stage draws from.

    Attributes:
      labelled: volumes to draw patches of; one without labels has weight 0.
      patch: shape of a patch, in voxels.
      batch_size: patches a step, over all processes.
      seed: of the order, the places and the flips.
      patches_per_volume: how many of each volume are an epoch.
      flip: whether to mirror half of the patches, left for right.
      foreground: share of the patches whose centre is a voxel of the foreground; the others lie anywhere in the volume.
      unlabelled: volumes without labels, or None for a stage that does not use any.
      pseudo: labels of the unlabelled volumes; None: they have none.
      n_unlabelled: how many patches of a step are of unlabelled volumes.
      views: how many perturbed views each patch of an unlabelled volume has.
    """

    labelled: Volumes
    patch: Shape
    batch_size: int
    seed: int
    patches_per_volume: int = 1000
    flip: bool = False
    foreground: float = 0.0
    unlabelled: Volumes | None = None
    pseudo: PseudoLabels | None = None
    n_unlabelled: int = 0
    views: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which `patches_per_volume` of each volume are drawn; at least 1."""
        volumes = len(self.labelled) + len(self._pool())
        return max(1, volumes * self.patches_per_volume // self.batch_size)

    def patches(self) -> grain.MapDataset:
        """An endless random-access stream of labelled patches.

        Each volume is drawn equally often in an epoch, in ever another order. An item is a dict of image uint16
        [d h w c], labels uint8, weights uint8 (0 or 1), and where it is from: volume (its index), start (its first
        voxel, maybe outside the volume), flipped, and the volume's spacing_mm.
        """
        return self._endless(range(len(self.labelled)), self.seed, self._labelled_patch)

    def iterator(self, steps: int, shard: tuple[int, int] = (0, 1)) -> grain.DatasetIterator:
        """`steps` batches of NumPy arrays; `shard` is (index, count) of the process that reads them."""
        n_unlabelled = self.n_unlabelled if len(self._pool()) else 0
        streams = [batches(self.patches(), self.batch_size - n_unlabelled, steps, shard)]
        if n_unlabelled:
            unlabelled = self._endless(self._pool(), UNLABELLED_SEED + self.seed, self._unlabelled_patch)
            streams.append(batches(unlabelled, n_unlabelled, steps, shard))
        return to_iterator(streams, _to_unit_range)

    def _pool(self) -> Sequence[int]:
        """The unlabelled volumes worth drawing: all of them where views are to be consistent, else the kept."""
        if self.unlabelled is None:
            return ()
        if self.views or self.pseudo is None:
            return range(len(self.unlabelled))
        return [int(i) for i in np.flatnonzero(self.pseudo.kept)]

    def _endless(
        self, volumes: Sequence[int], seed: int, draw: Callable[[int, np.random.Generator], Item]
    ) -> grain.MapDataset:
        indices = list(volumes)
        numbers = grain.MapDataset.range(len(indices) * self.patches_per_volume).seed(seed)
        drawn = numbers.shuffle().repeat(None, reseed_each_epoch=True)
        return drawn.random_map(lambda number, rng: draw(indices[int(number) % len(indices)], rng))

    def _labelled_patch(self, index: int, rng: np.random.Generator) -> Item:
        volume = self.labelled[index]
        start = self._start(volume, rng)
        item: Item = {key: crop(getattr(volume, key), start, self.patch) for key in ("image", "labels")}
        item["weights"] = _inside(volume.labels.shape, start, self.patch) * np.uint8(volume.labelled)
        item, flipped = self._maybe_flipped(item, rng)
        source = {"volume": np.array(index, np.int32), "start": np.array(start), "flipped": np.array(flipped)}
        return item | source | {"spacing_mm": volume.spacing_mm}

    def _unlabelled_patch(self, index: int, rng: np.random.Generator) -> Item:
        """Its places are anywhere in the volume: where the foreground is, is not known."""
        assert self.unlabelled is not None  # `_pool` is empty without
        volume = self.unlabelled[index]
        start = self._anywhere(volume.labels.shape, rng)
        item = {"image": crop(volume.image, start, self.patch)}
        if self.pseudo is None:
            item["weights"] = _inside(volume.labels.shape, start, self.patch)
        else:
            item["labels"] = crop(self.pseudo.labels[index], start, self.patch)
            item["weights"] = crop(self.pseudo.weights[index], start, self.patch)
        item, _ = self._maybe_flipped(item, rng)
        views = [perturb_volume(unit_range(item["image"]), rng) for _ in range(self.views)]
        return item | {f"strong{i}": view for i, view in enumerate(views)}

    def _maybe_flipped(self, item: Item, rng: np.random.Generator) -> tuple[Item, bool]:
        flipped = self.flip and rng.random() < 0.5
        return ({key: np.flip(array, SIDES) for key, array in item.items()} if flipped else item), flipped

    def _start(self, volume: Volume, rng: np.random.Generator) -> Shape:
        """A volume that is shorter than the patch lies in its middle, unless the patch has its own centre."""
        if volume.foreground.size and rng.random() < self.foreground:
            place = volume.foreground[rng.integers(volume.foreground.size)]
            start = np.subtract(np.unravel_index(place, volume.labels.shape), np.floor_divide(self.patch, 2))
            depth, height, width = start.tolist()
            return depth, height, width
        return self._anywhere(volume.labels.shape, rng)

    def _anywhere(self, shape: Sequence[int], rng: np.random.Generator) -> Shape:
        room = np.subtract(shape, self.patch)
        depth, height, width = np.where(room > 0, rng.integers(0, np.maximum(room, 0) + 1), room // 2).tolist()
        return depth, height, width


def _inside(shape: Sequence[int], start: Shape, patch: Shape) -> UInt8[np.ndarray, "d h w"]:
    """1 on the volume, 0 where a patch leaves it."""
    places = (s + np.arange(p) for s, p in zip(start, patch, strict=True))
    d, h, w = ((i >= 0) & (i < n) for i, n in zip(places, shape, strict=True))
    return (d[:, None, None] & h[:, None] & w).astype(np.uint8)


def _to_unit_range(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.float32 else unit_range(image)
