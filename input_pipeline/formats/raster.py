"""Reader of PNG, JPEG, BMP and TIFF files. A file that is cut off or damaged is an error, never read in part."""

import contextlib
import io
import math
import os
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fetal_jax.core.types import UserError

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*")
# Of libjpeg and libpng.
DAMAGE_PRINTED = (b"Corrupt JPEG data", b"Premature end of JPEG file", b"libpng error")
_STDERR_LOCK = threading.Lock()  # there is one stderr per process
END_OF_JPEG = b"\xff\xd9"
MAX_PIXELS = 100_000_000
# Tags of a TIFF directory (TIFF 6.0, section 8 and 15).
WIDTH, LENGTH, PHOTOMETRIC = 256, 257, 262
KNOWN_COLOURS = (0, 1, 2, 3, 6)  # white is zero, black is zero, RGB, palette, YCbCr
STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES = 273, 279, 324, 325


def read_grey(path: str | os.PathLike) -> UInt8[np.ndarray, "h w"]:
    """The grey values of an image file: PNG, JPEG, BMP, TIFF. See `decode_grey`.

    Raises UserError, naming the file, if it is empty, not an image, damaged or cut off, or deeper than 8 bits.
    """
    try:
        return decode_grey(Path(path).read_bytes())
    except ValueError as error:
        raise UserError(f"{path} {error}: export it again as PNG with 8 bits a channel, or remove it") from error


def decode_grey(data: bytes) -> UInt8[np.ndarray, "h w"]:
    """The grey values of an image file's bytes. Colours are weighted as in ITU-R BT.601; transparency is ignored.

    Raises ValueError, in words that follow the name of the file, for what `read_grey` refuses.
    """
    image = decode(data)
    if image.dtype != np.uint8:
        raise ValueError(f"has {image.dtype} pixels")
    return to_grey(image)


def to_grey(image: np.ndarray) -> np.ndarray:
    """One channel [h w] of a decoded image [h w] or [h w 3|4], blue first, of type uint8, uint16 or float32."""
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[-1] == 4 else cv2.COLOR_BGR2GRAY)


def decode(data: bytes) -> np.ndarray:
    """The pixels of an image file's bytes in their own depth: [h w], or [h w 3|4] with blue first.

    Raises ValueError, in words that follow the name of the file, if it is empty, not an image, damaged or cut off, or
    if its header says more than `MAX_PIXELS`: such a file is not decoded.
    """
    if not data:
        raise ValueError("is empty")
    if not _is_whole(data):
        raise ValueError("is damaged or cut off")
    check_size(_size(data))
    if data.startswith(TIFF) and _tiff_tags(data).get(PHOTOMETRIC) not in KNOWN_COLOURS:
        raise ValueError("has colours that are not RGB (such as CMYK or Lab)")
    with _silent_opencv(), _captured_stderr() as printed:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            image = None
    if image is None or any(words in b"".join(printed) for words in DAMAGE_PRINTED):
        known = data.startswith((PNG, JPEG, *TIFF))
        raise ValueError("is damaged or cut off" if known else "is not a readable image")
    return image


@contextlib.contextmanager
def _silent_opencv() -> Iterator[None]:
    """Silences OpenCV, which prints about files that it refuses: the error is one line."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextlib.contextmanager
def _captured_stderr() -> Iterator[list[bytes]]:
    """What C libraries print inside the block; it is in the list at the end.

    libjpeg and libpng decode a damaged file to an image and report the damage nowhere else.
    """
    printed: list[bytes] = []
    with _STDERR_LOCK, tempfile.TemporaryFile() as file:
        own = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(own, 2)
            os.close(own)
            file.seek(0)
            printed.append(file.read())


def check_size(shape: Sequence[int]) -> None:
    """Raises ValueError, in words that follow the name of the file, if there are more than `MAX_PIXELS`."""
    pixels = math.prod(int(n) for n in shape)
    if pixels > MAX_PIXELS:
        raise ValueError(f"has {pixels / 1e6:.0f} megapixels, more than {MAX_PIXELS // 1_000_000}")


def _size(data: bytes) -> tuple[int, ...]:
    """Width and height by the header alone; () if it is not the header of an image."""
    if data.startswith(TIFF):
        tags = _tiff_tags(data)
        return tags[WIDTH], tags[LENGTH]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.size
        except Image.DecompressionBombError:  # the size of a PNG is in its first chunk
            return struct.unpack_from(">II", data, 16) if data.startswith(PNG) else (MAX_PIXELS, 2)
        except (OSError, SyntaxError, ValueError):
            return ()


def _tiff_tags(data: bytes) -> Mapping[int, Any]:
    """The tags of a TIFF's directory. Pillow reads that of any TIFF, also of those that only OpenCV decodes."""
    tags = ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if tags.next:
        raise ValueError("has several pages")
    return tags


def _is_whole_tiff(data: bytes) -> bool:
    """Whether a TIFF has all its strips or tiles: OpenCV fills missing ones with black."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of Pillow, when the directory is cut off
            tags = _tiff_tags(data)
        starts = tags.get(STRIP_OFFSETS) or tags[TILE_OFFSETS]
        sizes = tags.get(STRIP_SIZES) or tags[TILE_SIZES]
        has_size = tags[WIDTH] > 0 and tags[LENGTH] > 0
    except (KeyError, OSError, SyntaxError, TypeError, struct.error, UserWarning):
        return False
    return has_size and all(start + size <= len(data) for start, size in zip(starts, sizes, strict=False))


def _is_whole(data: bytes) -> bool:
    """Whether a PNG, JPEG or TIFF is complete: their libraries decode a part of one to an image, with a warning."""
    if data.startswith(PNG):
        return b"IEND" in _sound_chunks(data)
    if data.startswith(JPEG):
        return data.rstrip(b"\0").endswith(END_OF_JPEG)  # cameras pad with zeros
    if data.startswith(TIFF):
        return _is_whole_tiff(data)
    return True


def _sound_chunks(data: bytes) -> Iterator[bytes]:
    """The kinds of a PNG's chunks up to the first damaged one."""
    at = len(PNG)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        checksum = data[at + 8 + length : at + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(data[at + 4 : at + 8 + length])):
            return
        yield kind
        at += 12 + length
