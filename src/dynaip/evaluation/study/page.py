"""The study as one HTML file that loads nothing: pictures, style and program are inside."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.evaluation.study.design import Pair, Study
from dynaip.pictures import on_white, open_picture

QUALITY = 92
# Pictures of the miniature; at this size losing nothing costs nothing.
LOSSLESS_SIZE = 256


def study_page(study: Study, title: str = "Picture study") -> str:
    """The page of a study.

    Args:
        study: The pairs.
        title: At the top of the page; should not name a method.
    """
    pictures: dict[str, str] = {}
    references: dict[Path, str] = {}

    def reference(path: Path) -> str:
        if path not in references:
            references[path] = f"r{len(references)}"
            pictures[references[path]] = embedded(path, study.settings.size)
        return references[path]

    def described(pair: Pair) -> dict[str, Any]:
        for token, path in pair.pictures.items():
            pictures[token] = embedded(path, study.settings.size)
        return {
            "id": pair.id,
            "prompt": pair.case.prompt,
            "references": [
                {"name": subject.name, "picture": reference(path)}
                for subject in pair.case.subjects
                for path in subject.references
            ],
            "pictures": list(pair.pictures),
        }

    data = {
        "id": study.id,
        "items": study.settings.items,
        "repeats": study.settings.repeats,
        "groups": [[described(pair) for pair in group] for group in study.groups.values()],
        "checks": [described(pair) for pair in study.checks],
        "pictures": pictures,
    }
    return _fill(title, data)


def embedded(path: Path, size: int) -> str:
    """A picture as a data URI, with nothing of the file's own metadata.

    What a program wrote into the file names the method that made it.

    Raises:
        PictureError: It cannot be read.
    """
    picture = on_white(open_picture(path))
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    lossless = max(picture.size) <= LOSSLESS_SIZE
    picture.save(buffer, "WEBP", quality=QUALITY, lossless=lossless, exif=b"", icc_profile=b"")
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _fill(title: str, data: dict[str, Any]) -> str:
    """The template with its parts, under a policy that allows these and nothing from elsewhere."""
    source = files("dynaip.evaluation.study")
    style, script = ((source / name).read_text() for name in ("page.css", "page.js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
        ]
    )
    parts = {
        "@policy@": policy,
        "@title@": _text(title),
        "@style@": style,
        "@script@": script,
        # The data come last: nothing that a prompt says can be taken for a place to fill.
        "@data@": json.dumps(data).replace("<", r"\u003c"),
    }
    page = (source / "page.html").read_text()
    for place, part in parts.items():
        page = page.replace(place, part)
    return page


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _text(plain: str) -> str:
    return plain.replace("&", "&amp;").replace("<", "&lt;")
