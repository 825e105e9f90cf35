"""Sliding window: patches that cover a volume, and their predictions blended into one volume."""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float32, Shaped

Shape = tuple[int, int, int]
SIGMA = 1 / 8  # of a patch's side, as in nnU-Net (Isensee et al. 2021)


def crop(array: Shaped[np.ndarray, "..."], start: Shape, size: Shape) -> Shaped[np.ndarray, "..."]:
    """The box of `size` voxels from `start` of an array [d h w] or [d h w c], 0 where it leaves the array."""
    starts, ends = [max(0, s) for s in start], [max(0, s + n) for s, n in zip(start, size, strict=True)]
    inside = array[tuple(slice(s, e) for s, e in zip(starts, ends, strict=True))]
    if inside.shape[:3] == size:
        return inside
    box = np.zeros((*size, *array.shape[3:]), array.dtype)
    if inside.size:
        first = [i - s for i, s in zip(starts, start, strict=True)]
        box[tuple(slice(f, f + n) for f, n in zip(first, inside.shape[:3], strict=True))] = inside
    return box


def tiles(shape: Shape, patch: Shape, overlap: float = 0.5) -> list[Shape]:
    """Start indices of patches that cover a volume, evenly spaced, the last axis fastest.

    `overlap` is the least share of a side that neighbours have in common. Along an axis that is shorter than the patch
    there is one patch, with the volume in its middle. Raises ValueError for an overlap outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}: expected 0 or more and less than 1")
    slices, rows, columns = (_starts(n, p, overlap) for n, p in zip(shape, patch, strict=True))
    return list(itertools.product(slices, rows, columns))


def _starts(length: int, patch: int, overlap: float) -> list[int]:
    room = length - patch
    if room <= 0:
        return [room // 2]
    step = max(1, math.floor(patch * (1 - overlap)))
    count = math.ceil(room / step) + 1
    return [room * i // (count - 1) for i in range(count)]


def importance(patch: Shape) -> Float32[np.ndarray, "d h w"]:
    """Blending weight of each voxel of a patch: a Gaussian, 1 in the middle; predictions are worse at the border."""
    sides = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (SIGMA * n)) ** 2) for n in patch]
    return np.einsum("i,j,k->ijk", *sides).astype(np.float32)


def stitch(
    patches: Iterable[Float[np.ndarray, "pd ph pw c"]], starts: Sequence[Shape], shape: Shape
) -> Float32[np.ndarray, "d h w c"]:
    """The volume that these patches cover: where they overlap, their average weighted by `importance`.

    Patches are consumed one by one; only the volume is in memory. Raises ValueError if they leave a voxel uncovered,
    or are more or fewer than `starts`.
    """
    total, weight = np.zeros(0, np.float32), np.zeros(shape, np.float32)
    for patch, start in zip(patches, starts, strict=True):
        if not total.size:
            total, counts = np.zeros((*shape, patch.shape[-1]), np.float32), importance(patch.shape[:3])
        there, here = _overlap(shape, patch.shape[:3], start)
        total[there] += counts[here][..., None] * patch[here]
        weight[there] += counts[here]
    if not (weight > 0).all():
        raise ValueError(f"these patches do not cover a volume of shape {shape}")
    return total / weight[..., None]


def _overlap(shape: Shape, patch: Shape, start: Shape) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The box that a patch and the volume share, as slices of the volume and of the patch."""
    first = [max(0, s) for s in start]
    last = [min(n, s + p) for n, s, p in zip(shape, start, patch, strict=True)]
    there = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    return there, tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
