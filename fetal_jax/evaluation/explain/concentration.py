"""How concentrated a saliency map is, on a structure and at all.

The Attention-ResUNet paper (Bhilwarawala & Bandyopadhyay, arXiv 2604.18148) reports a "spatial concentration index" of
its Grad-CAM maps and defines none. What is measured here is chosen.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float

from fetal_jax.core.types import Array


@dataclasses.dataclass(frozen=True)
class Concentration:
    """Of what speaks for the class (positive saliency). NaN where there is none; `lift` also for an empty mask."""

    inside: float  # share of the saliency that lies in the mask, in [0, 1]
    mask_share: float  # share of the image that the mask covers: `inside` of a map that knows nothing
    lift: float  # inside / mask_share: 1 knows nothing, above 1 points at the structure
    gini: float  # 0 where all pixels are equal, near 1 where one has it all
    focus: float  # 1 - entropy / log(pixels): 0 where all pixels are equal, 1 where one has it all


def concentration(saliency: Float[Array, "h w"], mask: Bool[Array, "rows columns"]) -> Concentration:
    """The concentration of a saliency map; negative values count as 0.

    `inside` is the energy-based pointing game of Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3, with a
    mask where they have a box. A large structure has a large share by chance, so `lift` is relative to its size. `gini`
    needs no mask (Hurley & Rickard, "Comparing measures of sparsity", 2009, Table I), nor does `focus`.

    Raises ValueError where the two have different sizes or a value is not finite.
    """
    saliency, mask = np.asarray(saliency, np.float64), np.asarray(mask)
    if saliency.shape != mask.shape or not np.isfinite(saliency).all():
        raise ValueError(f"saliency {saliency.shape} and mask {mask.shape} must be of one size, and saliency finite")
    positive = np.maximum(saliency, 0)
    mask_share = float(mask.mean())
    if not (total := positive.sum()):
        return Concentration(np.nan, mask_share, np.nan, np.nan, np.nan)
    shares = positive / total
    inside = float(shares[mask].sum())
    lift = inside / mask_share if mask_share else np.nan
    return Concentration(inside, mask_share, lift, _gini(shares.ravel()), _focus(shares.ravel()))


def _gini(shares: Float[np.ndarray, " n"]) -> float:
    n = shares.size
    return float(1 - 2 * np.sum(np.sort(shares) * (n - np.arange(n) - 0.5)) / n)


def _focus(shares: Float[np.ndarray, " n"]) -> float:
    if shares.size == 1:
        return 1.0
    some = shares[shares > 0]
    return float(1 + np.sum(some * np.log(some)) / np.log(shares.size))
