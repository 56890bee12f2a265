"""Pictures to be measured: what is asked for, who makes them, and where they wait."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import UInt8
from PIL import Image

from dynaip.adapter.attention import Overlap
from dynaip.adapter.config import Branches
from dynaip.bundle import ADAPTERS
from dynaip.pipeline.arguments import default_arguments
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.provenance import write_png
from dynaip.pipeline.subject import Subject

# Merges of a tokenizer, and what sentencepiece writes.
VOCABULARIES = (".txt", ".model")
HASHED = (".safetensors", ".json", *VOCABULARIES)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One picture that is asked for.

    Attributes:
        prompt: In words.
        seed: Of its noise, whatever else is in the batch.
        references: The subjects, each cut out on white.
        boxes: Where each goes, (left, top, right, bottom) in fractions of the picture; empty for
            everywhere.
        phrases: The words by which the prompt names each; empty where nobody asks for own words.
    """

    prompt: str
    seed: int
    references: tuple[UInt8[np.ndarray, "y x 3"], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    phrases: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Differs whenever another picture is asked for."""
        asked = [self.prompt, self.seed, self.boxes, self.phrases]
        digest = hashlib.sha256(json.dumps(asked).encode())
        for reference in self.references:
            digest.update(str(reference.shape).encode() + reference.tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """How an adapter is used: what can be changed without training.

    Attributes:
        branches: Rows that see the references; `"image"` is Dynamic Decoupling.
        scale: The paper's lambda.
        granularity: Weights of the levels; nothing lets the router decide.
        overlap: Where subjects meet.
        own_words: Whether text rows see a subject only where the request's phrase names it.
        image_guidance: How far from the prompt's picture to the reference's; 1 is a single pass.
    """

    branches: Branches = "image"
    scale: float = 1.0
    granularity: tuple[float, float, float] | None = None
    overlap: Overlap = "sum"
    own_words: bool = False
    image_guidance: float = 1.0

    def __post_init__(self) -> None:
        """Refuses words that could not see a reference.

        Raises:
            ValueError: `own_words` with `"image"`, where no text row does.
        """
        if self.own_words and self.branches == "image":
            raise ValueError("own_words is about text rows; use branches 'both' or 'text'.")


OWN_WORDS = Use(branches="both", own_words=True)
GUIDED = Use(image_guidance=3.0)


@runtime_checkable
class Generator(Protocol):
    """Whatever makes pictures: a pipeline, an adapter on it, or a renderer that knows the truth."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values that say what makes the pictures: weights and settings."""
        ...

    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "b y x 3"]:
        """One picture per request."""
        ...


class FluxGenerator:
    """A FLUX pipeline by itself; references are not looked at.

    Args:
        pipe: The pipeline.
        weights: Hash of its weights and configs, see `hash_base`.
        steps: Sampling steps.
        guidance: Guidance scale.
    """

    def __init__(self, pipe: FluxPipeline, *, weights: str, steps: int, guidance: float) -> None:
        self.pipe, self.steps, self.guidance = pipe, steps, guidance
        self.identity: dict[str, Any] = {"base": weights, "steps": steps, "guidance": guidance}
        pipe.set_progress_bar_config(disable=True)

    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "b y x 3"]:
        """One picture per request."""
        return self._run(self.pipe, requests)

    def _run(
        self, pipe: Callable[..., Any], requests: Sequence[Request], **arguments: Any
    ) -> UInt8[np.ndarray, "b y x 3"]:
        pictures = pipe(
            [request.prompt for request in requests],
            **default_arguments(self.pipe),
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            generator=[torch.Generator().manual_seed(request.seed) for request in requests],
            output_type="np",
            **arguments,
        ).images
        return (pictures * 255).round().astype(np.uint8)


