"""How a picture was made: written into its PNG and into a JSON beside it, and read back."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from PIL import Image, PngImagePlugin

import dynaip
from dynaip.adapter import storage
from dynaip.adapter.attention import Overlap
from dynaip.adapter.config import Branches
from dynaip.adapter.storage import WEIGHTS, locate
from dynaip.pictures import open_picture
from dynaip.pipeline.credentials import SOURCE_TYPE, sign_png
from dynaip.pipeline.records import read_record

if TYPE_CHECKING:
    from dynaip.pipeline.subject import Subject

KEY = "dynaip"
GENERATED_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
SOFTWARE = "AI generated; dynaip"
# How the record of a mask that was painted in the browser begins; the mask itself follows.
PAINTED = "data:image/png;base64,"
PACKAGES = ("dynaip", "torch", "diffusers", "transformers")
# "published": those of other people's weights, where they differ in double and single blocks.
RecordedBranches = Literal[Branches, "published"]

# The least that a picture can be made with.
LEAST = {"seed": 0, "steps": 1, "width": 1, "height": 1, "image_guidance": 1}


@dataclasses.dataclass(frozen=True)
class ViewRecord:
    """A file that shows a subject.

    Attributes:
        name: Without its folders.
        sha256: Of its content.
    """

    name: str
    sha256: str


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
        mask_sha256: Of the mask's file, where it was one.
        start, end: Shares of the steps between which it was there.
        phrase: Words of the prompt that saw it; nothing where it had none.
        more_views: Its other files, where it had several views.
    """

    name: str
    sha256: str
    scale: float
    granularity: tuple[float, ...] | None
    coefficients: tuple[float, ...]
    mask: str | None = None
    mask_sha256: str | None = None
    start: float = 0.0
    end: float = 1.0
    phrase: str | None = None
    more_views: tuple[ViewRecord, ...] = ()

    @property
    def views(self) -> tuple[ViewRecord, ...]:
        """All files that it was read from."""
        return (ViewRecord(self.name, self.sha256), *self.more_views)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All that is needed to make a picture again.

    Attributes:
        prompt, seed, steps, guidance, width, height: Of this picture.
        branches: Rows that saw the references; see `RecordedBranches`.
        image_guidance: How far it went from the prompt's picture towards the references'; 1, also
            where older pictures do not tell, is a single pass.
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
    branches: RecordedBranches
    model: str
    adapter: str | None = None
    adapter_sha256: str | None = None
    image_guidance: float = 1.0
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
            ValueError: A field is missing, unknown, of another type or too small.
        """
        try:
            subjects = tuple(_subject_from(value) for value in values.get("subjects", ()))
            made = read_record(cls, {**values, "subjects": subjects})
            for name, least in LEAST.items():
                if getattr(made, name) < least:
                    raise TypeError(f"{name} is {getattr(made, name)}")
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"These are not the settings of a picture ({error}).") from error
        return made


def _subject_from(values: Any) -> SubjectRecord:
    if not isinstance(values, dict):
        raise TypeError(f"a subject is {values!r}")
    tuples = {
        name: None if values[name] is None else tuple(values[name])
        for name in ("granularity", "coefficients")
    }
    # Older pictures tell of one view only.
    more = tuple(read_record(ViewRecord, view) for view in values.get("more_views", ()))
    return read_record(SubjectRecord, {**values, **tuples, "more_views": more})


@dataclasses.dataclass(frozen=True)
class Origin:
    """What pictures are made with, as their settings name it.

    Attributes:
        model: A hub id, or the name of a local folder.
        adapter: The same; nothing where there is none.
        adapter_sha256: Of the adapter's weights file.
    """

    model: str
    adapter: str | None = None
    adapter_sha256: str | None = None

    @classmethod
    def read(cls, model: str | Path, adapter: str | Path | None = None) -> Origin:
        """Of a model and an adapter, folders or hub ids.

        Raises:
            ValueError: The adapter is not there.
        """
        if adapter is None:
            return cls(public_name(model))
        return cls(public_name(model), public_name(adapter), adapter_sha256(adapter))

    def describe(
        self, picture: Image.Image, subjects: Sequence[SubjectRecord] = (), **asked: Any
    ) -> Settings:
        """The settings of a picture.

        Args:
            picture: Its pixels.
            subjects: Its references; where there are none, neither the adapter nor image guidance
                had a part in it.
            **asked: The prompt, seed, steps, guidance, image guidance, branches and overlap, see
                `Settings`.
        """
        used = self if subjects else Origin(self.model)
        asked = asked if subjects else {**asked, "image_guidance": 1.0}
        return Settings(
            **dataclasses.asdict(used),
            **asked,
            width=picture.width,
            height=picture.height,
            subjects=tuple(subjects),
            versions=installed_versions(),
        )


@functools.cache
def installed_versions() -> Mapping[str, str]:
    """Versions of the packages that a picture depends on."""
    return {package: metadata.version(package) for package in PACKAGES}


def record_subjects(
    references: Sequence[Sequence[Path]], subjects: Sequence[Subject], masks: Sequence[str]
) -> Callable[[Sequence[Sequence[float]]], tuple[SubjectRecord, ...]]:
    """Reads what does not change from picture to picture, and takes the rest later.

    Args:
        references: The files of each subject, one for each of its views.
        subjects: As many.
        masks: Where each goes, in words or as a file's path; empty for everywhere.

    Returns:
        From the coefficients of each subject to the records.
    """
    files = [
        Path(mask) if _is_file(mask, subject) else None
        for mask, subject in zip(masks, subjects, strict=True)
    ]
    views = [[ViewRecord(each.name, file_sha256(each)) for each in own] for own in references]
    fixed = [
        {
            "name": first.name,
            "sha256": first.sha256,
            "more_views": tuple(more),
            "mask": file.name if file else mask or None,
            "mask_sha256": file_sha256(file) if file else None,
        }
        for (first, *more), mask, file in zip(views, masks, files, strict=True)
    ]

    def record(coefficients: Sequence[Sequence[float]]) -> tuple[SubjectRecord, ...]:
        rows = zip(subjects, coefficients, fixed, strict=True)
        return tuple(record_subject(subject, weights, **known) for subject, weights, known in rows)

    return record


def _is_file(mask: str, subject: Subject) -> bool:
    return isinstance(subject.mask, Image.Image) and not mask.startswith(PAINTED)


def record_subject(subject: Subject, coefficients: Sequence[float], **known: Any) -> SubjectRecord:
    """What settings tell of a subject.

    Args:
        subject: As it was given to the pipeline.
        coefficients: The weights of low, mid and high that made it.
        **known: The names and hashes of its files, and its place, see `SubjectRecord`.
    """
    return SubjectRecord(
        **known,
        scale=cast(float, subject.scale),
        start=subject.start,
        end=subject.end,
        phrase=subject.phrase,
        granularity=tuple(subject.granularity) if subject.granularity else None,
        coefficients=tuple(round(value, 4) for value in coefficients),
    )


def adapter_sha256(adapter: str | Path) -> str:
    """SHA-256 of an adapter's weights, which tells adapters apart whatever their name is.

    Other people's are a file; our own are a folder or a hub id.

    Raises:
        ValueError: There is no such adapter.
    """
    published = Path(adapter).is_file()
    return file_sha256(Path(adapter) if published else locate(adapter) / WEIGHTS)


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
    chunks = _notice()
    chunks.add_itxt("parameters", _readable(settings))
    chunks.add_itxt(KEY, json.dumps(settings.to_dict(), ensure_ascii=False))
    content = BytesIO()
    picture.save(content, "PNG", pnginfo=chunks)
    return sign_png(content.getvalue())


def _notice() -> PngImagePlugin.PngInfo:
    """Metadata that says that a model made it."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Software", f"{SOFTWARE} {dynaip.__version__}")
    chunks.add_itxt("XML:com.adobe.xmp", GENERATED_XMP)
    return chunks


