"""Augmentation: transforms of image, labels, weights and spacing together, by published name or as a list of ops.

`compose.py`     the sample; Chain, Chance, OneOf
`geometry.py`    flips, zoom, shift-scale-rotate
`intensity.py`   blur, brightness, contrast, gamma, CLAHE; the strong view of a consistency term
`masks.py`       morphology of the labels
`fan.py`         the fan of the probe in an ultrasound image
`ultrasound.py`  speckle, shadow, gain curve, depth attenuation, rotation about the probe
`published.py`   the tables of the named augmentations
`ops.py`         lists of ops with parameters, as text; sampling
`of_volumes.py`  the augmentations of volumes
"""

from input_pipeline.augment import of_volumes
from input_pipeline.augment.compose import Chain, Chance, OneOf, Sample, Transform
from input_pipeline.augment.intensity import median_blur, perturb
from input_pipeline.augment.masks import mask_noise
from input_pipeline.augment.ops import blurs, check, check_strong, format_ops, parse, sample, strong_view
from input_pipeline.augment.published import AUGMENTATIONS

__all__ = [
    "AUGMENTATIONS",
    "Chain",
    "Chance",
    "OneOf",
    "Sample",
    "Transform",
    "blurs",
    "check",
    "check_strong",
    "format_ops",
    "mask_noise",
    "median_blur",
    "of_volumes",
    "parse",
    "perturb",
    "sample",
    "strong_view",
]
