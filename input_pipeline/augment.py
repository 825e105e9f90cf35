"""The augmentations of SS_CASE_UNet, as published, drawn one variant at a time while training.

Source: "Data augmentation" of the SS_CASE_UNet paper. An image has 32 `comprehensive` variants (stages 1 and
2) and 8 `simplified` ones (stage 3). One transform moves image, labels and weights together. Kernels keep
their published size at any image size. Morphology perturbs the *mask* and not the image, so it injects label
noise by design: `mask_noise` measures how much.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from fetal_jax.types import UserError

Sample = tuple[UInt8[np.ndarray, "h w c"], UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]

MORPHOLOGY = {
    "dilate": cv2.MORPH_DILATE,
    "erode": cv2.MORPH_ERODE,
    "open": cv2.MORPH_OPEN,
    "close": cv2.MORPH_CLOSE,
}
ZOOM = 1.2


@dataclasses.dataclass(frozen=True)
class Variant:
    """One augmented pair, in words. Steps run in the order of the fields."""

    blur: int = 5  # median kernel on the image; 0 is none
    morphology: str = "none"  # of the mask: none, dilate, erode, open, close
    kernel: int = 3  # side of the square structuring element
    geometry: str = "none"  # of all three: none, zoom, hflip, vflip
    intensity: float = 0.0  # brightness and contrast are each scaled by 1 - intensity to 1 + intensity


COMPREHENSIVE = tuple(
    Variant(morphology=morphology, kernel=kernel, geometry=geometry)
    for morphology in MORPHOLOGY
    for kernel in (3, 5)
    for geometry in ("none", "zoom", "hflip", "vflip")
)
SIMPLIFIED = (
    Variant(),
    *(Variant(morphology=morphology, kernel=3) for morphology in MORPHOLOGY),
    Variant(geometry="hflip"),
    Variant(geometry="vflip"),
    Variant(intensity=0.2),
)
# For small network inputs, where the published kernels would wipe out what is to be seen: no blur, exact masks.
GEOMETRIC = tuple(
    Variant(blur=0, geometry=geometry, intensity=intensity)
    for geometry in ("none", "zoom", "hflip", "vflip")
    for intensity in (0.0, 0.2)
)
AUGMENTATIONS = {
    "none": (Variant(blur=0),),
    "flips": (Variant(blur=0), Variant(blur=0, geometry="hflip")),
    "geometric": GEOMETRIC,
    "comprehensive": COMPREHENSIVE,
    "simplified": SIMPLIFIED,
}


def comprehensive(image: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> list[Sample]:
    """All 32 variants of an image: 8 morphologies of the mask x 4 geometries."""
    return [apply_variant(v, image, labels, weights) for v in COMPREHENSIVE]


def simplified(image: np.ndarray, labels: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """All 8 variants of an image; `rng` draws the brightness and contrast of the last."""
    return [apply_variant(v, image, labels, weights, rng) for v in SIMPLIFIED]


def check(name: str) -> None:
    """Raises UserError if there is no augmentation of that name."""
    if name not in AUGMENTATIONS:
        raise UserError(f"augment {name!r} is unknown: choose one of {', '.join(AUGMENTATIONS)}")


def sample(name: str, rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Sample:
    """One variant of the augmentation `name`, drawn uniformly; the others are never computed.

    Raises UserError for an unknown name.
    """
    check(name)
    variants = AUGMENTATIONS[name]
    return apply_variant(variants[rng.integers(len(variants))], image, labels, weights, rng)


def apply_variant(
    variant: Variant,
    image: UInt8[np.ndarray, "h w c"],
    labels: UInt8[np.ndarray, "h w"],
    weights: Float32[np.ndarray, "h w"],
    rng: np.random.Generator | None = None,
) -> Sample:
    """New arrays of the same shapes and types. `rng` is needed only by a variant that changes the
    intensity."""
    if variant.blur:
        image = median_blur(image, variant.blur)
    if variant.morphology != "none":
        labels = morph(labels, variant.morphology, variant.kernel)
    if variant.intensity:
        low, high = 1 - variant.intensity, 1 + variant.intensity
        image = adjust(image, brightness=rng.uniform(low, high), contrast=rng.uniform(low, high))
    nearest, linear = cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR
    return (
        _move(image, variant.geometry, linear),
        _move(labels, variant.geometry, nearest),
        _move(weights, variant.geometry, nearest),
    )


def median_blur(image: UInt8[np.ndarray, "h w c"], kernel: int = 5) -> UInt8[np.ndarray, "h w c"]:
    """The paper's noise reduction: the median over a square of `kernel` pixels."""
    return cv2.medianBlur(image, kernel).reshape(image.shape)


