"""Pictures for a manifest: resumable, in shards, each with its settings inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import FluxPipeline
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dynaip.adapter.attention import Overlap
from dynaip.adapter.config import Branches
from dynaip.adapter.model import ImagePromptAdapter
from dynaip.evaluation.benchmarks.manifest import Case
from dynaip.evaluation.benchmarks.results import Method, Results, Wanted
from dynaip.evaluation.generation import hash_base
from dynaip.pipeline.arguments import default_arguments
from dynaip.pipeline.flux import (
    Conditioning,
    PersonalPipeline,
    check_attended,
    recorded_branches,
)
from dynaip.pipeline.phrases import UnsaidPhraseError, phrase_rows
from dynaip.pipeline.placing import write_box
from dynaip.pipeline.provenance import (
    Origin,
    Settings,
    record_subjects,
    save_picture,
)
from dynaip.pipeline.subject import Subject

# What a run without an adapter has nothing to do with.
OF_REFERENCES = {"branches", "overlap", "scale", "boxes", "own_words", "image_guidance"}
# Settings that came later, and what runs from before had: those go on where nothing else is asked.
DEFAULTS = {"image_guidance": 1.0, "own_words": False}

Painter = Callable[[Case, int], tuple[Image.Image, Settings]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """How the pictures of a run are made.

    Attributes:
        model, adapter: Folders or hub ids; without an adapter the base answers, from the prompt.
        steps, guidance: Of the sampler.
        image_guidance: How far from the prompt's picture to the references'; 1 is a single pass.
        branches: Rows that see the references; `"image"` is Dynamic Decoupling. By default those
            that the adapter was made for, and both where words see subjects.
        overlap: Where boxes meet.
        scale: The paper's lambda.
        boxes: Whether the manifest's boxes are used as masks.
        own_words: Whether of the text rows those of a subject's name see it, and no others. A
            case whose prompt does not name every subject is drawn as if this were off.
        size: Side of the pictures in pixels; by default the model's.
    """

    model: str
    adapter: str | None = None
    steps: int = 20
    guidance: float
    image_guidance: float = 1.0
    branches: Branches | None = None
    overlap: Overlap = "sum"
    scale: float = 1.0
    boxes: bool = True
    own_words: bool = False
    size: int | None = None

    def method(self, name: str, adapter: ImagePromptAdapter | None) -> Method:
        """The run as a method of a table, its checkpoints named by their hashes.

        Args:
            name: What tables call it.
            adapter: What is in the folder `adapter`.

        Raises:
            ValueError: A folder has no weights, or an adapter cannot be had.
        """
        origin = Origin.read(self.model, self.adapter)
        branches = recorded_branches(adapter, self.own_words, self.branches)
        known = {"model": origin.model, "adapter": origin.adapter, "branches": branches}
        settings = dataclasses.asdict(self) | known
        settings = {k: v for k, v in settings.items() if k not in DEFAULTS or v != DEFAULTS[k]}
        if self.adapter is None:
            settings = {k: v for k, v in settings.items() if k not in OF_REFERENCES}
        weights = {}
        if Path(self.model).is_dir():
            weights["base"] = hash_base(Path(self.model))
        if origin.adapter_sha256:
            weights["adapter"] = origin.adapter_sha256
        return Method(name=name, settings=settings, weights=weights)


def paint_missing(
    results: Results,
    paint: Painter,
    *,
    shard: tuple[int, int] = (0, 1),
    on_picture: Callable[[Wanted], Any] | None = None,
) -> int:
    """Makes the pictures that are not there yet; each appears whole or not at all.

    Args:
        results: The result folder.
        paint: Makes the picture of a case and a seed.
        shard: `(i, n)`: only every n-th of the manifest's tuples, from the i-th on. Shards are of
            all pictures, not of the missing ones, so processes that start apart do not meet.
        on_picture: Called after each.

    Returns:
        How many were made.
    """
    made = 0
    for wanted in in_shard(results, shard):
        if wanted.path.is_file():
            continue
        picture, settings = paint(wanted.case, wanted.case.seeds[wanted.picture])
        save_picture(picture, wanted.path, settings)
        made += 1
        if on_picture is not None:
            on_picture(wanted)
    return made


def in_shard(results: Results, shard: tuple[int, int]) -> list[Wanted]:
    """The pictures of a shard. Cases that share their subjects stay together, and are read once.

    Raises:
        ValueError: Not 0 <= i < n.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"A shard is i/n with 0 <= i < n, got {index}/{count}.")
    numbers: dict[Any, int] = {}
    return [
        wanted
        for wanted in results.wanted()
        if numbers.setdefault(wanted.case.subjects, len(numbers)) % count == index
    ]


def cut_prompts(pipe: FluxPipeline, cases: Iterable[Case]) -> list[Case]:
    """The cases whose prompts are longer than the model reads; diffusers cuts off their ends."""
    flux = cast(Any, pipe)
    # The first text encoder gives one vector only; the second's tokens are what is attended to.
    limit = default_arguments(pipe)["max_sequence_length"]
    return [
        case
        for case in cases
        if len(flux.tokenizer_2(case.prompt, verbose=False).input_ids) > limit
    ]


