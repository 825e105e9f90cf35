"""Image fingerprints, to find copies: a hash of the pixels, a thumbnail, and cosines of the thumbnail.

The cosines of a thumbnail restricted to a box are two matrix products, and a flip changes their signs. So every crop
and flip of an image is compared without being computed.
"""

import hashlib

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SIDE = 128  # of a thumbnail, whatever the aspect of its image: a copy may have been stretched
N_COSINES = 16  # along each axis
CUTS = (0.0, 0.06, 0.12)  # fractions cut off each side; what lies between is near enough to one of them
COARSE, FINE = (1.0, 10.0), (0.7, 4.0)  # scales of `local_contrast`, in pixels of the thumbnail: to find, to compare
Thumbnail = UInt8[np.ndarray, f"{SIDE} {SIDE}"]
FLIPS = ("none", "horizontal", "vertical", "both")

BOXES = tuple((low, 1 - high) for low in CUTS for high in CUTS)  # along one axis
_ORDERS = np.indices((N_COSINES, N_COSINES)).reshape(2, -1)
# Orders below 2 are shading, which any two images share.
_KEPT = _ORDERS[:, ((_ORDERS**2).sum(0) >= 4) & ((_ORDERS**2).sum(0) <= N_COSINES**2)]
# Mirroring changes the sign of the odd cosines. One row per flip of FLIPS.
SIGNS = np.stack([(-1.0) ** order for order in (0 * _KEPT[0], _KEPT[1], _KEPT[0], _KEPT.sum(0))]).astype(np.float32)
# Which cosines are even along rows and columns, odd along columns only, along rows only, along both.
PARITIES = tuple(
    np.flatnonzero((_KEPT[0] % 2 == row) & (_KEPT[1] % 2 == column)) for row in (0, 1) for column in (0, 1)
)


def pixel_hash(image: np.ndarray) -> str:
    """SHA-256 of type, shape and pixels: equal for equal arrays only."""
    header = f"{image.dtype.str} {image.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(image).tobytes()).hexdigest()


def thumbnail(picture: UInt8[np.ndarray, "h w"]) -> Thumbnail:
    """The picture at SIDE x SIDE pixels."""
    shrinks = min(picture.shape) > SIDE
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def flipped(picture: np.ndarray, flip: str) -> np.ndarray:
    """The picture mirrored as one of FLIPS says."""
    rows, columns = flip in ("vertical", "both"), flip in ("horizontal", "both")
    return np.ascontiguousarray(picture[:: -1 if rows else 1, :: -1 if columns else 1])


def local_contrast(picture: UInt8[np.ndarray, "h w"], scales: tuple[float, float] = COARSE) -> Float[np.ndarray, "h w"]:
    """Detail between two Gaussian scales, divided by its own local standard deviation.

    It hardly changes with brightness, contrast and gamma. Where an image is flat it stays near 0: a quarter of the
    standard deviation of the whole is added, so that noise of the empty surroundings is not blown up.
    """
    small, large = scales
    smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), small)
    detail = smooth - cv2.GaussianBlur(smooth, (0, 0), large)
    variance = cv2.GaussianBlur(detail * detail, (0, 0), large)
    return detail / np.sqrt(variance + (0.25 * detail.std()) ** 2 + 1e-3)


def _cosines(box: tuple[float, float]) -> Float[np.ndarray, "k s"]:
    """Cosines over a box of the unit interval, 0 outside it; pixels at its ends count by their share."""
    low, high = box
    ends = np.arange(SIDE + 1) / SIDE
    share = np.clip(np.minimum(ends[1:], high) - np.maximum(ends[:-1], low), 0, None) * SIDE
    u = ((ends[1:] + ends[:-1]) / 2 - low) / (high - low)
    return (np.cos(np.pi * np.arange(N_COSINES)[:, None] * u) * share).astype(np.float32)


_BASES = np.stack([_cosines(box) for box in BOXES])


def whole(thumb: Thumbnail) -> Float[np.ndarray, " f"]:
    """The fingerprint of a thumbnail: cosines of its local contrast, of length 1 (0 if it is flat)."""
    return _unit((_BASES[0] @ local_contrast(thumb) @ _BASES[0].T)[_KEPT[0], _KEPT[1]])


def crops(thumb: Thumbnail) -> Float[np.ndarray, "boxes f"]:
    """The fingerprints of its crops; row `a * len(BOXES) + b` is that of rows in BOXES[a], columns in BOXES[b]."""
    bases = _BASES.reshape(-1, SIDE)
    products = (bases @ local_contrast(thumb) @ bases.T).reshape(len(BOXES), N_COSINES, len(BOXES), N_COSINES)
    return _unit(products.transpose(0, 2, 1, 3)[:, :, _KEPT[0], _KEPT[1]].reshape(len(BOXES) ** 2, -1))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-6)
