"""How a picture was made: written into its PNG and into a JSON beside it, and read back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image, PngImagePlugin

import dynaip
from dynaip.adapter.attention import Overlap
from dynaip.adapter.config import Branches
from dynaip.pictures import open_picture
from dynaip.pipeline.credentials import SOURCE_TYPE, sign_png

if TYPE_CHECKING:
    from dynaip.pipeline.subject import Subject

KEY = "dynaip"
GENERATED_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
PACKAGES = ("dynaip", "torch", "diffusers", "transformers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubjectRecord:
    """One subject of a picture.

    Attributes:
        name: The reference's file name, without its folders.
        sha256: Of the reference's file.
        scale: The paper's lambda.
        granularity: Weights of low, mid and high set by hand; nothing where the router chose.
        coefficients: The weights that were used.
        mask: Where it was, as it was said: a place, a layout, a box, a file's name, or, painted in
            the browser, the mask itself as a PNG's data URL.
        start, end: Shares of the steps between which it was there.
    """

    name: str
    sha256: str
    scale: float
    granularity: tuple[float, ...] | None
    coefficients: tuple[float, ...]
    mask: str | None = None
    start: float = 0.0
    end: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All that is needed to make a picture again.

    Attributes:
        prompt, seed, steps, guidance, width, height: Of this picture.
        branches: Rows that saw the references.
        overlap: What happened where they meet.
        model: A hub id, or the name of a local folder.
        adapter: The same; nothing where no adapter was used.
        adapter_sha256: Of the adapter's weights file.
        subjects: The references.
        versions: Of the packages that made it.
    """

    prompt: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    branches: Branches
    model: str
    adapter: str | None = None
    adapter_sha256: str | None = None
    overlap: Overlap = "sum"
    subjects: tuple[SubjectRecord, ...] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A field is missing or unknown.
        """
        try:
            subjects = tuple(_subject_from(value) for value in values["subjects"])
            return cls(**{**values, "subjects": subjects})
        except (KeyError, TypeError) as error:
            raise ValueError(f"These are not the settings of a picture ({error}).") from error


def _subject_from(values: Mapping[str, Any]) -> SubjectRecord:
    tuples = {
        name: None if values[name] is None else tuple(values[name])
        for name in ("granularity", "coefficients")
    }
    return SubjectRecord(**{**values, **tuples})


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a picture depends on."""
    return {package: metadata.version(package) for package in PACKAGES}


def record_subjects(
    references: Sequence[Path], subjects: Sequence[Subject], masks: Sequence[str]
) -> Callable[[Sequence[Sequence[float]]], tuple[SubjectRecord, ...]]:
    """Reads what does not change from picture to picture, and takes the rest later.

    Args:
        references: A file of each subject.
        subjects: As many.
        masks: Where each goes, in words; empty for everywhere.

    Returns:
        From the coefficients of each subject to the records.
    """
    hashes = [file_sha256(path) for path in references]

    def record(coefficients: Sequence[Sequence[float]]) -> tuple[SubjectRecord, ...]:
        rows = zip(references, hashes, subjects, masks, coefficients, strict=True)
        return tuple(
            SubjectRecord(
                name=path.name,
                sha256=sha256,
                scale=cast(float, subject.scale),
                mask=mask or None,
                start=subject.start,
                end=subject.end,
                granularity=tuple(subject.granularity) if subject.granularity else None,
                coefficients=tuple(round(value, 4) for value in weights),
            )
            for path, sha256, subject, mask, weights in rows
        )

    return record


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def public_name(source: str | Path) -> str:
    """A hub id as it is; of a path its last name, so that a picture tells nobody's folders."""
    path = Path(source)
    return path.resolve().name if path.exists() else str(source)


def save_picture(picture: Image.Image, path: Path, settings: Settings) -> None:
    """Writes the PNG with its settings inside, and `path` with `.json` beside it.

    Each file appears whole or not at all.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    text = json.dumps(settings.to_dict(), indent=2)
    content = encode_picture(picture, settings)
    write_whole(path.with_suffix(".json"), text.encode() + b"\n")
    write_whole(path, content)


def encode_picture(picture: Image.Image, settings: Settings) -> bytes:
    """A PNG file with its settings, the notice that it is generated, and a content credential.

    The credential is there where the extra `c2pa` is installed.
    """
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", f"AI generated; dynaip {dynaip.__version__}")
    chunks.add_itxt("XML:com.adobe.xmp", GENERATED_XMP)
    chunks.add_itxt("parameters", _readable(settings))
    chunks.add_itxt(KEY, json.dumps(settings.to_dict(), ensure_ascii=False))
    content = BytesIO()
    picture.save(content, "PNG", pnginfo=chunks)
    return sign_png(content.getvalue())


def read_settings(path: str | Path) -> Settings:
    """Reads what `save_picture` wrote, from the PNG or from the JSON.

    Raises:
        ValueError: The file is missing, or holds no settings.
    """
    path = Path(path)
    if path.suffix == ".json" and path.is_file():
        text = path.read_text(errors="replace")
    else:
        text = open_picture(path).info.get(KEY)
    if text is None:
        raise ValueError(f"{path} holds no settings; it was not made here, or was saved anew.")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The settings in {path} are damaged ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold the settings of a picture.")
    return Settings.from_dict(values)


def write_png(picture: Image.Image, path: Path) -> None:
    """Writes a picture without settings; see `write_whole`."""
    content = BytesIO()
    picture.save(content, "PNG")
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all; makes its folder where absent.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _readable(settings: Settings) -> str:
    """The settings as picture viewers show them: the prompt, then one line."""
    line = {
        "Steps": settings.steps,
        "Guidance": settings.guidance,
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model": settings.model,
        "Adapter": settings.adapter,
        "Branches": settings.branches,
        "References": "; ".join(subject.name for subject in settings.subjects),
    }
    return f"{settings.prompt}\n" + ", ".join(f"{k}: {v}" for k, v in line.items() if v)
