"""The table of methods (Table 1) in miniature: text only, adapters, and training per subject."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynaip.evaluation.ablation import Bench, Seen, ablation_row, differences
from dynaip.evaluation.experiments.laboratory import Laboratory, PerSubject, Row
from dynaip.evaluation.generation import GUIDED, FluxGenerator, Request, Use
from dynaip.evaluation.miniature import PROMPTED, Trial
from dynaip.miniature.toyland import Spec, caption, render, sample_spec, segment, vary
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Subject

STREAM = 17
VIEWS = 5
PROMPTS = 4
TEXT = "text only"
# Pictures of the class that the base makes for methods that want some.
OTHERS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A held-out subject that every method gets to know.

    Attributes:
        views: Pictures of it; an adapter sees the first, cut out on white.
        trials: New pictures of it that are asked for; prompts name its category and no looks.
    """

    views: tuple[Spec, ...]
    trials: tuple[Trial, ...]

    @classmethod
    def draw(cls, seed: int, index: int) -> Case:
        """Subject `index` of a seed."""
        rng = np.random.default_rng([STREAM, seed, index])
        first = sample_spec(rng, split="test")
        views = (first, *(vary(first, rng) for _ in range(VIEWS - 1)))
        trials = []
        for _ in range(PROMPTS):
            target = vary(first, rng)
            prompt = caption(target, rng, name=(*PROMPTED, "category"))
            noise = int(rng.integers(2**31))
            trials.append(Trial(target=target, prompt=prompt, seed=noise, source=first))
        return cls(views=views, trials=tuple(trials))

    @property
    def category(self) -> str:
        """What it is called in prompts."""
        return self.views[0].actors[0].concept.category


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Measures of each method, less the first adapter's, and seconds that a subject costs it.

    An adapter is used as the paper uses it, and with image guidance.
    """
    subjects = max(1, laboratory.count // PROMPTS)
    cases = [Case.draw(laboratory.seed, index) for index in range(subjects)]
    trials = [trial for case in cases for trial in case.trials]
    bench = laboratory.bench("methods", trials)
    made: dict[str, Seen] = {}
    about: dict[str, Row] = {}

    def make(name: str, way: Any) -> None:
        shown = laboratory.bench(name, trials)
        made[name] = shown.see(shown.pictures("methods", way))
        about[name] = {**way.identity, "subjects": subjects}

    make(TEXT, laboratory.base)
    about[TEXT]["seconds_per_subject"] = 0.0
    for name in laboratory.adapters:
        with laboratory.attached(name) as (personal, put):
            seconds = _encoding_seconds(laboratory, personal, cases)
            for label, use in ((name, Use()), (f"{name}, guided", GUIDED)):
                make(label, put(use))
                about[label]["seconds_per_subject"] = seconds
    for method in laboratory.methods:
        way = FittedGenerator(laboratory, method, cases, bench)
        make(method.name, way)
        about[method.name]["seconds_per_subject"] = way.seconds()
    first = made[laboratory.first]
    for name, seen in made.items():
        row = ablation_row(name, about[name], seen, made[TEXT], bench)
        if name != laboratory.first:
            row["against_method"] = differences(seen, first, bench)
        yield row


def _encoding_seconds(
    laboratory: Laboratory, personal: PersonalPipeline, cases: Sequence[Case]
) -> float:
    """Median over the subjects of what an adapter needs to get to know one."""
    size = laboratory.reference_size
    seconds = []
    for case in (cases[0], *cases):  # the first time loads what later times have
        subject = Subject(Image.fromarray(segment(case.views[0], size=size)))
        begun = time.perf_counter()
        personal.encode([subject])
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])


class FittedGenerator:
    """Fits a subject when its first picture is asked for.

    Args:
        laboratory: Its base is what is fitted.
        method: How.
        cases: The subjects.
        bench: Where pictures, and the runs of the fits beside them, are kept.
    """

    def __init__(
        self, laboratory: Laboratory, method: PerSubject, cases: Sequence[Case], bench: Bench
    ) -> None:
        self.laboratory, self.method = laboratory, method
        self.cases = {
            trial.seed: index for index, case in enumerate(cases) for trial in case.trials
        }
        self.subjects = cases
        self.identity: dict[str, Any] = {
            **laboratory.base.identity,
            "method": method.name,
            "views": VIEWS,
            "subjects": laboratory.seed,
            **method.settings,
        }
        # A fit is of one base: another one's starts anew, beside it.
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        self.folder = bench.folder / "fits" / f"{method.name}-{digest[:16]}"

    def __call__(self, requests: Sequence[Request]) -> UInt8[np.ndarray, "b y x 3"]:
        """One picture per request, of the subject that its trial is about."""
        pictures: dict[int, Any] = {}
        for index in dict.fromkeys(self.cases[request.seed] for request in requests):
            rows = [row for row, r in enumerate(requests) if self.cases[r.seed] == index]
            generator = self._fitted(index)
            asked = [self._renamed(requests[row], self.subjects[index]) for row in rows]
            pictures |= dict(zip(rows, generator(asked), strict=True))
        return np.stack([pictures[row] for row in range(len(requests))])

    def seconds(self) -> float | None:
        """Median time of a fit; nothing where none is known."""
        files = (self._seconds(index) for index in range(len(self.subjects)))
        known = [json.loads(path.read_text()) for path in files if path.is_file()]
        return statistics.median(known) if known else None

    def _seconds(self, index: int) -> Path:
        return self.folder / str(index) / "seconds.json"

    def _fitted(self, index: int) -> FluxGenerator:
        case, folder = self.subjects[index], self.folder / str(index)
        size = self.laboratory.pipe.vae.config.sample_size
        rng = np.random.default_rng([STREAM, self.laboratory.seed, index, 1])
        views = [(render(spec, size).image, self._words(spec, rng, case)) for spec in case.views]
        whole, others = not folder.exists(), self._others(case, rng)
        begun = time.perf_counter()
        pipe = self.method.fit(views, others, folder)
        # What is left of one that was stopped says nothing of how long a fit takes.
        if whole:
            self._seconds(index).write_text(json.dumps(time.perf_counter() - begun))
        settings = {"steps": self.laboratory.steps, "guidance": self.laboratory.guidance}
        return FluxGenerator(pipe, weights="fitted", **settings)

    def _others(self, case: Case, rng: np.random.Generator) -> list[tuple[np.ndarray, str]]:
        """Pictures that the base makes of the class."""
        specs = [
            sample_spec(rng, concepts=[case.views[0].actors[0].concept]) for _ in range(OTHERS)
        ]
        prompts = [caption(spec, rng, name=(*PROMPTED, "category")) for spec in specs]
        requests = [Request(prompt=p, seed=int(rng.integers(2**31))) for p in prompts]
        made = self.laboratory.pictures("class", self.laboratory.base, requests)
        return list(zip(made, prompts, strict=True))

    def _words(self, spec: Spec, rng: np.random.Generator, case: Case) -> str:
        prompt = caption(spec, rng, name=(*PROMPTED, "category"))
        return with_word(prompt, case.category, self.method.word)

    def _renamed(self, request: Request, case: Case) -> Request:
        named = with_word(request.prompt, case.category, self.method.word)
        return dataclasses.replace(request, prompt=named, references=(), phrases=())


def with_word(prompt: str, category: str, word: str) -> str:
    """A prompt with a subject's own word before its category."""
    return re.sub(rf"\b{category}\b", f"{word} {category}", prompt, count=1)
