"""What experiments share: a base, adapters, instruments, and a folder for pictures."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from diffusers import FluxPipeline
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from dynaip.adapter.config import Branches
from dynaip.adapter.model import DynaIPAdapter
from dynaip.evaluation.ablation import Bench, Seen, ablation_row, differences
from dynaip.evaluation.figures import MEASURABLE
from dynaip.evaluation.generation import (
    FluxGenerator,
    Generator,
    PersonalGenerator,
    Request,
    Use,
    hash_base,
    hash_weights,
    make_pictures,
)
from dynaip.evaluation.miniature import Trial, adapter_trials, decoded, read, renders
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.truth.casting import InstanceFinder
from dynaip.evaluation.truth.references import SINGLE, conflict_trials
from dynaip.miniature.toyland import render
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

Row = dict[str, Any]


def as_text(picture: UInt8[ndarray, "y x 3"]) -> str:
    """A picture as PNG in base64, so that a row holds it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def about_adapter(row: Row) -> Row:
    """What a row says of its adapter and its pictures, for a row about several of its ways."""
    return {key: row[key] for key in ("variant", "base", "adapter", "pictures")}


Put = Callable[[Use], PersonalGenerator]
Drawn = tuple[UInt8[ndarray, "y x 3"], str]


class PerSubject(NamedTuple):
    """A method that is trained once per subject.

    Attributes:
        name: Of the method.
        word: The subject's name in prompts, before its category.
        settings: JSON values that say how it is trained.
        fit: Trains it: pictures of the subject with prompts, pictures of its class with prompts,
            and a folder for the run, to a pipeline that knows the subject.
    """

    name: str
    word: str
    settings: Mapping[str, Any]
    fit: Callable[[Sequence[Drawn], Sequence[Drawn], Path], FluxPipeline]


@runtime_checkable
class Maps(Protocol):
    """Attention of one pass, as `dynaip.analysis.attention_maps.AttentionMaps` holds it."""

    @property
    def reference(self) -> Mapping[Branches, Float[ndarray, "b s v y x"]]:
        """What the rows of each branch look at in the reference."""
        ...

    @property
    def picture(self) -> Float[ndarray, "b s rows columns"]:
        """How loud the subject is in each place of the picture."""
        ...


