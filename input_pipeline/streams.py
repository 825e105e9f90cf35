"""The training stream: grain datasets of labelled and unlabelled images, zipped into batches at a fixed ratio.

Everything random is drawn from a generator made of the seed and the position in the stream, so the order and the
content never depend on threads, and the whole state of the stream is one number, kept in the checkpoint.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import grain
import numpy as np
from grain.experimental import ZipMapDataset

from fetal_jax.core import types
from fetal_jax.core.types import Batch, Views
from input_pipeline import augment
from input_pipeline.augment.compose import Sample
from input_pipeline.dataset import NetImages
from input_pipeline.letterbox import to_range

SEEDS = {"labelled": 0, "unlabelled": 1}


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Labels of the unlabelled items, in their order: of images at network size, of volumes in their own voxels."""

    labels: Sequence[np.ndarray]  # uint8 [*space], class ids
    weights: Sequence[np.ndarray]  # float32 [*space]; all 0 where the item was dropped
    kept: np.ndarray  # bool [n]


@dataclasses.dataclass(frozen=True)
class Stream:
    """What one stage draws from.

    Attributes:
      labelled: images with their reference.
      unlabelled: images without, or None for a stage that does not use any.
      pseudo: labels of the unlabelled images; None: they have none.
      batch_size: images a step, over all processes.
      n_unlabelled: how many of them are unlabelled.
      augment: an augmentation of input_pipeline.augment.
      views: how many perturbed views each unlabelled image has.
      seed: of the order and of every augmentation.
      strong: the augmentation that makes the strong views: see augment.strong_view.
      draws: the labelled images of a pass, by index, some of them several times; None: each once. An epoch stays as
        long as it is.
      intensity: a name of input_pipeline.letterbox.INTENSITIES.
    """

    labelled: NetImages
    unlabelled: NetImages | None
    pseudo: PseudoLabels | None
    batch_size: int
    n_unlabelled: int
    augment: str
    views: int
    seed: int
    strong: str = "perturb"
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
        streams = [batches(labelled, count, steps, shard)]
        if self._drawn_from_pool():
            pool = _shuffled(self._pool(), self.seed, "unlabelled").random_map(self._unlabelled_item)
            streams.append(batches(pool, self.n_unlabelled, steps, shard))
        return to_iterator(streams, functools.partial(_to_range, intensity=self.intensity))

    def _labelled_draws(self) -> Sequence[int]:
        return range(len(self.labelled)) if self.draws is None else self.draws

    def _drawn_from_pool(self) -> int:
        return self.n_unlabelled if len(self._pool()) else 0

    def _pool(self) -> Sequence[int]:
        """The unlabelled images worth drawing: all of them where views are to be consistent, else the kept."""
        if self.unlabelled is None:
            return ()
        if self.views or self.pseudo is None:
            return range(len(self.unlabelled))
        return [int(i) for i in np.flatnonzero(self.pseudo.kept)]

    def _labelled_item(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self._augmented(self.labelled[index], rng)

    def _unlabelled_item(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        assert self.unlabelled is not None  # `_pool` is empty without
        item = self.unlabelled[index]
        if self.pseudo is None:
            item |= {"labels": np.zeros(item["image"].shape[:2], np.uint8)}
        else:
            item |= {"labels": self.pseudo.labels[index], "weights": self.pseudo.weights[index]}
        weak = self._augmented(item, rng)
        if self.pseudo is None:
            del weak["labels"]
        image = _in_unit_range(weak["image"])
        return weak | {f"strong{i}": augment.strong_view(self.strong, rng, image) for i in range(self.views)}

    def _augmented(self, item: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        original = Sample(item["image"], item["labels"], item["weights"], item["spacing_mm"])
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


def batches(items: grain.MapDataset, size: int, steps: int, shard: tuple[int, int]) -> grain.MapDataset:
    """`steps` batches of the `size` items a step, of which this process reads its share.

    A share is a contiguous part of the batch, so that the shares in the order of the processes are the batch of one
    process: what depends on the place in a batch, as dropout does, does not depend on their number.
    """
    index, count = shard
    mine = size // count

    def place(i: int) -> int:
        step, place_in_share = divmod(int(i), mine)
        return step * size + index * mine + place_in_share

    if count == 1:
        return items[: size * steps].batch(size)
    return grain.MapDataset.range(mine * steps).map(lambda i: items[place(i)]).batch(mine)


def to_iterator(
    streams: Sequence[grain.MapDataset], finish: Callable[[np.ndarray], np.ndarray]
) -> grain.DatasetIterator:
    """An iterator over the batches of a labelled stream and maybe an unlabelled one, read side by side.

    `finish` makes float32 images of those of an item, as a whole batch: writing memory is most of the work.
    """
    joined = ZipMapDataset(list(streams)).map(functools.partial(_join, finish=finish))
    # Threads, not processes: with worker processes a restored state silently depends on their number.
    return iter(joined.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))


def _join(parts: tuple[dict[str, np.ndarray], ...], *, finish: Callable[[np.ndarray], np.ndarray]) -> Batch:
    """One process's share of a batch."""
    labelled, *rest = parts
    sample = types.Sample(
        finish(labelled["image"]), labelled["labels"].astype(np.int32), _as_weights(labelled["weights"])
    )
    return Batch(sample, _views(rest[0], finish) if rest else None)


def _views(items: dict[str, np.ndarray], finish: Callable[[np.ndarray], np.ndarray]) -> Views:
    strong = tuple(finish(items[f"strong{i}"]) for i in range(sum(key.startswith("strong") for key in items)))
    labels = items["labels"].astype(np.int32) if "labels" in items else None
    return Views(finish(items["image"]), strong, labels, _as_weights(items["weights"]))


def _as_weights(weights: np.ndarray) -> np.ndarray:
    return weights.astype(np.float32, copy=False)


def _to_range(image: np.ndarray, *, intensity: str) -> np.ndarray:
    return to_range(image if image.dtype == np.float32 else _in_unit_range(image), intensity)


def _in_unit_range(image: np.ndarray) -> np.ndarray:
    return np.divide(image, np.float32(255), dtype=np.float32)
