"""Where a prompt names its subjects: phrases, from words to T5's tokens.

The paper's Equation 9 gives each subject places in the picture. This does the same in the prompt:
where text rows attend to references, each subject is seen by those of its own words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor


def phrase_rows(
    pipe: DiffusionPipeline, prompt: str, phrases: Sequence[str | None], length: int
) -> Float[Tensor, "s t"]:
    """The text rows of each subject's phrase: 1 where a token holds some of it, else 0.

    Every place where the prompt says the phrase counts, as whole words, capitals or not; a phrase
    of several subjects is the first one's where it stands first, the second one's where second.

    Args:
        pipe: A FLUX pipeline, whose T5 reads the prompt.
        prompt: What T5 reads.
        phrases: One for each subject; with `None` no text row is its own.
        length: Tokens of the prompt, padding included.

    Raises:
        ValueError: A phrase is not in the prompt, not so often as subjects have it, or cut off; or
            the tokenizer does not tell where in the prompt its tokens are.
    """
    # Learned words (textual inversion) stand in the prompt as several tokens each.
    convert = getattr(pipe, "maybe_convert_prompt", None)
    tokenizer: Any = pipe.tokenizer_2
    read = prompt if convert is None else convert(prompt, tokenizer)
    spans = _token_spans(tokenizer, read, length)
    rows = torch.zeros(len(phrases), length)
    for subject, places in enumerate(_places(read, phrases)):
        for start, stop in places:
            own = [
                token for token, (first, end) in enumerate(spans) if first < stop and start < end
            ]
            rows[subject, own] = 1
        if places and not rows[subject].any():
            raise ValueError(
                f"Only the first {length} tokens of the prompt are read, and the phrase "
                f"{phrases[subject]!r} comes after them; put it further to the front."
            )
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


def _places(prompt: str, phrases: Sequence[str | None]) -> list[list[tuple[int, int]]]:
    """Where in the prompt each subject's phrase stands, as characters' first and end."""
    sharing = Counter(_folded(phrase) for phrase in phrases if phrase is not None)
    turns: Counter[str] = Counter()
    places: list[list[tuple[int, int]]] = []
    for phrase in phrases:
        if phrase is None:
            places.append([])
            continue
        said = [found.span() for found in re.finditer(_pattern(phrase), prompt, re.IGNORECASE)]
        shared = sharing[_folded(phrase)]
        if not said:
            raise ValueError(
                f"The prompt {prompt!r} does not say {phrase!r}; a subject's phrase is the words "
                "of the prompt that name it."
            )
        if len(said) < shared:
            raise ValueError(
                f"{shared} subjects have the phrase {phrase!r}, and the prompt says it "
                f"{len(said)} time(s); name each of them, or tell them apart."
            )
        turn = turns[_folded(phrase)]
        turns[_folded(phrase)] += 1
        places.append(said if shared == 1 else said[turn : turn + 1])
    return places


def _folded(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def _pattern(phrase: str) -> str:
    """Its words, whole, with any blanks between them."""
    words = r"\s+".join(map(re.escape, phrase.split()))
    return rf"(?<!\w){words}(?!\w)"
