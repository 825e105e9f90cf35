"""The training stream: grain datasets of labelled and unlabelled images, zipped into batches at a fixed ratio.

Everything random is drawn from a generator made of the seed and the position in the stream, so the order and the
content never depend on threads, and the whole state of the stream is one number, kept in the checkpoint.
"""

import dataclasses
import functools
from collections.abc import Sequence

import grain
import numpy as np
from grain.experimental import ZipMapDataset

from fetal_jax.types import Batch
from input_pipeline import augment
from input_pipeline.dataset import NetImages
from input_pipeline.transforms import to_range

SEEDS = {"labelled": 0, "unlabelled": 1}


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """A teacher's labels of the unlabelled pool, at network size, in the order of the pool."""

    labels: np.ndarray  # uint8 [n s s]
    weights: np.ndarray  # float32 [n s s]; all 0 where the image was dropped
    kept: np.ndarray  # bool [n]


@dataclasses.dataclass(frozen=True)
class Stream:
    """What one stage draws from.

    Attributes:
      labelled: images with their reference.
      unlabelled: the pool, or None for a stage that does not use it.
      pseudo: the pool's labels; None: none, every weight is 0.
      batch_size: images a step, over all processes.
      n_unlabelled: how many of them come from the pool.
      augment: a name of input_pipeline.augment.AUGMENTATIONS.
      strong: whether to add a perturbed second view of the unlabelled images.
      seed: of the order and of every augmentation.
      draws: the labelled images of a pass, by index, some of them several times; None: each once. An epoch stays as
        long as it is.
      intensity: a name of input_pipeline.transforms.INTENSITIES.
    """

    labelled: NetImages
    unlabelled: NetImages | None
    pseudo: PseudoLabels | None
    batch_size: int
    n_unlabelled: int
    augment: str
    strong: bool
    seed: int
    draws: tuple[int, ...] | None = None
    intensity: str = "unit"

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which as many images are drawn as labelled set and used pool hold together; at least 1."""
        images = len(self.labelled) + len(self._pool())
        return max(1, images // self.batch_size)

    def iterator(self, steps: int, shard: tuple[int, int] = (0, 1)) -> grain.DatasetIterator:
        """`steps` batches of NumPy arrays; `shard` is (index, count) of the process that reads them."""
        count = self.batch_size - self._drawn_from_pool()
        labelled = _shuffled(self._labelled_draws(), self.seed, "labelled").random_map(self._labelled_item)
        streams = [_batches(labelled, count, steps, shard)]
        if self._drawn_from_pool():
            pool = _shuffled(self._pool(), self.seed, "unlabelled").random_map(self._unlabelled_item)
            streams.append(_batches(pool, self.n_unlabelled, steps, shard))
        batches = ZipMapDataset(streams).map(
            functools.partial(_join, first=shard[0] * self.batch_size // shard[1], intensity=self.intensity)
        )
        # Threads, not processes: with worker processes a restored state silently depends on their number.
        return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))

    def _labelled_draws(self) -> Sequence[int]:
        return range(len(self.labelled)) if self.draws is None else self.draws

    def _drawn_from_pool(self) -> int:
        return self.n_unlabelled if len(self._pool()) else 0

    def _pool(self) -> Sequence[int]:
        """The pool images worth drawing: all of them where a second view asks for consistency, else the kept."""
        if self.unlabelled is None:
            return ()
        if self.strong or self.pseudo is None:
            return range(len(self.unlabelled))
        return [int(i) for i in np.flatnonzero(self.pseudo.kept)]

    def _labelled_item(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self._augmented(self.labelled[index], rng)

    def _unlabelled_item(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        item = self.unlabelled[index]
        shape = item["image"].shape[:2]
        if self.pseudo is None:
            hidden = {"labels": np.zeros(shape, np.uint8), "weights": np.zeros(shape, np.float32)}
        else:
            hidden = {"labels": self.pseudo.labels[index], "weights": self.pseudo.weights[index]}
        item = self._augmented(item | hidden, rng)
        if not self.strong:
            return item
        return item | {"strong": augment.perturb(_in_unit_range(item["image"]), rng)}

    def _augmented(self, item: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        original = augment.Sample(item["image"], item["labels"], item["weights"], item["spacing_mm"])
        moved = augment.sample(self.augment, rng, original)
        return {"image": moved.image, "labels": moved.labels, "weights": moved.weights}


def _shuffled(indices: Sequence[int], seed: int, stream: str) -> grain.MapDataset:
    """An endless stream of indices, each once an epoch, in another order every epoch."""
    indices, seed = list(indices), 2 * seed + SEEDS[stream]

    def drawn(position: int, _: int) -> int:
        epoch, place = divmod(position, len(indices))
        return indices[_order(len(indices), seed, epoch)[place]]

    return grain.MapDataset.source(indices).seed(seed).repeat(None).map_with_index(drawn)


# grain's own shuffle computes the order index by index: 0.2 ms for each of 100 images, as long as augmenting it.
@functools.lru_cache(maxsize=16)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0..n-1. Threads may be in several epochs at once."""
    return np.random.default_rng((seed, epoch)).permutation(n)


def _batches(items: grain.MapDataset, size: int, steps: int, shard: tuple[int, int]) -> grain.MapDataset:
    """`steps` batches of the `size` images a step, of which this process reads its share."""
    index, count = shard
    return items[: size * steps][index::count].batch(size // count)


def _join(streams: tuple[dict[str, np.ndarray], ...], *, first: int, intensity: str) -> Batch:
    """One process's share of a batch; `first` is the place of its first image in the whole batch."""
    # Items are collected as bytes and widened once, as a whole batch: writing memory is most of the work.
    labelled, *unlabelled = streams
    both = [labelled, *unlabelled]
    image, labels, weights = (_concatenate([s[key] for s in both]) for key in ("image", "labels", "weights"))
    image = _in_unit_range(image)
    strong = unlabelled[0].get("strong", image[:0]) if unlabelled else image[:0]
    shown = np.arange(len(image) - len(strong), len(image), dtype=np.int32)
    image, strong = to_range(image, intensity), to_range(strong, intensity)
    return Batch(image, labels.astype(np.int32), weights, strong, first + shown)


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _in_unit_range(image: np.ndarray) -> np.ndarray:
    return np.divide(image, np.float32(255), dtype=np.float32)