@runtime_checkable
class Look(Protocol):
    """Maps the attention of a finished picture; `picture_attention` beside `AttentionMaps`."""

    def __call__(
        self,
        personal: PersonalPipeline,
        picture: Image.Image,
        prompt: str,
        subjects: Sequence[Subject],
        *,
        noise: float,
        branches: Branches,
        seed: int,
    ) -> Maps:
        """One pass over the picture, with noise."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Laboratory:
    """Everything that experiments are made with.

    Attributes:
        pipe: The base, at its own picture size.
        model: Its folder, for the hash of its weights.
        adapters: Folders by the names that rows get. The first is the paper's own; experiments
            that take one adapter take that one.
        probe: Reads pictures.
        look: Maps attention.
        finder: Finds subjects, whoever they are; needed for several subjects only.
        variants: Folders of the ablation's adapters, all trained alike; the first is the paper's.
        intra: Folder of an adapter after stage 1, on intra-pairs alone.
        methods: That are trained per subject, to compare with.
        folder: Keeps the pictures.
        guidance: Of the sampler, by the prompt.
        count: Pictures of each way.
        calibration: Renders that tell which factors can be measured.
        seed: Of subjects, prompts and noise.
        steps: Of the sampler.
        batch_size: Pictures a call.
        progress: Called with the name of a set of pictures, its size, and how many more are done.
    """

    pipe: FluxPipeline
    model: Path
    adapters: Mapping[str, Path]
    probe: Probe
    look: Look
    folder: Path
    guidance: float
    variants: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    intra: Path | None = None
    finder: InstanceFinder | None = None
    methods: tuple[PerSubject, ...] = ()
    count: int = 128
    calibration: int = 512
    seed: int = 0
    steps: int = 20
    batch_size: int = 32
    progress: Callable[[str, int, int], Any] = lambda name, total, done: None

    @property
    def reference_size(self) -> int:
        """Side of a reference in pixels, the image encoder's."""
        return cast(Any, self.pipe.image_encoder).config.image_size

    @cached_property
    def trials(self) -> list[Trial]:
        """Held-out subjects, in references that disagree with their prompts."""
        return conflict_trials(self.count, self.seed)

    @cached_property
    def base(self) -> FluxGenerator:
        """The base by itself."""
        return FluxGenerator(
            self.pipe, weights=self._base_hash, steps=self.steps, guidance=self.guidance
        )

    @property
    def first(self) -> str:
        """Name of the adapter that single-adapter experiments are about."""
        return next(iter(self.adapters))

    @cached_property
    def _base_hash(self) -> str:
        return hash_base(self.model)

    @contextlib.contextmanager
    def attached(self, name: str) -> Iterator[tuple[PersonalPipeline, Put]]:
        """An adapter on the base, and what makes a generator of each way of using it."""
        path = self.adapters[name]
        adapter = DynaIPAdapter.from_pretrained(str(path)).eval()
        with adapter.to(self.pipe.device, self.pipe.dtype).attach(self.pipe) as personal:
            hashes = (self._base_hash, hash_weights(path))

            def put(use: Use) -> PersonalGenerator:
                return PersonalGenerator(
                    personal, weights=hashes, use=use, steps=self.steps, guidance=self.guidance
                )

            yield personal, put

    @cached_property
    def _perfect(self) -> Seen:
        """Perfect pictures, more than an experiment has: what the instruments make of them."""
        trials = adapter_trials(self.calibration, self.seed)
        pictures = decoded(self.pipe.vae, renders(trials, self.probe.config.size))
        return Seen(read(self.probe, trials, pictures), self.probe.energy(pictures))

    @cached_property
    def readable(self) -> frozenset[str]:
        """Factors that the probe reads well enough to be measured with it."""
        found = self._perfect.reading
        return frozenset(
            name
            for name in found.values
            if found.right(name)[found.counted(name)].mean() >= MEASURABLE
        )

    @cached_property
    def own_bench(self) -> Bench:
        """Where pictures of the trials are made and read."""
        return Bench(
            trials=self.trials,
            probe=self.probe,
            autoencoder=self.pipe.vae,
            folder=self.folder,
            readable=self.readable,
            usual=self._perfect.energies,
            reference_size=self.reference_size,
            batch_size=self.batch_size,
        )

    def bench(self, name: str, trials: Sequence[Trial] | None = None) -> Bench:
        """Where the pictures of an experiment are made and read; by default of `trials`."""
        asked = self.trials if trials is None else trials
        return dataclasses.replace(
            self.own_bench,
            trials=asked,
            on_pictures=lambda done: self.progress(name, len(asked), done),
        )

    def pictures(
        self, name: str, generator: Generator, requests: Sequence[Request]
    ) -> UInt8[ndarray, "b y x 3"]:
        """Pictures of other requests than the trials'; the missing ones are made."""
        return make_pictures(
            generator,
            requests,
            self.folder / name,
            batch_size=self.batch_size,
            on_pictures=lambda done: self.progress(name, len(requests), done),
        )

    @cached_property
    def base_seen(self) -> Seen:
        """The base's pictures of the trials."""
        bench = self.bench("base")
        return bench.see(bench.pictures("base", self.base))

    @cached_property
    def _method_seen(self) -> Seen:
        """The first adapter as the paper uses it: what all others are compared with."""
        bench = self.bench(self.first)
        with self.attached(self.first) as (_, put):
            return bench.see(bench.pictures(self.first, put(Use())))

    def base_row(self) -> Row:
        """The measures of the base, which sees no reference."""
        seen = self.base_seen
        return ablation_row("base", self.base.identity, seen, seen, self.own_bench)

    def reference_rows(self) -> Iterator[Row]:
        """The measures of systems of known worth: what a copy reaches, and what perfection."""
        size = self.probe.config.size
        for name, show in SINGLE.items():
            drawn = np.stack([render(show(trial), size).image for trial in self.trials])
            seen = self.own_bench.see(self.own_bench.restored(drawn))
            # Their retention is over the base's prompt following.
            about = {"reference system": name, **self.base.identity}
            yield ablation_row(name, about, seen, self.base_seen, self.own_bench)

    def rows(self, adapter: str, uses: Mapping[str, Use]) -> Iterator[Row]:
        """The measures of an adapter, used in each way, and how they differ from the method's."""
        return (row for row, _ in self.seen_rows(adapter, uses))

    def seen_rows(self, adapter: str, uses: Mapping[str, Use]) -> Iterator[tuple[Row, Seen]]:
        """`rows`, each with the pictures as the probe sees them."""
        base, method = self.base_seen, self._method_seen
        with self.attached(adapter) as (_, put):
            for name, use in uses.items():
                way, bench = put(use), self.bench(f"{adapter}, {name}")
                made = bench.see(bench.pictures(adapter, way))
                row = {
                    "variant": adapter,
                    **ablation_row(name, way.identity, made, base, self.own_bench),
                }
                if (adapter, use) != (self.first, Use()):
                    row["against_method"] = differences(made, method, self.own_bench)
                yield row, made
