"""Class imbalance: oversampling of images with rare structures, and class weights by inverse frequency."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from fetal_jax.core.types import UserError


def oversampled(shows: Sequence[frozenset[str]], structures: tuple[str, ...], factor: int) -> list[int]:
    """Indices of the images, in order; those that show any of the structures come `factor` times.

    `shows` has the structures of each labelled image. The trans-thalamic thesis (section 3.3) draws image i with
    probability w_i / sum w, w_i = 3 where it shows CSP or LV and 1 elsewhere (PyTorch's WeightedRandomSampler); so does
    a uniform draw from this list. Shuffled and drawn without replacement, an image comes exactly w_i times in each
    pass: the same mean, with less noise.

    Raises UserError if the factor is below 1, or no image shows a structure that is named.
    """
    if factor < 1:
        raise UserError(f"sampling.factor is {factor}: it must be at least 1, which draws all images equally often")
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
    """Class weights by inverse frequency: w_c = k / (f_c + smoothing), f_c the class's share of the pixels.

    `pixels` counts those of each class in the labelled training images, background first. k makes the mean 1 over the
    classes that occur. A class that never occurs gets 0, which leaves it out of the loss: its inverse would be
    infinite or, smoothed, take all weight from the others. Smoothing makes the weights more alike; the trans-thalamic
    thesis (Eq. 3.2) uses 0, which gives every class the same sum of weights.

    Raises UserError if the smoothing is negative or not finite, or no pixel is counted.
    """
    if not 0 <= smoothing < math.inf:
        raise UserError(f"class_weights.smoothing is {smoothing}: it must be a finite number of at least 0")
    if pixels.min() < 0 or not pixels.any():
        raise UserError(
            f"class_weights cannot be computed from the pixels {pixels.tolist()}: count those of labelled images"
        )
    occurs = pixels > 0
    inverse = np.zeros(len(pixels))
    inverse[occurs] = 1 / (pixels[occurs] / pixels.sum() + smoothing)
    return inverse / inverse[occurs].mean()
