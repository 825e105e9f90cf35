"""Test-time augmentation: an image is predicted under several transforms, and the probabilities are averaged.

They are averaged at the network's size, where every transform is inverted. Resizing from there to native pixels is
linear, so the mean of native maps would be the same numbers for one resizing more a transform; and the label map is
taken from the average, never from votes, so that the output stays a probability.
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
class TTATransform:
    """Mirrors a batch along one of its axes, and resizes it. The default is the identity."""

    mirrored: int | None = None  # axis of [b h w c] or [b d h w c]
    scale: float = 1.0  # of images only

    def apply(self, images: Float[np.ndarray, "b *space c"]) -> Float[np.ndarray, "b *space2 c"]:
        """The network's input under the transform."""
        size = tuple(max(1, round(n * self.scale)) for n in images.shape[1:-1])
        return _resized(self._flipped(images), size)

    def invert(
        self, probs: Float[np.ndarray, "b *space2 c"], space: tuple[int, ...]
    ) -> Float[np.ndarray, "b *space c"]:
        """The network's output at the size `space`, mirrored back."""
        return self._flipped(_resized(probs, space))

    def _flipped(self, batch: np.ndarray) -> np.ndarray:
        return batch if self.mirrored is None else np.ascontiguousarray(np.flip(batch, self.mirrored))


def _resized(batch: np.ndarray, space: tuple[int, ...]) -> np.ndarray:
    if batch.shape[1:-1] == space:
        return batch
    rows, columns = space  # only images are resized
    return np.stack([resize(np.asarray(item, np.float32), (rows, columns)) for item in batch])


IDENTITY = TTATransform()
# By dimensions. In a volume, whose first axis runs from right to left, only these two are exchanged: no head is upside
# down or back to front, and its patches are cubes of voxels, whose size says what they show.
TTA_TRANSFORMS: dict[int, dict[str, tuple[TTATransform, ...]]] = {
    2: {
        "none": (IDENTITY,),
        "horizontal": (IDENTITY, TTATransform(2)),
        "flips": (IDENTITY, TTATransform(2), TTATransform(1)),
        "scales": tuple(TTATransform(scale=scale) for scale in SCALES),
        "flips+scales": tuple(TTATransform(axis, scale) for scale in SCALES for axis in (None, 2, 1)),
    },
    3: {"none": (IDENTITY,), "flips": (IDENTITY, TTATransform(1))},
}
NAMES = tuple(TTA_TRANSFORMS[2])


def tta_transforms(name: str, dims: int = 2) -> tuple[TTATransform, ...]:
    """The transforms of a test-time augmentation by its name, the identity first.

    Raises UserError if there is no such name, or it is for images and `dims` says volumes.
    """
    if name not in NAMES:
        raise UserError(f"tta {name!r} is unknown: choose one of {', '.join(NAMES)}, or auto")
    if name not in TTA_TRANSFORMS[dims]:
        allowed = ", ".join(TTA_TRANSFORMS[dims])
        raise UserError(f"tta {name!r} is for images, this model takes volumes: choose one of {allowed}, or auto")
    return TTA_TRANSFORMS[dims][name]


def predict_transformed(
    predict: Predict,
    variables: Variables,
    images: Float[np.ndarray, "b *space c"],
    transforms: Sequence[TTATransform],
) -> Iterator[Float[np.ndarray, "b *space classes"]]:
    """The probabilities under each transform, inverted. `predict` compiles once for each scale."""
    for transform in transforms:
        probs = np.asarray(predict(variables, transform.apply(images)))
        yield transform.invert(probs, images.shape[1:-1])


def averaged(predict: Predict, transforms: Sequence[TTATransform]) -> Predict:
    """A predictor whose probabilities are the mean over the transforms; `predict` itself for the identity alone."""
    if tuple(transforms) == (IDENTITY,):
        return predict

    def mean(variables: Variables, images: Array) -> np.ndarray:
        outputs = predict_transformed(predict, variables, np.asarray(images), transforms)
        total = next(outputs).copy()
        for probs in outputs:
            total += probs
        return total / np.float32(len(transforms))

    return mean
