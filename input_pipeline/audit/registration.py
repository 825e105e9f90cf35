"""Registration of a candidate pair: one thumbnail is warped onto the other, and local contrast is compared."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float

from input_pipeline.audit import fingerprints
from input_pipeline.audit.candidates import Candidate
from input_pipeline.audit.fingerprints import BOXES, COARSE, FINE, FLIPS, SIDE, Thumbnail, local_contrast

SIMILAR = 0.70  # correlation from which a pair is a near-duplicate; see docs/audit.md for how it was set
OVERLAP = 0.5  # least share of an image that has to lie on the other
ITERATIONS, TOLERANCE, SMOOTHING = 40, 1e-4, 5  # of the registration; the last is the side of a Gaussian in pixels


@dataclasses.dataclass(frozen=True)
class Likeness:
    """The similarity of two registered thumbnails."""

    correlation: float  # of local contrast where they overlap, -1 to 1; 0 if they hardly overlap
    overlap: float  # share of the second that lies on the first


def compare(candidate: Candidate, first: Thumbnail, second: Thumbnail) -> Likeness:
    """Registers two thumbnails, starting from the crop and flip of the candidate, and compares them.

    An affine map is fitted by maximising the enhanced correlation coefficient (Evangelidis and Psarakis, IEEE TPAMI
    2008;30:1858-65). Where that does not converge, the crop itself is compared.
    """
    second = fingerprints.flipped(second, FLIPS[candidate.flip])
    warp = _fit(local_contrast(first, COARSE), local_contrast(second, COARSE), _from_box(candidate.box))
    mask = _warped(np.ones((SIDE, SIDE), np.float32), warp) > 0.99
    overlap = float(mask.mean())
    if overlap < OVERLAP:
        return Likeness(0.0, overlap)
    return Likeness(
        _correlation(_warped(local_contrast(first, FINE), warp)[mask], local_contrast(second, FINE)[mask]), overlap
    )


def _from_box(box: int) -> Float[np.ndarray, "2 3"]:
    """The map from the whole of an image to a crop of another one, in pixels of thumbnails."""
    (top, bottom), (left, right) = (BOXES[i] for i in divmod(box, len(BOXES)))
    width, height = right - left, bottom - top
    # Pixel centres: x + 1/2 = left * SIDE + width * (x' + 1/2).
    shift_x, shift_y = left * SIDE + (width - 1) / 2, top * SIDE + (height - 1) / 2
    return np.array([[width, 0, shift_x], [0, height, shift_y]], np.float32)


def _fit(first: np.ndarray, second: np.ndarray, warp: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "2 3"]:
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, TOLERANCE)
    everywhere = np.ones_like(second, np.uint8)
    try:
        found = cv2.findTransformECC(second, first, warp.copy(), cv2.MOTION_AFFINE, criteria, everywhere, SMOOTHING)
        return np.asarray(found[1])
    except cv2.error:  # "the algorithm stopped before its convergence": the two images are unrelated
        return warp


def _warped(array: np.ndarray, warp: Float[np.ndarray, "2 3"]) -> np.ndarray:
    return cv2.warpAffine(array, warp, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-9))
