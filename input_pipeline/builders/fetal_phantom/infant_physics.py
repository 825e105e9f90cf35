"""Simulates T1w and T2w imaging of an infant's cerebellum: tissue signals by age, bias, blur and noise.

The signal s of a voxel is the mean over the tissues in it; the image is

    |(PSF * (bias · s)) + n₁ + i n₂|,    n₁, n₂ normal of SD NOISE

which is Rician (Gudbjartsson and Patz, Magn. Reson. Med. 1995;34:910-914). All signals are made up, to follow what is
described: at 24 months T1w white > grey > CSF, and T2w CSF > grey > white; towards 6 months white and grey become
nearly equal in both, and their order in T2w turns round.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from input_pipeline.builders.fetal_phantom.infant_anatomy import BRAINSTEM, CSF, GM, MENINGES, TISSUES, WM

MODALITIES = ("T1w", "T2w")
NOISE = 3.0  # SD of each of the two noises, on the scale of the signals below
BIAS = 0.08  # SD of the logarithm of the bias field
MATURITY_MONTHS = 0.8  # SD of how far a subject's myelination is ahead of its age
FULL_SCALE = 50000  # of uint16: the 99.5th percentile of a volume

CSF_SIGNAL = (22.0, 115.0)  # T1w, T2w
MENINGES_SIGNAL = (30.0, 30.0)
BRAIN_SIGNAL = (68.0, 62.0)  # half-way between grey and white matter
CONTRAST = (34.0, -30.0)  # white less grey matter, where both are mature
EQUAL_MONTHS = (5.0, 8.0)  # the age without contrast
PACE_MONTHS = 12.0


def contrast(maturity_months: float) -> tuple[float, float]:
    """White less grey matter in T1w and T2w: C · tanh((t - t₀) / 12 months)."""
    t1, t2 = (
        size * float(np.tanh((maturity_months - equal) / PACE_MONTHS))
        for size, equal in zip(CONTRAST, EQUAL_MONTHS, strict=True)
    )
    return t1, t2


def signals(maturity_months: float) -> Float[np.ndarray, "tissues 2"]:
    """Signal of each tissue in T1w and T2w; air has none."""
    half = np.array(contrast(maturity_months)) / 2
    table = np.zeros((TISSUES, len(MODALITIES)))
    table[CSF], table[MENINGES] = CSF_SIGNAL, MENINGES_SIGNAL
    table[GM], table[WM] = BRAIN_SIGNAL - half, BRAIN_SIGNAL + half
    table[BRAINSTEM] = BRAIN_SIGNAL + 0.7 * half
    return table


def smooth_field(shape: tuple[int, int, int], rng: np.random.Generator) -> Float32[np.ndarray, "d h w"]:
    """A random field of mean 0 and SD near 1: cosines of up to one whole wave along each axis."""
    weights = rng.standard_normal((3, 3, 3))
    weights[0, 0, 0] = 0
    weights /= np.sqrt(7)  # a cosine's mean square is 1/2 along each axis that it varies on: (1 + 1/2 + 1/2)³ - 1
    waves = [np.cos(np.pi * np.arange(3)[:, None] * (np.arange(n) + 0.5) / n) for n in shape]
    return np.einsum("klm,kd,lh,mw->dhw", weights, *waves, optimize=True).astype(np.float32)


def _one_modality(clean: Float32[np.ndarray, "d h w"], rng: np.random.Generator) -> Float32[np.ndarray, "d h w"]:
    bias = np.exp(BIAS * smooth_field(clean.shape, rng))
    blur = np.full(3, 0.35)  # voxels: the scanner's point spread
    blur[rng.integers(3)] += rng.uniform(0, 0.35)  # the infant moved a little, along one axis
    seen = ndimage.gaussian_filter(clean * bias, blur, mode="nearest")
    noise = NOISE * rng.standard_normal((2, *clean.shape), np.float32)
    return np.hypot(seen + noise[0], noise[1]).astype(np.float32)


def acquire(
    clean: Float32[np.ndarray, "d h w 2"], kept: Bool[np.ndarray, "d h w"], rng: np.random.Generator
) -> Float32[np.ndarray, "d h w 2"]:
    """Both modalities of noiseless signals, each with its own bias, blur and noise; 0 where the head was cut away."""
    return np.stack([_one_modality(clean[..., i], rng) * kept for i in range(len(MODALITIES))], axis=-1)


def to_uint16(image: Float32[np.ndarray, "d h w 2"]) -> np.ndarray:
    """uint16 intensities, each modality scaled so that the 99.5th percentile of what is not 0 is `FULL_SCALE`."""
    inside = image[image.any(-1)]
    scaled = image * (FULL_SCALE / np.percentile(inside, 99.5, axis=0))
    return np.round(np.clip(scaled, 0, 65535)).astype(np.uint16)
