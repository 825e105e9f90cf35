"""Test-time augmentation: the network looks at an image in several ways, and its probabilities are averaged.

They are averaged in the network's square, where every look ends. The way from there to native pixels is linear, so the
mean of native maps would be the same numbers for one resizing a look more; and the label map is drawn from the average,
never from votes, so that the answer stays a probability.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float

from fetal_jax.core.types import Array, UserError, Variables
from input_pipeline.letterbox import resize

Predict = Callable[[Variables, Array], jax.Array | np.ndarray]

SCALES = (1.0, 0.8, 1.25)  # of the network's input; what it was trained on is first


@dataclasses.dataclass(frozen=True)
class Look:
    """One way to look at a batch: mirrored along an axis of it, and at another size."""

    mirrored: int | None = None  # of [b h w c] or [b d h w c]
    scale: float = 1.0  # of images only

    def of(self, images: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space2 c"]:
        """What the network is given."""
        size = tuple(max(1, round(n * self.scale)) for n in images.shape[1:-1])
        return _resized(self._turned(images), size)

    def back(self, probs: Float[np.ndarray, "b *space2 c"], space: tuple[int, ...]) -> Float[np.ndarray, "b *space c"]:
        """Its answer, at the size `space` and the right way round."""
        return self._turned(_resized(probs, space))

    def _turned(self, batch: np.ndarray) -> np.ndarray:
        return batch if self.mirrored is None else np.ascontiguousarray(np.flip(batch, self.mirrored))


def _resized(batch: np.ndarray, space: tuple[int, ...]) -> np.ndarray:
    if batch.shape[1:-1] == space:
        return batch
    return np.stack([resize(np.asarray(item, np.float32), space) for item in batch])


PLAIN = Look()
# By dimensions. In a volume, whose first axis runs from right to left, only these two are exchanged: no head is upside
# down or back to front, and its patches are cubes of voxels, whose size says what they show.
LOOKS: dict[int, dict[str, tuple[Look, ...]]] = {
    2: {
        "none": (PLAIN,),
        "horizontal": (PLAIN, Look(2)),
        "flips": (PLAIN, Look(2), Look(1)),
        "scales": tuple(Look(scale=scale) for scale in SCALES),
        "flips+scales": tuple(Look(axis, scale) for scale in SCALES for axis in (None, 2, 1)),
    },
    3: {"none": (PLAIN,), "flips": (PLAIN, Look(1))},
}
NAMES = tuple(LOOKS[2])


def looks(name: str, dims: int = 2) -> tuple[Look, ...]:
    """The looks that a name stands for, the plain one first.

    Raises UserError if there is no such name, or it is for images and `dims` says volumes.
    """
    if name not in NAMES:
        raise UserError(f"tta {name!r} is unknown: choose one of {', '.join(NAMES)}, or auto")
    if name not in LOOKS[dims]:
        raise UserError(
            f"tta {name!r} is for images, this model takes volumes: choose one of {', '.join(LOOKS[dims])}, or auto"
        )
    return LOOKS[dims][name]


def each_look(
    predict: Predict, variables: Variables, images: Float[np.ndarray, "b *space c"], views: Sequence[Look]
) -> Iterator[Float[np.ndarray, "b *space classes"]]:
    """The probabilities of each look, where the plain one has them. `predict` compiles once for each scale."""
    for look in views:
        yield look.back(np.asarray(predict(variables, look.of(images))), images.shape[1:-1])


def averaged(predict: Predict, views: Sequence[Look]) -> Predict:
    """A predictor whose probabilities are the mean over the looks; `predict` itself for the plain one alone."""
    if tuple(views) == (PLAIN,):
        return predict

    def mean(variables: Variables, images: Array) -> np.ndarray:
        answers = each_look(predict, variables, np.asarray(images), views)
        total = next(answers).copy()
        for probs in answers:
            total += probs
        return total / np.float32(len(views))

    return mean
