"""Pictures of images with their labels, for reports and overlays. Colours are RGB; class 0 is never drawn."""

import base64
import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError

RGB = tuple[int, int, int]

JPEG_QUALITY = 85


def outline(
    image: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"],
    masks: Sequence[tuple[Integer[np.ndarray, "rows columns"], Sequence[RGB]]],
    *,
    thickness: int | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draws the contours of every class of every label map, the last one on top.

    Args:
      image: grey values or RGB.
      masks: label maps of the image's size, each with a colour by class id.
      thickness: of the line in pixels; by default 1 for each 300 pixels of the longer side, at least 1.

    Raises ValueError where a label map has another size, or a class without a colour.
    """
    picture = _rgb(image)
    thickness = thickness or max(1, round(max(picture.shape) / 300))
    for labels, colours in masks:
        _check(image, labels, colours)
        for class_id in range(1, len(colours)):
            mask = (np.asarray(labels) == class_id).astype(np.uint8)
            contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, contours, -1, colours[class_id], thickness)
    return picture


def resize(array: np.ndarray, side: int, *, labels: bool = False) -> np.ndarray:
    """`array` [h w] or [h w 3] with its longer side made `side` pixels, the aspect kept.

    Label maps keep their values (nearest neighbour); images are averaged down and interpolated up.
    """
    height, width = array.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if labels:
        return cv2.resize(array.astype(np.int32), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(array.dtype)
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def data_uri(picture: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> str:
    """The picture, grey or RGB, as a JPEG in a `data:` URI for an <img> of a page that stands alone."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)  # OpenCV writes blue first
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"cannot encode a picture of shape {picture.shape} and type {picture.dtype}")
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def write_png(path: pathlib.Path, array: UInt8[np.ndarray, "h w"] | UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes grey values, class ids or RGB, atomically. Raises UserError if it cannot."""
    array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    with replacing_file(path) as partial:
        if not cv2.imwrite(str(partial), array):
            raise UserError(f"cannot write {path}: check that the folder is writable and the disk is not full")


def _rgb(image: np.ndarray) -> np.ndarray:
    """A new RGB picture of a grey or an RGB one."""
    image = np.ascontiguousarray(image)
    return image.copy() if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _check(image: np.ndarray, labels: np.ndarray, colours: Sequence[RGB]) -> None:
    if image.shape[:2] != labels.shape:
        raise ValueError(f"labels are {labels.shape}, but the image is {image.shape[:2]}: give both in one size")
    if labels.size and int(labels.max()) >= len(colours):
        raise ValueError(f"class {int(labels.max())} has no colour: give {int(labels.max()) + 1} colours")
