"""Image files: the same grey values in every format, and every damage is an error."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fetal_jax.core.types import UserError
from input_pipeline.formats.raster import PNG, decode_grey, read_grey

GREY = (np.add.outer(np.arange(40), np.arange(60)) + np.random.default_rng(0).integers(0, 60, (40, 60))).astype(
    np.uint8
)
REMEDY = "export it again as PNG with 8 bits a channel, or remove it"


def encode(suffix, array=GREY):
    return cv2.imencode(suffix, array)[1].tobytes()


def png(bit_depth, colour_type, size, rows):
    """A PNG by hand. `rows` are packed as bytes, without their filter bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", size[1], size[0], bit_depth, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_files_are_read_as_they_are(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(suffix))
    np.testing.assert_array_equal(read_grey(path), GREY)
    np.testing.assert_array_equal(read_grey(str(path)), GREY)


def test_a_photo_is_nearly_what_was_taken():
    smooth = cv2.GaussianBlur(GREY, (0, 0), 3)
    assert np.abs(decode_grey(encode(".jpg", smooth)).astype(int) - smooth).max() <= 4


def test_colours_are_weighted_by_how_bright_they_look():
    bgr = np.array([[(0, 0, 200), (0, 200, 0), (200, 0, 0), (77, 77, 77)]], np.uint8)
    expected = [[60, 117, 23, 77]]  # 0.299 R + 0.587 G + 0.114 B
    assert decode_grey(encode(".png", bgr)).tolist() == expected
    assert decode_grey(encode(".bmp", bgr)).tolist() == expected
    clear = np.dstack([bgr, np.array([[0, 90, 200, 255]], np.uint8)])
    assert decode_grey(encode(".png", clear)).tolist() == expected


def test_one_bit_and_half_transparent_files_are_grey_too():
    assert decode_grey(png(1, 0, (2, 4), [b"\xa0", b"\x50"])).tolist() == [[255, 0, 255, 0], [0, 255, 0, 255]]
    assert decode_grey(png(8, 4, (1, 2), [b"\x20\x00\xf0\x80"])).tolist() == [[32, 240]]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.995])
def test_a_file_that_is_cut_off_is_refused_quietly_in_one_line(tmp_path, suffix, share, capfd):
    path, data = tmp_path / f"image{suffix}", encode(suffix)
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        UserError, match=rf"image\{suffix} is (empty|damaged or cut off|not a readable image): {REMEDY}"
    ) as e:
        read_grey(path)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_single_missing_byte_is_noticed(suffix):
    with pytest.raises(ValueError, match=r"^is damaged or cut off$"):
        decode_grey(encode(suffix)[:-1])


def test_zeros_after_a_photo_are_no_damage():
    np.testing.assert_array_equal(decode_grey(encode(".jpg") + bytes(100)), decode_grey(encode(".jpg")))


def test_a_flipped_bit_in_a_png_is_noticed(capfd):
    data = bytearray(encode(".png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ValueError, match="is damaged or cut off"):
        decode_grey(bytes(data))
    assert capfd.readouterr().err == ""


def harmed_photo(harm):
    data = bytearray(encode(".jpg", cv2.resize(GREY, None, fx=6, fy=6)))
    size = len(data)
    if harm == "a quarter is zero":
        data[size // 2 : size * 3 // 4] = bytes(size * 3 // 4 - size // 2)
        return bytes(data)
    return bytes(data[: size // 2]) + b"\xff\xd9"


@pytest.mark.parametrize("harm", ["a quarter is zero", "half of it with an end"])
def test_a_damaged_photo_is_refused_and_nothing_is_printed(harm, capfd):
    with pytest.raises(ValueError, match=r"^is damaged or cut off$"):
        decode_grey(harmed_photo(harm))
    assert capfd.readouterr() == ("", "")


def test_a_png_of_too_few_rows_is_refused_and_nothing_is_printed(capfd):
    with pytest.raises(ValueError, match=r"^is damaged or cut off$"):
        decode_grey(png(8, 0, (40, 60), [bytes(row) for row in GREY[:20]]))
    assert capfd.readouterr() == ("", "")


def test_what_is_printed_after_a_decoding_is_seen_again(capfd):
    decode_grey(encode(".jpg"))
    os.write(2, b"hello")
    assert capfd.readouterr().err == "hello"


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_of_cmyk_is_refused(compression):
    file = io.BytesIO()
    Image.fromarray(np.dstack([GREY] * 3)).convert("CMYK").save(file, "TIFF", compression=compression)
    with pytest.raises(ValueError, match=r"^has colours that are not RGB"):
        decode_grey(file.getvalue())


@pytest.mark.parametrize("content", [b"hello", b"\0" * 500, b"BM", b"<html></html>"])
def test_what_is_not_an_image_is_refused(tmp_path, content, capfd):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"image\.png is not a readable image: {REMEDY}"):
        read_grey(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deeper_pixels_are_refused(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(encode(suffix, GREY.astype(np.uint16) * 256))
    with pytest.raises(UserError, match=rf"image\{suffix} has uint16 pixels: {REMEDY}"):
        read_grey(path)


def test_opencv_speaks_again_after_a_refusal():
    before = cv2.utils.logging.getLogLevel()
    with pytest.raises(ValueError, match="readable"):
        decode_grey(b"hello")
    assert cv2.utils.logging.getLogLevel() == before
