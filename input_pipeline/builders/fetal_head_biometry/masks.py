"""Converts coloured masks to class ids, and assigns the blended pixels of an edge to the nearer of its two classes.

An edge drawn with anti-aliasing, or a mask that was resized, has pixels on the line between two colours. The nearest of
all colours would be wrong for them: half red and half blue is as near to black. So a blended pixel is compared with the
lines between pairs of colours, first of those that both occur unblended right beside it.
"""

import itertools
from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from input_pipeline.formats.raster import decode

CLASSES = ("background", "brain", "csp", "lv")
Colours = Mapping[str, tuple[int, int, int]]
PUBLISHED: Colours = {"background": (0, 0, 0), "brain": (255, 0, 0), "csp": (0, 255, 0), "lv": (0, 0, 255)}
NO_CLASS = 255
# Bounds are distances per channel, of 255. A blend of two colours lies on the line between them. Where the background
# and two pure colours meet, no blend of the three is farther than 64 from a line; grey, white and yellow are 127 away.
BLEND_BOUND = 64.0
NOISE_BOUND = 32.0  # from one colour, where none is unblended beside it: the noise of JPEG inside a region
MAX_SHARE = 0.05  # of all pixels; the edges of a 959 x 661 mask are about 0.01


def read_colours(text: str) -> Colours:
    """The colours of a `labelmap.txt` as CVAT writes it: lines `label:red,green,blue:parts:actions`.

    Labels that are not one of CLASSES are left out, classes that it does not name have their published colour. Raises
    ValueError, in words that follow the name of the file, for a line of another form and for colours that are equal.
    """
    colours = dict(PUBLISHED)
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        label, _, rest = line.strip().partition(":")
        try:
            red, green, blue = (int(number) for number in rest.split(":")[0].split(","))
        except ValueError as error:
            raise ValueError(f"has the line {line!r}, expected label:red,green,blue::") from error
        if label.lower() in colours:
            colours[label.lower()] = (red, green, blue)
    if len(set(colours.values())) < len(colours):
        raise ValueError(f"gives two classes one colour: {colours}")
    return colours


def decode_mask(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Red, green and blue of an image file's bytes; a palette is resolved to its colours.

    Raises ValueError, in words that follow the name of the file, if it is damaged, grey (all black is allowed), deeper
    than 8 bits, or transparent anywhere.
    """
    mask = decode(data)
    if mask.dtype != np.uint8:
        raise ValueError(f"has {mask.dtype} pixels: export it with 8 bits a channel")
    if mask.ndim == 2:
        if mask.any():
            raise ValueError("is grey: export the masks in colours")
        mask = np.zeros((*mask.shape, 3), np.uint8)
    if mask.shape[-1] == 4 and (mask[..., 3] < 255).any():
        raise ValueError("is transparent in places: export it without an alpha channel")
    return np.ascontiguousarray(mask[..., 2::-1])


def class_ids(rgb: UInt8[np.ndarray, "h w 3"], colours: Colours) -> tuple[UInt8[np.ndarray, "h w"], int]:
    """Ids in the order of `CLASSES`, and how many pixels were repaired.

    Raises ValueError, in words that follow the name of the file, if a pixel is neither a colour nor a blend of two, or
    if more than `MAX_SHARE` of all pixels are blends.
    """
    palette = np.array([colours[name] for name in CLASSES])
    codes = _as_numbers(rgb)
    exact = [codes == code for code in _as_numbers(palette)]
    labels, off = np.zeros(codes.shape, np.uint8), ~np.logical_or.reduce(exact)
    for i, region in enumerate(exact):
        labels[region] = i
    repaired = int(off.sum())
    if repaired:
        labels[off] = _repair(rgb[off].astype(float), _beside(exact, off, 3), _beside(exact, off, 5), palette)
        _check_repair(rgb, labels, off)
    return labels, repaired


def _as_numbers(rgb: np.ndarray) -> np.ndarray:
    """One number per colour, quicker to compare than three."""
    red, green, blue = (rgb[..., i].astype(np.int32) for i in range(3))
    return (red << 16) | (green << 8) | blue


def _beside(exact: list[Bool[np.ndarray, "h w"]], off: Bool[np.ndarray, "h w"], size: int) -> Bool[np.ndarray, "n k"]:
    """Whether each colour occurs, unblended, in the square of that size around each pixel of `off`."""
    square = np.ones((size, size), np.uint8)
    return np.stack([cv2.dilate(region.astype(np.uint8), square)[off] > 0 for region in exact], axis=-1)


def _repair(
    pixels: Float[np.ndarray, "n 3"],
    near: Bool[np.ndarray, "n k"],
    around: Bool[np.ndarray, "n k"],
    palette: Int[np.ndarray, "k 3"],
) -> UInt8[np.ndarray, " n"]:
    """The class of each blended pixel by the first rule that applies; NO_CLASS if none does."""
    found = np.full(len(pixels), NO_CLASS, np.uint8)
    for distances, candidates in _rules(pixels, near, around, palette):
        best = np.argmin(distances, axis=-1, keepdims=True)
        fits = np.take_along_axis(distances, best, -1)[:, 0] <= BLEND_BOUND
        chosen = np.take_along_axis(candidates, best, -1)[:, 0]
        found = np.where((found == NO_CLASS) & fits, chosen, found).astype(np.uint8)
    to_colour = np.abs(pixels[:, None] - palette).max(axis=-1)
    noisy = (found == NO_CLASS) & (to_colour.min(axis=-1) <= NOISE_BOUND)
    return np.where(noisy, to_colour.argmin(axis=-1), found).astype(np.uint8)


def _rules(pixels, near, around, palette) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Distances to the lines between pairs of colours and the nearer end of each, the most reliable pairs first."""
    pairs = np.array(list(itertools.combinations(range(len(palette)), 2)))
    first, second = palette[pairs[:, 0]], palette[pairs[:, 1]]
    along = second - first
    share = np.einsum("npc,pc->np", pixels[:, None] - first, along) / (along**2).sum(axis=-1)
    on_line = first + np.clip(share, 0, 1)[..., None] * along
    distances = np.abs(pixels[:, None] - on_line).max(axis=-1)
    nearer = np.where(share < 0.5, pairs[:, 0], pairs[:, 1])
    both_near = near[:, pairs].all(axis=-1)
    both_around = around[:, pairs].all(axis=-1)
    one_near = near[:, pairs].any(axis=-1)  # the tip of something so thin that it has no unblended pixel
    for allowed in (both_near, both_around, one_near):
        yield np.where(allowed, distances, np.inf), nearer


def _check_repair(rgb: np.ndarray, labels: np.ndarray, off: np.ndarray) -> None:
    wrong = np.argwhere(labels == NO_CLASS)
    if len(wrong):
        row, column = (int(n) for n in wrong[0])
        more = f" and {len(wrong) - 1} more pixels of no class" if len(wrong) > 1 else ""
        colour = tuple(int(value) for value in rgb[row, column])
        raise ValueError(
            f"has the colour {colour} at row {row}, column {column}{more}, which is not a blend of classes"
        )
    if off.mean() > MAX_SHARE:
        raise ValueError(f"has blended colours in {off.mean():.0%} of its pixels, more than {MAX_SHARE:.0%}")