def own_rows(pipe: FluxPipeline, case: Case) -> Float[Tensor, "s t"]:
    """The text rows of each subject's name, see `phrase_rows`.

    Raises:
        UnsaidPhraseError: The prompt does not name every subject.
        ValueError: The tokenizer does not tell where its tokens are.
    """
    names = [subject.name for subject in case.subjects]
    return phrase_rows(pipe, case.prompt, names, default_arguments(pipe)["max_sequence_length"])


def unnamed(pipe: FluxPipeline, cases: Iterable[Case]) -> dict[str, str]:
    """The cases whose prompts do not name every subject, by their ids, each with the reason.

    Raises:
        ValueError: The tokenizer does not tell where its tokens are.
    """
    found = {}
    for case in cases:
        try:
            own_rows(pipe, case)
        except UnsaidPhraseError as error:
            found[case.id] = str(error)
    return found


class FluxPainter:
    """A FLUX pipeline, alone or with an adapter, that answers the cases of a manifest.

    The subjects of a case are read, encoded and projected once, and used again for as long as the
    cases that follow have the same ones.

    Args:
        pipe: The pipeline, or the pipeline with the adapter attached.
        way: How.

    Raises:
        ValueError: The adapter has no such rows to choose.
    """

    def __init__(self, pipe: FluxPipeline | PersonalPipeline, way: Way) -> None:
        self.pipe, self.way = pipe, way
        inner = cast(FluxPipeline, pipe.pipe if isinstance(pipe, PersonalPipeline) else pipe)
        if isinstance(pipe, PersonalPipeline):
            try:
                check_attended(pipe.adapter, way.own_words, way.branches)
            except ValueError as error:
                words = "own words and " if way.own_words else ""
                told = f"This adapter cannot draw with these {words}branches: {error}"
                raise ValueError(told) from error
        self.arguments: dict[str, Any] = {
            **default_arguments(inner),
            "num_inference_steps": way.steps,
            "guidance_scale": way.guidance,
        }
        if way.size is not None:
            self.arguments |= {"height": way.size, "width": way.size}
        side = 2 * inner.vae_scale_factor
        self.grid = (self.arguments["height"] // side, self.arguments["width"] // side)
        self._origin = Origin.read(way.model, way.adapter)
        self._read: tuple[Any, Any, Any] = (None, None, None)

    def __call__(self, case: Case, seed: int) -> tuple[Image.Image, Settings]:
        """The picture of a case and a seed, with its settings.

        Raises:
            ValueError: A reference cannot be used; the sentence names the case.
        """
        arguments = {**self.arguments, "generator": torch.Generator().manual_seed(seed)}
        records, adapter, named = (), None, None
        if isinstance(self.pipe, PersonalPipeline):
            adapter = self.pipe.adapter
            try:
                conditioning, record = self._subjects(self.pipe, case)
            except ValueError as error:
                raise ValueError(f"Case {case.id}: {error}") from error
            named = self._named(self.pipe, case, conditioning)
            images, coefficients = self.pipe(
                case.prompt,
                subjects=named or conditioning,
                branches=self.way.branches,
                image_guidance_scale=self.way.image_guidance,
                return_dict=False,
                **arguments,
            )
            records = record(coefficients[0].tolist())
            if named:
                records = tuple(
                    dataclasses.replace(own, phrase=subject.name)
                    for own, subject in zip(records, case.subjects, strict=True)
                )
        else:
            images = cast(Any, self.pipe)(case.prompt, **arguments).images
        return images[0], self._origin.describe(
            images[0],
            records,
            prompt=case.prompt,
            seed=seed,
            steps=self.way.steps,
            guidance=self.way.guidance,
            image_guidance=self.way.image_guidance,
            branches=recorded_branches(adapter, named is not None, self.way.branches),
            overlap=self.way.overlap,
        )

    def _named(
        self, personal: PersonalPipeline, case: Case, conditioning: Conditioning
    ) -> Conditioning | None:
        """The subjects as their names in the prompt see them; nothing where no words do."""
        if not self.way.own_words:
            return None
        try:
            rows = own_rows(cast(FluxPipeline, personal.pipe), case)
        except UnsaidPhraseError:
            return None
        prompt = conditioning.prompt.with_text_mask(rows[None])
        return conditioning._replace(prompt=prompt, words=case.prompt)

    def _subjects(self, personal: PersonalPipeline, case: Case) -> tuple[Conditioning, Any]:
        known, *kept = self._read
        if known != case.subjects:
            boxes = [each.box if self.way.boxes else None for each in case.subjects]
            subjects = [
                Subject(list(each.references), mask=box, scale=self.way.scale)
                for each, box in zip(case.subjects, boxes, strict=True)
            ]
            words = [write_box(box) if box else "" for box in boxes]
            files = [each.references for each in case.subjects]
            kept = [
                personal.encode(subjects, self.grid, self.way.overlap),
                record_subjects(files, subjects, words),
            ]
            self._read = (case.subjects, *kept)
        return kept[0], kept[1]
