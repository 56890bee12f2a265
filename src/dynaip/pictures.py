"""Pictures from people: any file to a whole picture on white, and clear words for bad ones.

A reference stands on white and is padded to a square, never cropped: CLIP's usual centre crop would
cut the ears off (paper, Appendix B.1).
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

PathLike = str | os.PathLike[str]

MAX_PIXELS = 64_000_000
# What Pillow reads by itself. Formats that start another program (EPS) or need one stay out, and
# those that are decoded when they are opened (ICO), whatever their size.
FORMATS = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "TGA", "QOI",
)  # fmt: skip
# How their files end.
ENDINGS = frozenset(f".{name.lower()}" for name in (*FORMATS, "JPG", "TIF", "JP2"))
# Pillow's decoders raise all of these on broken files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)


class PictureError(ValueError):
    """A picture cannot be used as a reference or a mask."""


def open_picture(source: PathLike | Image.Image) -> Image.Image:
    """Opens and decodes a picture, upright, in whatever mode it has.

    Only the header is read before the size is known, so a decompression bomb is refused unopened.
    Of an animation, the first frame is taken.

    Args:
        source: A picture file, or a picture.

    Raises:
        PictureError: The file is missing, a folder, broken, not a picture, empty, or has more than
            `MAX_PIXELS` pixels.
    """
    if isinstance(source, Image.Image):
        _check_size(source, "The picture")
        return ImageOps.exif_transpose(source)
    path = Path(source)
    if path.is_dir():
        raise PictureError(f"{path} is a folder; give a picture file in it.")
    if not path.is_file():
        raise PictureError(f"There is no picture file at {path}; check the path.")
    return _decode(path, str(path))


def decode_picture(
    content: bytes, name: str = "The picture", max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The same of a file's content, for what comes from strangers: no path is opened.

    Args:
        content: A picture file's bytes.
        name: What errors call it.
        max_pixels: The most it may have.

    Raises:
        PictureError: See `open_picture`.
    """
    return _decode(io.BytesIO(content), name, max_pixels)


def _decode(source: Path | io.BytesIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    try:
        with _quiet_pillow(), Image.open(source, formats=FORMATS) as picture:
            _check_size(picture, name, max_pixels)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name} is too large; {_cap(max_pixels)}") from error
    except Image.UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is not a picture that can be read; save it as PNG or JPEG."
        ) from error
    except PermissionError as error:
        raise PictureError(f"{name} may not be read; change its permissions.") from error
    except BROKEN as error:
        raise PictureError(f"{name} is broken or cut short ({error}); save it again.") from error


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, with white where the picture was transparent."""
    if picture.mode.startswith("I"):  # 16-bit greys; Pillow would clip them to white
        greys = np.asarray(picture, dtype=np.float64) / 257
        picture = Image.fromarray(greys.clip(0, 255).round().astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def square(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture, on white, in a square of `size` pixels.

    The longer side becomes `size`, with an antialiased filter; the shorter one is padded with white
    on both sides. A square picture of that size comes back unchanged.
    """
    picture = on_white(picture)
    longer = max(picture.size)
    if longer != size:
        width, height = (max(1, round(side * size / longer)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    return canvas


def read_reference(source: PathLike | Image.Image, size: int) -> Image.Image:
    """A reference as the image encoder sees it: upright, on white, square, `size` pixels.

    Raises:
        PictureError: See `open_picture`.
    """
    return square(open_picture(source), size)


def _cap(max_pixels: int) -> str:
    return f"pictures may have {max_pixels // 1_000_000} million pixels, make it smaller."


def _check_size(picture: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise PictureError(f"{name} is empty ({width}x{height} pixels); give one with content.")
    if width * height > max_pixels:
        raise PictureError(f"{name} is too large ({width}x{height} pixels); {_cap(max_pixels)}")


def _quiet_pillow() -> warnings.catch_warnings[None]:
    """Pillow's own warnings about size and metadata: our cap and errors say it better."""
    return warnings.catch_warnings(action="ignore")
