"""Explanation by occlusion: what the network no longer finds where a grey patch hides the image."""

import functools
import itertools
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fetal_jax.core.types import Array, UserError, Variables
from fetal_jax.evaluation.explain.target import Saliency, class_probs, region_of

PATCHES = 8  # along the longer side, by default
BATCH = 16

Patch = tuple[slice, slice]  # rows and columns


def occlusion(
    model: nn.Module,
    variables: Variables,
    image: Float[Array, "h w c"],
    class_id: int,
    region: Bool[Array, "rows columns"] | None = None,
    *,
    patch: int | None = None,
    stride: int | None = None,
    frame: Bool[np.ndarray, "h w"] | None = None,
) -> Saliency:
    """By how much the class's mean probability over the region drops when a patch hides a pixel; in [-1, 1].

    A square of `patch` pixels, by default an eighth of the longer side, filled with the image's mean, slides by
    `stride`, by default `patch`; the last position touches the border. A pixel has the mean drop of the patches that
    cover it, negative where hiding it helps. Region as in `grad_cam`. `frame` is where the image is, if all else is
    padding: only the frame makes the mean, and patches beside it are left out, which leaves 0 there.

    Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2. Raises
    UserError for a wrong region, patch or stride.
    """
    image = np.asarray(image)
    patch = max(1, max(image.shape[:2]) // PATCHES) if patch is None else patch
    stride = patch if stride is None else stride
    if not 1 <= stride <= patch or patch > min(image.shape[:2]):
        raise UserError(
            f"patch {patch} and stride {stride}: need 1 <= stride <= patch <= {min(image.shape[:2])} pixels"
        )
    region, note = region_of(model, variables, image, class_id, region)
    frame = np.ones(image.shape[:2], bool) if frame is None else frame
    patches = [p for p in _patches(image.shape[:2], patch, stride) if frame[p].any()]
    whole, *hidden = _scores(model, variables, _views(image, patches, image[frame].mean(0)), class_id, region)
    total, count = np.zeros((2, *image.shape[:2]), np.float32)
    for where, score in zip(patches, hidden, strict=True):
        total[where] += whole - score
        count[where] += 1
    return Saliency(total / np.maximum(count, 1), "occlusion", class_id, note=note)


def _patches(space: tuple[int, int], patch: int, stride: int) -> list[Patch]:
    starts = ([*range(0, length - patch, stride), length - patch] for length in space)
    return [(slice(top, top + patch), slice(left, left + patch)) for top, left in itertools.product(*starts)]


def _views(image: np.ndarray, patches: list[Patch], grey: np.ndarray) -> Iterator[np.ndarray]:
    """The image as it is, then with each patch hidden."""
    yield image
    for where in patches:
        view = image.copy()
        view[where] = grey
        yield view


def _scores(model: nn.Module, variables: Variables, views: Iterator[np.ndarray], class_id: int, region) -> list[float]:
    """The class's mean probability over the region of each view. Batches are filled up: one program serves them all."""
    scores: list[float] = []
    while batch := list(itertools.islice(views, BATCH)):
        full = np.stack(batch + [batch[-1]] * (BATCH - len(batch)))
        scores += np.asarray(_mean_probs(model, variables, full, class_id, region))[: len(batch)].tolist()
    return scores


@functools.partial(jax.jit, static_argnames="model")
def _mean_probs(model: nn.Module, variables: Variables, images: Array, class_id, region) -> Array:
    probs = class_probs(jnp.asarray(model.apply(variables.as_dict(), images, train=False)), class_id)
    return jnp.mean(probs, axis=(1, 2), where=region)
