"""Contact sheets: pictures in rows and columns, with words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

GAP = 8
TEXT = 14
LINE = TEXT + 6
INK = (40, 40, 40)


class Row(NamedTuple):
    """One row of a sheet: a line of text above equally many pictures as there are columns."""

    title: str
    pictures: Sequence[Image.Image]


def contact_sheet(columns: Sequence[str], rows: Sequence[Row], cell: int = 128) -> Image.Image:
    """Draws a sheet.

    Args:
        columns: Their names; `"\\n"` breaks a line.
        rows: At least one.
        cell: Width and height of a picture on the sheet, in pixels; each keeps its proportions.
    """
    header = max(name.count("\n") + 1 for name in columns) * LINE
    step = cell + GAP
    width = GAP + len(columns) * step
    height = header + GAP + len(rows) * (LINE + step)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT)
    for index, name in enumerate(columns):
        pen.multiline_text((GAP + index * step, GAP // 2), name, fill=INK, font=font)
    for number, row in enumerate(rows):
        top = header + GAP + number * (LINE + step)
        pen.text((GAP, top), row.title, fill=INK, font=font)
        for index, picture in enumerate(row.pictures):
            sheet.paste(_fit(picture, cell), (GAP + index * step, top + LINE))
    return sheet


def _fit(picture: Image.Image, cell: int) -> Image.Image:
    """Enlarged smoothly, to `cell` pixels on the longer side."""
    scale = cell / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
