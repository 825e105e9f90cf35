"""Candidate pairs of near-duplicates: every crop and flip of one image against the whole of the other."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from input_pipeline.audit import fingerprints

LIKENESS = 0.6  # cosine of two fingerprints; about one pair of 100 unrelated scans of one machine passes it
NEAREST = 8  # images that are registered to each one
BLOCK_VALUES = 2_000_000  # likenesses computed at a time: few enough for the cache


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Image `first`, cropped to a box, looks like the whole of image `second`, flipped. Both are indices."""

    first: int
    second: int
    likeness: float
    box: int  # a row of `fingerprints.crops`
    flip: int  # an index of `fingerprints.FLIPS`


def find_candidates(thumbs: Sequence[np.ndarray]) -> list[Candidate]:
    """For each similar pair, the better of its two directions; sorted by indices.

    Time grows with the square of the number of images, memory in proportion to the number.
    """
    if not thumbs:
        return []
    wholes = np.stack([fingerprints.whole(thumb) for thumb in thumbs])
    n_boxes = len(fingerprints.BOXES) ** 2
    rows = max(1, BLOCK_VALUES // (n_boxes * len(thumbs)))
    best: dict[tuple[int, int], Candidate] = {}
    for start in range(0, len(thumbs), rows):
        crops = np.stack([fingerprints.crops(thumb) for thumb in thumbs[start : start + rows]])
        for found in _search(crops, wholes, start):
            pair = min(found.first, found.second), max(found.first, found.second)
            if pair not in best or found.likeness > best[pair].likeness:
                best[pair] = found
    return [best[pair] for pair in sorted(best)]


def _search(crops: Float[np.ndarray, "m boxes f"], wholes: Float[np.ndarray, "n f"], start: int) -> Iterator[Candidate]:
    """The nearest of all images to the crops of images `start`, `start + 1`, ..."""
    likeness = _best_likeness(crops.reshape(-1, crops.shape[-1]), wholes).reshape(*crops.shape[:2], -1).max(1)
    for row, values in enumerate(likeness):
        values[start + row] = -1  # itself
        order = np.argsort(-values, kind="stable")[:NEAREST]
        for j in order[values[order] > LIKENESS]:
            each = (fingerprints.SIGNS * wholes[j]) @ crops[row].T
            flip, box = np.unravel_index(each.argmax(), each.shape)
            yield Candidate(start + row, int(j), float(each.max()), int(box), int(flip))


def _best_likeness(crops: Float[np.ndarray, "q f"], wholes: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "q n"]:
    """The largest scalar product over the four flips, at the cost of one: they differ by the signs of four sums."""
    even, odd_column, odd_row, odd = (crops[:, i] @ wholes[:, i].T for i in fingerprints.PARITIES)
    upright = even + odd_column + np.abs(odd_row + odd)  # as it is, or upside down
    mirrored = even - odd_column + np.abs(odd_row - odd)  # left to right, or both
    return np.maximum(upright, mirrored)
