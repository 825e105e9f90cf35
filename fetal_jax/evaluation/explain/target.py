"""What is explained: a class's logits, summed over a region of the image; and what an explanation is."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fetal_jax.core import logits as classes
from fetal_jax.core.types import Array, UserError, Variables

WHOLE = "no pixel is predicted as this class, so its logits over the whole image are explained"


@dataclasses.dataclass(frozen=True)
class Saliency:
    """How much each pixel speaks for a class."""

    raw: Float[np.ndarray, "h w"]  # in the method's own units: comparable between images of one network
    method: str
    class_id: int
    layer: str = ""  # of the network; none where the method looks at the whole of it
    note: str = ""  # what a reader must know of it

    @property
    def relative(self) -> Float[np.ndarray, "h w"]:
        """What speaks for the class, as a share of its maximum, in [0, 1]; 0 where nothing does."""
        positive = np.maximum(self.raw, 0)
        return positive / (positive.max() or 1)


def class_logits(logits: Float[Array, "*b c"], class_id: Array | int) -> Float[Array, "*b"]:
    """Logits of a class. A single logit is that of class 1, and class 0 has its negative."""
    if logits.shape[-1] == 1:
        return jnp.where(class_id == 1, 1, -1) * logits[..., 0]
    return jnp.take(logits, class_id, axis=-1)


def class_probs(logits: Float[Array, "*b c"], class_id: Array | int) -> Float[Array, "*b"]:
    """Probabilities of a class."""
    return jnp.take(classes.with_background(classes.probabilities(jnp.asarray(logits))), class_id, axis=-1)


@functools.partial(jax.jit, static_argnames="model")
def predicted_labels(model: nn.Module, variables: Variables, image: Float[Array, "h w c"]) -> Int[Array, "h w"]:
    """The class that the network gives each pixel."""
    logits = model.apply(variables.as_dict(), image[None], train=False)
    return classes.with_background(classes.probabilities(jnp.asarray(logits)))[0].argmax(-1)


def predicted_region(
    labels: Int[Array, "h w"], class_id: int, frame: Bool[np.ndarray, "h w"] | None = None
) -> tuple[Bool[np.ndarray, "h w"], str]:
    """The pixels of a class in the frame, by default all of the image; where there are none, the frame and a note."""
    found = np.asarray(labels) == class_id
    frame = np.ones_like(found) if frame is None else frame
    return (found & frame, "") if (found & frame).any() else (frame, WHOLE)


def region_of(
    model: nn.Module,
    variables: Variables,
    image: Float[Array, "h w c"],
    class_id: int,
    region: Bool[Array, "rows columns"] | None,
) -> tuple[Bool[Array, "rows columns"], str]:
    """The region given, checked, or the predicted one; and a note. Raises UserError for another size or no pixel."""
    if region is None:
        return predicted_region(predicted_labels(model, variables, image), class_id)
    if region.shape != image.shape[:2]:
        raise UserError(f"region {region.shape} has another size than the image, {image.shape[:2]}: give both in one")
    if not np.any(region):
        raise UserError("region has no pixel: leave it out to explain the pixels predicted as the class")
    return region, ""
