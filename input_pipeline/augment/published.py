"""Tables of the named augmentations: those of the papers, and plain ones to compare with.

`comprehensive`, `simplified`  SS_CASE_UNet, "Data augmentation": all 32 variants of stages 1 and 2, all 8 of stage 3,
                one drawn at a time. Kernels keep their published size at any image size.
`geometric`     the same geometries without blur and with exact masks, for small network inputs, where the published
                kernels would wipe out what is to be seen.
`thesis`        the Attention U-Net of the trans-thalamic plane, section 3.3: horizontal flips (p 0.5), "random shifts,
                scales and rotations (± 6.25)", brightness and contrast (p 0.3), CLAHE (p 0.2), by Albumentations. Left
                open: what 6.25 counts (here per cent of a side, per cent of the size, and degrees), the probability of
                the move, the size of the photometric changes and what fills the border. The first three are
                Albumentations' defaults: 0.5; ± 0.2; clip limit 1 to 4, 8 x 8 tiles. The border is black padding.
`hc18`          the Attention-ResUNet says "random geometric and photometric augmentation" and no more. What is usual
                on HC18, chosen here: flips along both axes, shifts to 10 %, scales to 15 %, rotations to 20 degrees,
                brightness, contrast and gamma to ± 20 %.
`ultrasound`    the effects of `ultrasound.py`, then `geometric`. Each effect is also an augmentation by its own name.
"""

import numpy as np

from input_pipeline.augment.compose import Chain, Chance, OneOf, Sample, Transform
from input_pipeline.augment.geometry import Flip, ShiftScaleRotate, Zoom
from input_pipeline.augment.intensity import BrightnessContrast, Clahe, GainOffset, Gamma, MedianBlur
from input_pipeline.augment.masks import MORPHOLOGY, Morph
from input_pipeline.augment.ultrasound import DepthAttenuation, FanRotation, GainCurve, Shadow, Speckle

GEOMETRIES = ((), (Zoom(1.2),), (Flip("horizontal"),), (Flip("vertical"),))
COMPREHENSIVE = tuple(
    Chain((MedianBlur(5), Morph(operation, kernel), *geometry))
    for operation in MORPHOLOGY
    for kernel in (3, 5)
    for geometry in GEOMETRIES
)
SIMPLIFIED = (
    Chain((MedianBlur(5),)),
    *(Chain((MedianBlur(5), Morph(operation, 3))) for operation in MORPHOLOGY),
    Chain((MedianBlur(5), Flip("horizontal"))),
    Chain((MedianBlur(5), Flip("vertical"))),
    Chain((MedianBlur(5), BrightnessContrast(0.2))),
)
GEOMETRIC = tuple(
    Chain((*intensity, *geometry)) for geometry in GEOMETRIES for intensity in ((), (BrightnessContrast(0.2),))
)
THESIS = Chain(
    (
        Chance(0.5, Flip("horizontal")),
        Chance(0.5, ShiftScaleRotate(shift=0.0625, scale=0.0625, degrees=6.25)),
        Chance(0.3, GainOffset(gain=0.2, offset=0.2)),
        Chance(0.2, Clahe(clip_limit=4.0, tiles=8)),
    )
)
HC18 = Chain(
    (
        Chance(0.5, Flip("horizontal")),
        Chance(0.5, Flip("vertical")),
        Chance(0.5, ShiftScaleRotate(shift=0.1, scale=0.15, degrees=20.0)),
        Chance(0.5, GainOffset(gain=0.2, offset=0.2)),
        Chance(0.3, Gamma(0.2)),
    )
)
# The probe's own effects come before flips, which turn the fan upside down.
ULTRASOUND = Chain(
    (
        Chance(0.5, FanRotation()),
        Chance(0.5, Speckle()),
        Chance(0.3, Shadow()),
        Chance(0.5, GainCurve()),
        Chance(0.3, DepthAttenuation()),
        OneOf(GEOMETRIC),
    )
)
AUGMENTATIONS: dict[str, Transform] = {
    "none": Chain(),
    "flips": OneOf((Chain(), Flip("horizontal"))),
    "geometric": OneOf(GEOMETRIC),
    "comprehensive": OneOf(COMPREHENSIVE),
    "simplified": OneOf(SIMPLIFIED),
    "thesis": THESIS,
    "hc18": HC18,
    "ultrasound": ULTRASOUND,
    "speckle": Speckle(),
    "shadow": Shadow(),
    "gain_curve": GainCurve(),
    "depth_attenuation": DepthAttenuation(),
    "fan_rotation": FanRotation(),
}


def comprehensive(original: Sample) -> list[Sample]:
    """All 32 variants of a sample: 8 morphologies of the mask x 4 geometries."""
    generator = np.random.default_rng(0)  # not drawn from
    return [variant(original, generator) for variant in COMPREHENSIVE]


def simplified(original: Sample, rng: np.random.Generator) -> list[Sample]:
    """All 8 variants of a sample; `rng` draws the brightness and contrast of the last."""
    return [variant(original, rng) for variant in SIMPLIFIED]
