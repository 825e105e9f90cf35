"""A saliency map upon its image."""

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax.core.types import Array

COLOURS = "inferno"  # perceptually uniform: equal steps of saliency look like equal steps
OPACITY = 0.75  # at the maximum


def heat(
    image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"], saliency: Float[Array, "rows columns"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The image, grey or RGB, with its map in colours, as RGB.

    Positive saliency is shown as a share of its maximum: the more, the brighter and the less transparent. Where there
    is none the image is as it was. Raises ValueError where the sizes differ.
    """
    saliency = np.asarray(saliency)
    if image.shape[:2] != saliency.shape:
        raise ValueError(f"the image is {image.shape[:2]}, but its saliency {saliency.shape}: give both in one size")
    positive = np.maximum(saliency, 0)
    share = positive / (positive.max() or 1)
    colours = 255 * matplotlib.colormaps[COLOURS](share)[..., :3]
    opacity = OPACITY * np.sqrt(share)[..., None]
    grey = image if image.ndim == 3 else image[..., None]
    return np.round((1 - opacity) * grey + opacity * colours).astype(np.uint8)