class PersonalGenerator(FluxGenerator):
    """A FLUX pipeline with an adapter; a call's requests have equally many references.

    Args:
        personal: The pipeline, adapter attached.
        weights: Hashes of the pipeline and the adapter, see `hash_base` and `hash_weights`.
        use: How the adapter is used.
        steps: Sampling steps.
        guidance: Guidance scale.
    """

    def __init__(
        self,
        personal: PersonalPipeline,
        *,
        weights: tuple[str, str],
        steps: int,
        guidance: float,
        use: Use | None = None,
    ) -> None:
        pipe = cast(FluxPipeline, personal.pipe)
        super().__init__(pipe, weights=weights[0], steps=steps, guidance=guidance)
        self.personal, self.use = personal, use or Use()
        self.identity |= {"adapter": weights[1], **dataclasses.asdict(self.use)}

    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "b y x 3"]:
        """One picture per request, of its references."""
        return self._run(
            self.personal,
            requests,
            subjects=[self._subjects(request) for request in requests],
            branches=self.use.branches,
            overlap=self.use.overlap,
            image_guidance_scale=self.use.image_guidance,
        )

    def _subjects(self, request: Request) -> list[Subject]:
        nothing = (None,) * len(request.references)
        phrases = request.phrases if self.use.own_words else nothing
        if len(phrases) != len(nothing):
            raise ValueError(
                f"The request {request.prompt!r} has {len(nothing)} references and {len(phrases)} "
                "phrases; for own words it needs one for each."
            )
        return [
            Subject(
                Image.fromarray(reference),
                mask=box,
                scale=self.use.scale,
                granularity=self.use.granularity,
                phrase=phrase,
            )
            for reference, box, phrase in zip(
                request.references, request.boxes or nothing, phrases, strict=True
            )
        ]


def make_pictures(
    generator: Generator,
    requests: Sequence[Request],
    folder: Path,
    *,
    batch_size: int = 32,
    on_pictures: Callable[[int], Any] | None = None,
) -> UInt8[np.ndarray, "b y x 3"]:
    """Makes the pictures that are not in `folder` yet, and returns all.

    A picture's file is named after what makes it and what is asked for, so a run that was stopped
    goes on where it was, and one with other weights, configs or settings starts anew beside it.

    Args:
        generator: Who makes them.
        requests: What is asked for.
        folder: Where they wait, as PNG files.
        batch_size: Pictures a call.
        on_pictures: Called with how many more are done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = json.dumps(generator.identity, sort_keys=True)
    paths = [
        folder / f"{index:05d}-{_digest(identity, request)}.png"
        for index, request in enumerate(requests)
    ]
    missing = [index for index, path in enumerate(paths) if not path.is_file()]
    if on_pictures is not None:
        on_pictures(len(paths) - len(missing))
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        pictures = generator([requests[index] for index in batch])
        for index, picture in zip(batch, pictures, strict=True):
            write_png(Image.fromarray(picture), paths[index])
        if on_pictures is not None:
            on_pictures(len(batch))
    return np.stack([_load(path) for path in paths])


def hash_weights(folder: Path) -> str:
    """SHA-256 of weights, configs and vocabularies below a folder, shortened: which checkpoint.

    Configs (JSON) say how the weights are used, vocabularies what a text is; with another, it is
    another.

    Raises:
        ValueError: There are no safetensors.
    """
    return _hash_files(folder, folder.rglob("*"))


def hash_base(folder: Path) -> str:
    """The same of a pipeline's folder: its index and its parts, less the folders in `ADAPTERS`.

    Parts without weights count too: the scheduler's config, the tokenizers.

    Raises:
        ValueError: There are no safetensors in its parts.
    """
    parts = [part for part in folder.iterdir() if part.name not in ADAPTERS]
    below = [file for part in parts for file in part.rglob("*")]
    return _hash_files(folder, [folder / "model_index.json", *below])


def _hash_files(folder: Path, found: Iterable[Path]) -> str:
    """The hash of those of the files that say what a model does."""
    files = sorted(f for f in found if f.suffix in HASHED and f.is_file())
    if not any(file.suffix == ".safetensors" for file in files):
        raise ValueError(f"There are no weights below {folder}; check the path.")
    digest = hashlib.sha256()
    for file in files:
        digest.update(_hash_file(file))
    return digest.hexdigest()[:16]


def _hash_file(file: Path) -> bytes:
    """Of what a file says: the same weights saved again have their header in another order."""
    if file.suffix in VOCABULARIES:
        return hashlib.sha256(file.read_bytes()).digest()
    with file.open("rb") as stream:
        length = file.stat().st_size
        if file.suffix == ".safetensors":
            length = min(length, int.from_bytes(stream.read(8), "little"))
        try:
            said = json.dumps(json.loads(stream.read(length)), sort_keys=True)
        except ValueError as error:
            raise ValueError(f"{file} is damaged; get it again.") from error
        # Whatever comes after the header are the tensors.
        data = hashlib.file_digest(stream, "sha256").digest()
    return hashlib.sha256(said.encode() + data).digest()


def _digest(identity: str, request: Request) -> str:
    return hashlib.sha256((identity + request.fingerprint()).encode()).hexdigest()[:16]


def _load(path: Path) -> UInt8[np.ndarray, "y x 3"]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