def morph(labels: UInt8[np.ndarray, "h w"], operation: str, kernel: int) -> UInt8[np.ndarray, "h w"]:
    """Dilate, erode, open or close a label map with a square of ones; for one class, exactly the binary
    operation.

    Classes are ranked background, largest, ..., smallest, and grey-scale morphology runs on the ranks: that
    is the binary operation on every set "this class or a smaller one". So small structures grow over large
    ones when dilated and give way to them when eroded, no gap opens between neighbours, and no new id
    appears.
    """
    ids = _by_area(labels)
    rank = np.zeros(256, np.uint8)
    rank[ids] = np.arange(len(ids))
    moved = cv2.morphologyEx(rank[labels], MORPHOLOGY[operation], np.ones((kernel, kernel), np.uint8))
    return ids[moved]


def _by_area(labels: np.ndarray) -> np.ndarray:
    """Background first, then the classes that occur, from the largest to the smallest, ties by id."""
    areas = np.bincount(labels.ravel(), minlength=256)[1:]
    present = np.flatnonzero(areas)
    return np.concatenate([[0], 1 + present[np.argsort(-areas[present], kind="stable")]]).astype(np.uint8)


def adjust(image: UInt8[np.ndarray, "h w c"], *, brightness: float, contrast: float) -> UInt8[np.ndarray, "h w c"]:
    """Scale the contrast about the mean, then the brightness. Black stays black: it is padding or no echo at
    all."""
    levels = np.arange(256, dtype=np.float32)
    mean = float(image.mean())
    table = np.clip(brightness * (mean + contrast * (levels - mean)), 0, 255)
    table[0] = 0
    return cv2.LUT(image, np.rint(table).astype(np.uint8)).reshape(image.shape)


def _move(array: np.ndarray, geometry: str, interpolation: int) -> np.ndarray:
    if geometry == "none":
        return array.copy()
    if geometry == "hflip":
        return np.ascontiguousarray(array[:, ::-1])
    if geometry == "vflip":
        return np.ascontiguousarray(array[::-1])
    return _zoom(array, interpolation)


def _zoom(array: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = array.shape[:2]
    larger = (round(width * ZOOM), round(height * ZOOM))
    zoomed = cv2.resize(array, larger, interpolation=interpolation)
    top, left = (larger[1] - height) // 2, (larger[0] - width) // 2
    return np.ascontiguousarray(zoomed[top : top + height, left : left + width]).reshape(array.shape)


def perturb(image: Shaped[np.ndarray, "h w c"], rng: np.random.Generator) -> Shaped[np.ndarray, "h w c"]:
    """The strong view of a consistency term (FixMatch, UniMatch): the look changes, the pixels stay put.

    A uint8 image, or a float32 one in [0, 1], comes back in its own type. In this order: gamma, i.e. the gain
    curve of the machine (0.7 to 1.5), contrast about the mean (0.6 to 1.4), brightness (0.7 to 1.3), Gaussian
    blur (sigma 0 to 1.2 pixels) and additive Gaussian noise (SD 0 to 0.06). Black stays black: it is padding
    or no echo at all.
    """
    full = 255 if image.dtype == np.uint8 else 1
    view = (image.astype(np.float32) / full) ** np.float32(rng.uniform(0.7, 1.5))
    mean = view.mean()
    contrast, brightness = np.float32(rng.uniform(0.6, 1.4)), np.float32(rng.uniform(0.7, 1.3))
    view = brightness * (mean + contrast * (view - mean))
    sigma = max(rng.uniform(0, 1.2), 0.1)  # OpenCV refuses 0; 0.1 changes nothing
    view = cv2.GaussianBlur(view, (0, 0), sigma).reshape(image.shape)
    view += np.float32(rng.uniform(0, 0.06)) * rng.standard_normal(image.shape, dtype=np.float32)
    view = np.where(image == 0, 0, np.clip(view, 0, 1)) * np.float32(full)
    return np.rint(view).astype(np.uint8) if full == 255 else view


def mask_noise(labels: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "8"]:
    """Dice of the 8 morphological variants of a mask to the mask itself, foreground against background.

    In the order of `COMPREHENSIVE`: dilate 3 and 5, erode 3 and 5, open 3 and 5, close 3 and 5. What a
    perfect network loses on such labels is a property of the mask's size and shape; the mean is about 0.96
    for a cerebellum of the paper's size at 256 x 256. An empty mask has Dice 1.
    """
    own = labels > 0
    variants = [morph(own.astype(np.uint8), operation, kernel) > 0 for operation in MORPHOLOGY for kernel in (3, 5)]
    return np.array([2 * (own & v).sum() / max((own.sum() + v.sum()), 1) if own.any() else 1.0 for v in variants])