def read_settings(path: str | Path) -> Settings:
    """Reads what `save_picture` wrote, from the PNG or from the JSON.

    Raises:
        ValueError: The file is missing, or holds no settings.
    """
    path = Path(path)
    if path.suffix == ".json" and path.is_file():
        text = path.read_text(errors="replace")
    else:
        told = open_picture(path).info
        text = told.get(KEY)
        if text is None and str(told.get("Software")).startswith(SOFTWARE):
            raise ValueError(
                f"{path} is a sheet of several pictures that dynaip made; it holds no settings."
            )
    if text is None:
        raise ValueError(
            f"{path} holds no settings: it was made by other software, saved from Python without "
            "them, or saved anew."
        )
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The settings in {path} are damaged ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} does not hold the settings of a picture.")
    return Settings.from_dict(values)


def write_png(picture: Image.Image, path: Path, *, generated: bool = False) -> None:
    """Writes a picture without settings, with the notice if it is generated; see `write_whole`."""
    content = BytesIO()
    picture.save(content, "PNG", pnginfo=_notice() if generated else None)
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all; makes its folder where absent.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.replace(path, lambda partial: partial.write_bytes(content))


def _readable(settings: Settings) -> str:
    """The settings as picture viewers show them: the prompt, then one line."""
    line = {
        "Steps": settings.steps,
        "Guidance": settings.guidance,
        "Image guidance": settings.image_guidance if settings.image_guidance != 1 else None,
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model": settings.model,
        "Adapter": settings.adapter,
        "Branches": settings.branches,
        "References": "; ".join(
            view.name for subject in settings.subjects for view in subject.views
        ),
    }
    return f"{settings.prompt}\n" + ", ".join(
        f"{k}: {v}" for k, v in line.items() if v not in (None, "")
    )
