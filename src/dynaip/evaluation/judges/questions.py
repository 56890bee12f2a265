"""What a judge is asked about a result folder: one question per picture, measure and subject."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.evaluation.benchmarks.manifest import Case
from dynaip.evaluation.benchmarks.results import Results
from dynaip.evaluation.judges.protocols import Protocol, encode_picture
from dynaip.evaluation.judges.rubrics import SCALE, Rubric, Rubrics
from dynaip.evaluation.scores import ScoreRow, Status, Unit
from dynaip.pictures import open_picture

Message = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """Who is asked.

    Attributes:
        model: Its name at the endpoint.
        revision: Of its weights and server, as far as known. Another one is another judge.
    """

    model: str
    revision: str = ""

    @property
    def name(self) -> str:
        """In tables and files."""
        return f"{self.model}@{self.revision}" if self.revision else self.model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One asking.

    Attributes:
        case, picture, measure, subject, repeat: What is scored; see `ScoreRow`.
        rubric: What the judge is told.
        text: The rubric, its blanks filled in.
        pictures: Files or pictures, in the order in which they are shown.
        closing: Text after the pictures.
    """

    case: str
    picture: int
    measure: str
    rubric: Rubric
    text: str
    pictures: tuple[Path | Image.Image, ...]
    subject: int | None = None
    repeat: int = 0
    closing: str = ""

    def unit(self, judge: Judge, protocol: Protocol) -> Unit:
        """What the answer will be a score of."""
        return Unit(
            self.case,
            self.picture,
            self.measure,
            self.subject,
            judge.name,
            protocol.name,
            self.repeat,
        )

    def messages(self, protocol: Protocol) -> list[Message]:
        """In OpenAI's form; pictures are read, and encoded, here.

        Raises:
            PictureError: A picture cannot be read.
        """
        # DreamBench++ asks so; left out, OpenAI's models choose how well they look.
        detail = {"detail": "high"} if protocol.official else {}
        urls = (encode_picture(open_picture(each), protocol.encoding) for each in self.pictures)
        shown = [{"type": "image_url", "image_url": {"url": url, **detail}} for url in urls]
        closing = [{"type": "text", "text": self.closing}] if self.closing else []
        if not self.rubric.assistant:
            told = [{"type": "text", "text": self.text}]
            return [{"role": "user", "content": told + shown + closing}]
        return [
            {"role": "user", "content": [{"type": "text", "text": self.text}]},
            {"role": "assistant", "content": [{"type": "text", "text": self.rubric.assistant}]},
            {"role": "user", "content": closing + shown},
        ]

    def key(self, judge: Judge, protocol: Protocol, messages: list[Message]) -> str:
        """Differs whenever anything that is sent, or who answers it, does."""
        asked = {
            "judge": dataclasses.asdict(judge),
            "protocol": dataclasses.asdict(protocol),
            "rubric": self.rubric.sha256,
            "messages": messages,
            "repeat": self.repeat,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def row(
        self,
        judge: Judge,
        protocol: Protocol,
        status: Status,
        score: float | None,
        *,
        attempt: int,
        key: str,
        **details: Any,
    ) -> ScoreRow:
        """One attempt as a row of scores."""
        return ScoreRow(
            **self.unit(judge, protocol)._asdict(),
            status=status,
            score=score,
            scale=SCALE,
            attempt=attempt,
            key=key,
            details={"rubric": self.rubric.sha256[:16], **details},
        )


def ask_about(results: Results, protocol: Protocol, rubrics: Rubrics) -> Iterator[Question]:
    """Every question about the pictures that are there.

    Concept preservation is asked for each subject by itself, against its first reference; prompt
    following once, with the full prompt. Questions of one reference come one after the other, so a
    server that keeps prefixes reads the reference once.
    """
    pictures = results.pictures()
    for repeat in range(protocol.repeats):
        for case, number, path in pictures:
            for index, subject in enumerate(case.subjects):
                rubric, text = _concept_rubric(case, index, rubrics)
                yield Question(
                    case=case.id,
                    picture=number,
                    measure="cp",
                    subject=index,
                    repeat=repeat,
                    rubric=rubric,
                    text=text,
                    pictures=(subject.references[0], path),
                )
        for case, number, path in pictures:
            yield prompt_question(case.id, number, case.prompt, path, rubrics["pf"], repeat)


def prompt_question(
    case: str, number: int, prompt: str, picture: Path, rubric: Rubric, repeat: int = 0
) -> Question:
    """Whether the picture shows what the prompt says."""
    # Ours has a blank for the prompt; the official rubric is followed by it.
    official = rubric.source != "dynaip"
    return Question(
        case=case,
        picture=number,
        measure="pf",
        repeat=repeat,
        rubric=rubric,
        text=rubric.user if official else rubric.fill(prompt=prompt),
        pictures=(picture,),
        closing=prompt if official else "",
    )


def _concept_rubric(case: Case, index: int, rubrics: Rubrics) -> tuple[Rubric, str]:
    subject = case.subjects[index]
    if subject.kind == "style":
        rubric = rubrics["cp-style"]
    else:
        rubric = rubrics["cp" if len(case.subjects) == 1 else "cp-several"]
    return rubric, rubric.fill(name=subject.name, place=_place(case, index))


def _place(case: Case, index: int) -> str:
    """Where the prompt puts a subject, in words; nothing where subjects are not side by side."""
    boxes = [subject.box for subject in case.subjects if subject.box is not None]
    places = {2: ("left", "right"), 3: ("left", "middle", "right")}.get(len(boxes))
    # Clothes that are worn overlap who wears them, though their left sides may be in order.
    apart = all(box[2] <= other[0] for box, other in itertools.pairwise(boxes))
    if places is None or len(boxes) < len(case.subjects) or not apart:
        return ""
    return f", on the {places[index]}"
