"""Rare structures: how often an image that shows one is drawn, and how much its pixels count."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from fetal_jax.core.types import UserError


def oversampled(shows: Sequence[frozenset[str]], structures: tuple[str, ...], factor: int) -> list[int]:
    """Indices of the images, in order, with those that show any of the structures `factor` times.

    `shows` has the structures of each labelled image. The trans-thalamic thesis (section 3.3) draws image i with
    probability w_i / sum w, w_i = 3 where it shows CSP or LV and 1 elsewhere (PyTorch's WeightedRandomSampler); so does
    a uniform draw from this list. Shuffled and dealt out, the list does it without replacement: in each pass an image
    comes exactly w_i times, in the same mean and with less noise.

    Raises UserError if the factor is below 1, or no image shows a structure that is named.
    """
    if factor < 1:
        raise UserError(f"sampling.factor is {factor}: it must be at least 1, which draws all images alike")
    known = frozenset().union(*shows)
    for structure in structures:
        if structure not in known:
            among = ", ".join(sorted(known)) or "nothing"
            raise UserError(
                f"sampling.structures names {structure!r}, which no labelled image shows: choose from {among}"
            )
    rare = frozenset(structures)
    return [index for index, shown in enumerate(shows) for _ in range(factor if shown & rare else 1)]


def class_weights(pixels: Int[np.ndarray, " classes"], smoothing: float) -> Float[np.ndarray, " classes"]:
    """Weights of classes by the inverse of their frequency: w_c = k / (f_c + smoothing), f_c the share of the pixels.

    `pixels` counts those of each class in the labelled training images, background first. k makes the mean 1 over the
    classes that occur. A class that never occurs has no pixel to weigh, and its inverse would be infinite or, smoothed,
    take all weight from the others: it gets 0, which leaves it out of the loss. Smoothing draws the weights together;
    the trans-thalamic thesis (Eq. 3.2) uses 0, which gives every class the same sum of weights.

    Raises UserError if the smoothing is negative or not finite, or no pixel is counted.
    """
    if not 0 <= smoothing < math.inf:
        raise UserError(f"class_weights.smoothing is {smoothing}: it must be a finite number of at least 0")
    if pixels.min() < 0 or not pixels.any():
        raise UserError(
            f"class_weights cannot be told from the pixels {pixels.tolist()}: count those of labelled images"
        )
    occurs = pixels > 0
    inverse = np.zeros(len(pixels))
    inverse[occurs] = 1 / (pixels[occurs] / pixels.sum() + smoothing)
    return inverse / inverse[occurs].mean()
