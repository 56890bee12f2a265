"""References: any picture file in, a whole picture on white out, and clear words for bad ones."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dynaip.hosts.vision import CLIP_MEAN, CLIP_STD, clip_pixels, stack_pictures
from dynaip.pictures import (
    MAX_PIXELS,
    PictureError,
    on_white,
    open_picture,
    read_reference,
    square,
)

RED = (200, 30, 40)


def png(width: int, height: int) -> bytes:
    """A tiny PNG file whose header claims any size."""
    chunks = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + name + data
        chunks += struct.pack(">I", zlib.crc32(name + data))
    return chunks


def encoded(format: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (24, 31, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, format)
    return buffer.getvalue()


def test_a_wide_picture_is_padded_not_cropped() -> None:
    result = np.asarray(square(Image.new("RGB", (40, 10), RED), 20))
    assert result.shape == (20, 20, 3)
    assert (result[8:12] > 0).all()
    np.testing.assert_array_equal(result[:7], 255)
    np.testing.assert_array_equal(result[13:], 255)
    np.testing.assert_array_equal(result[10, [0, 10, 19]], [RED] * 3)


def test_a_square_picture_of_the_right_size_is_unchanged() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(square(Image.fromarray(noise), 16)), noise)


def test_a_needle_keeps_a_pixel_and_needs_no_giant_square() -> None:
    result = np.asarray(square(Image.new("RGB", (60_000, 1), RED), 32))
    np.testing.assert_array_equal(result[15], [RED] * 32)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    result = np.asarray(square(Image.fromarray(stripes), 16))
    assert abs(result[4:-4, 4:-4].astype(int) - 127).max() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_goes_on_white(mode: str, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 4, 8))
    picture.convert(mode).save(tmp_path / "cut.png")
    result = np.asarray(read_reference(tmp_path / "cut.png", 8))
    np.testing.assert_array_equal(result[:, :4], 0)
    np.testing.assert_array_equal(result[:, 4:], 255)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "HSV", "I;16"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    assert on_white(Image.new(mode, (4, 4))).mode == "RGB"


def test_sixteen_bit_greys_keep_their_tones(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    result = np.asarray(read_reference(tmp_path / "ramp.png", 8))[..., 0]
    np.testing.assert_allclose(result, ramp / 257, atol=1)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8), "blue")
    picture.paste(RED, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    result = np.asarray(read_reference(tmp_path / "turned.png", 8))
    assert tuple(result[7, 4]) == RED
    assert tuple(result[0, 4]) == (0, 0, 255)


def test_clip_normalisation() -> None:
    values = clip_pixels(stack_pictures([Image.new("RGB", (4, 4), (255, 0, 51))] * 2))
    assert values.shape == (2, 3, 4, 4)
    expected = [(v - m) / s for v, m, s in zip((1, 0, 0.2), CLIP_MEAN, CLIP_STD, strict=True)]
    torch.testing.assert_close(values[1, :, 2, 3], torch.tensor(expected))


def test_a_missing_file_is_said() -> None:
    with pytest.raises(PictureError, match="no picture file at nowhere"):
        open_picture("nowhere.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="is a folder; give a picture file in it"):
        open_picture(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9"]
)
def test_what_is_no_picture_is_said(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PictureError, match="not a picture"):
        open_picture(tmp_path / "a.png")


def test_an_icon_is_not_decoded_to_learn_its_size(tmp_path: Path) -> None:
    (tmp_path / "a.ico").write_bytes(encoded("ICO"))
    with pytest.raises(PictureError, match="not a picture that can be read"):
        open_picture(tmp_path / "a.ico")


@pytest.mark.parametrize(("width", "height"), [(30_000, 3_000), (200_000, 200_000)])
def test_a_bomb_is_refused_before_decoding(width: int, height: int, tmp_path: Path) -> None:
    assert width * height > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    with pytest.raises(PictureError, match="too large"):
        open_picture(tmp_path / "bomb.png")


def test_an_empty_picture_is_said(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="empty"):
        open_picture(Image.new("RGB", (0, 5)))
    (tmp_path / "empty.png").write_bytes(png(0, 5))
    with pytest.raises(PictureError):
        open_picture(tmp_path / "empty.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_truncated_file_is_said(format: str, tmp_path: Path) -> None:
    content = encoded(format)
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    with pytest.raises(PictureError, match=r"broken or cut short|not a picture"):
        open_picture(tmp_path / "cut")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    format: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(encoded(format))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{format}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        result = read_reference(path, 16)
    except PictureError:
        return
    assert (result.mode, result.size) == ("RGB", (16, 16))
