"""Augmentation: transforms that move image, labels, weights and spacing together, and the published tables of them.

`compose.py`     the sample; Chain, Chance, OneOf
`geometry.py`    flips, zoom, shift-scale-rotate
`intensity.py`   blur, brightness, contrast, gamma, CLAHE; the strong view of a consistency term
`masks.py`       morphology of the labels
`fan.py`         where the probe is, told from the image
`ultrasound.py`  speckle, shadow, gain curve, depth attenuation, rotation about the probe
`published.py`   the augmentations by name
"""

from input_pipeline.augment.compose import Chain, Chance, OneOf, Sample, Transform
from input_pipeline.augment.intensity import median_blur, perturb
from input_pipeline.augment.masks import mask_noise
from input_pipeline.augment.published import AUGMENTATIONS, blurs, check, sample

__all__ = [
    "AUGMENTATIONS",
    "Chain",
    "Chance",
    "OneOf",
    "Sample",
    "Transform",
    "blurs",
    "check",
    "mask_noise",
    "median_blur",
    "perturb",
    "sample",
]
