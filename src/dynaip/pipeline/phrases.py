"""Where a prompt names its subjects: phrases, from words to T5's tokens.

The paper's Equation 9 gives each subject places in the picture. This does the same in the prompt:
where text rows attend to references, each subject is seen by those of its own words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor

from dynaip.pipeline.subject import Subject

# What a word cannot end before: another letter, or an accent that belongs to the last one.
WITHIN_A_WORD = r"[\w\u0300-\u036f]"


class UnsaidPhraseError(ValueError):
    """A prompt does not say a subject's phrase, or not where it is read, or not often enough."""


class Span(NamedTuple):
    """Characters of a prompt, from the first to before `stop`."""

    start: int
    stop: int


def have_phrases(pictures: Sequence[Sequence[Subject]]) -> bool:
    """Whether any subject of some pictures has one."""
    return any(subject.phrase is not None for own in pictures for subject in own)


def words_of(prompt: str | list[str] | None, arguments: Mapping[str, Any]) -> list[str] | None:
    """What T5 reads, a text for each prompt; nothing where that is not said in words.

    Args:
        prompt: The call's.
        arguments: Its others; with `prompt_2`, T5 reads that.
    """
    read = arguments.get("prompt_2") or prompt
    if read is None:
        return None
    words = [read] if isinstance(read, str) else read
    prompts = prompt if isinstance(prompt, list) else [prompt]
    # The pipeline refuses another number of texts; here they must only not be mixed up.
    return words if len(words) == len(prompts) else None


def text_masks(
    pipe: DiffusionPipeline,
    pictures: Sequence[Sequence[Subject]],
    words: Sequence[str],
    arguments: Mapping[str, Any],
    silent: bool = False,
) -> Float[Tensor, "b s t"]:
    """Which text rows see each subject: those of its phrase, in each prompt.

    Args:
        pipe: See `phrase_rows`.
        pictures: The subjects of each, equally many.
        words: What T5 reads of each.
        arguments: The call's, with `max_sequence_length`.
        silent: Whether all rows see the subjects of a picture in which none has a phrase, or none.

    Raises:
        ValueError: See `phrase_rows`.
    """
    length = arguments.get("max_sequence_length", 512)
    masks = [
        phrase_rows(pipe, text, [subject.phrase for subject in own], length)
        if have_phrases([own])
        else torch.full((len(own), length), float(silent))
        for text, own in zip(words, pictures, strict=True)
    ]
    return torch.stack(masks)


def phrase_rows(
    pipe: DiffusionPipeline, prompt: str, phrases: Sequence[str | None], length: int
) -> Float[Tensor, "s t"]:
    """The text rows of each subject's phrase: 1 where a token holds some of it, else 0.

    Every place where the prompt says the phrase counts, as whole words, capitals or not, as far as
    the prompt is read. Where phrases meet, as in "a red dog and a dog", the longer one has the
    words. Subjects that share a phrase get its places in their order.

    Args:
        pipe: A FLUX pipeline, whose T5 reads the prompt.
        prompt: What T5 reads.
        phrases: One for each subject; with `None` no text row is its own.
        length: Tokens of the prompt, padding included (the axis t).

    Raises:
        UnsaidPhraseError: The prompt does not say a phrase, or only after what is read of it, or
            not as often as subjects share it.
        ValueError: The tokenizer does not tell where its tokens are.
    """
    tokenizer: Any = pipe.tokenizer_2
    # A learned word (textual inversion) stands in what is read as several tokens.
    convert = getattr(pipe, "maybe_convert_prompt", lambda text, _: text)
    read = convert(prompt, tokenizer)
    words = [None if phrase is None else _folded(convert(phrase, tokenizer)) for phrase in phrases]
    tokens = torch.tensor(_token_spans(tokenizer, read, length))
    found = _find(read, {each for each in words if each is not None})
    stop = int(tokens[:, 1].max())
    shares, turns = Counter(words), Counter[str]()
    rows = torch.zeros(len(phrases), length)
    for own, phrase, said in zip(rows, phrases, words, strict=True):
        if said is None:
            continue
        places = [span for span in found[said] if span.stop <= stop]
        if not found[said]:
            covered = re.search(_pattern(said), read, re.I) is not None
            raise UnsaidPhraseError(_missing(str(phrase), prompt, covered))
        _check(str(phrase), places, shares[said], length)
        if shares[said] > 1:
            places = [places[turns[said]]]
            turns[said] += 1
        for place in places:
            own[(tokens[:, 0] < place.stop) & (place.start < tokens[:, 1])] = 1
    return rows


def _token_spans(tokenizer: Any, prompt: str, length: int) -> list[tuple[int, int]]:
    """Where in the prompt each token is; those that are no part of it are nowhere, (0, 0)."""
    if not tokenizer.is_fast:
        raise ValueError(
            f"A {type(tokenizer).__name__} does not tell where in the prompt its tokens are, so "
            "no phrase can be found; load the pipeline with a fast tokenizer."
        )
    return tokenizer(
        prompt,
        padding="max_length",
        max_length=length,
        truncation=True,
        return_offsets_mapping=True,
    ).offset_mapping


def _find(prompt: str, phrases: set[str]) -> dict[str, list[Span]]:
    """Where the prompt says each phrase; longer ones first, and no word twice."""
    taken: list[Span] = []
    found: dict[str, list[Span]] = {}
    for phrase in sorted(phrases, key=lambda each: (-len(each), each)):
        said = [Span(*match.span()) for match in re.finditer(_pattern(phrase), prompt, re.I)]
        found[phrase] = [span for span in said if not any(_meet(span, other) for other in taken)]
        taken += found[phrase]
    return found


def _meet(one: Span, other: Span) -> bool:
    return one.start < other.stop and other.start < one.stop


def _pattern(phrase: str) -> str:
    """Its words, whole, with any blanks between them, however their accents are written."""
    spellings = {unicodedata.normalize(form, phrase) for form in ("NFC", "NFD")}
    either = "|".join(r"\s+".join(map(re.escape, each.split())) for each in sorted(spellings))
    return rf"(?<!\w)(?:{either})(?!{WITHIN_A_WORD})"


def _folded(phrase: str) -> str:
    """What phrases that mean the same words have in common."""
    return " ".join(unicodedata.normalize("NFC", phrase).lower().split())


def _missing(phrase: str, prompt: str, covered: bool) -> str:
    """What is told of a phrase without a place."""
    if covered:
        return (
            f"The prompt {prompt!r} says {phrase!r} only within another subject's phrase; say it "
            "once more, or give this subject other words."
        )
    return (
        f"The prompt {prompt!r} does not say {phrase!r}; a subject's phrase is whole words of the "
        "prompt that name it."
    )


def _check(phrase: str, read: Sequence[Span], sharing: int, length: int) -> None:
    """Raises where a phrase has no places that are read, or not as many as it needs."""
    if not read:
        raise UnsaidPhraseError(
            f"Only the first {length} tokens of the prompt are read, and the phrase {phrase!r} "
            "comes after them; put it further to the front."
        )
    if sharing > 1 and len(read) != sharing:
        raise UnsaidPhraseError(
            f"{sharing} subjects share the phrase {phrase!r}, and the prompt says it {len(read)} "
            "time(s); say it once for each, or tell them apart."
        )
