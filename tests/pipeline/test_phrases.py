"""Phrases: which words of the prompt see which subject, on real tokenizers and in a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from transformers import AutoTokenizer

from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.phrases import phrase_rows
from dynaip.pipeline.subject import Subject

RED = Image.new("RGB", (20, 10), "red")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))
PROMPT = "a red dog in the snow"
SEEN = 1e-4
MINIATURE = Path(__file__).parents[2] / "models" / "miniature" / "tokenizer_2"


class Reader(DiffusionPipeline):
    """As much of a pipeline as phrases need."""

    def __init__(self, tokenizer: Any) -> None:
        object.__setattr__(self, "tokenizer_2", tokenizer)


@pytest.fixture(scope="module")
def words() -> Any:
    return Reader(tiny.tokenizer())


@pytest.fixture(scope="module")
def pieces() -> Any:
    """T5's own way: a blank belongs to the word after it, and a rare word is several tokens."""
    return Reader(AutoTokenizer.from_pretrained(MINIATURE))


def found(pipe: Any, prompt: str, *phrases: str | None, length: int = 12) -> list[list[int]]:
    rows = phrase_rows(pipe, prompt, phrases, length)
    assert rows.shape == (len(phrases), length)
    assert set(rows.unique().tolist()) <= {0.0, 1.0}
    return [row.nonzero().flatten().tolist() for row in rows]


def test_each_subject_has_its_own_words(words: Any) -> None:
    prompt = "a red dog in a blue mug"
    assert found(words, prompt, "dog", "blue mug", None) == [[2], [5, 6], []]


def test_whole_words_whatever_their_capitals_and_blanks(words: Any) -> None:
    assert found(words, "a snow  dog in the snowdog", "Snow dog") == [[1, 2]]
    with pytest.raises(ValueError, match="does not say 'now'"):
        found(words, PROMPT, "now")


def test_every_place_that_says_it_counts(words: Any) -> None:
    assert found(words, "a dog on a dog", "dog") == [[1, 4]]


def test_subjects_of_one_name_take_turns(words: Any) -> None:
    assert found(words, "a dog on a dog", "dog", "DOG") == [[1], [4]]
    with pytest.raises(ValueError, match=r"3 subjects have the phrase 'dog'.* says it 2 time"):
        found(words, "a dog on a dog", "dog", "dog", "dog")


def test_words_of_several_tokens_and_no_padding(pieces: Any) -> None:
    prompt = "a teddy bear on the left, with the letters AB"
    tokens = pieces.tokenizer_2.convert_ids_to_tokens(pieces.tokenizer_2(prompt).input_ids)
    ((first, *rest), letters) = found(pieces, prompt, "teddy bear", "AB", length=40)
    assert (
        "".join(tokens[token] for token in (first, *rest)).replace("\u2581", " ") == " teddy bear"
    )
    assert rest == list(range(first + 1, first + len(rest) + 1))
    assert "".join(tokens[token] for token in letters).replace("\u2581", " ") == " AB"


def test_what_is_not_read_is_said(words: Any) -> None:
    with pytest.raises(ValueError, match=r"first 3 tokens .* 'snow' comes after them"):
        found(words, PROMPT, "dog", "snow", length=3)


def test_a_tokenizer_that_tells_no_places_is_refused(words: Any) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="Slow does not tell where"):
        found(Reader(Slow()), PROMPT, "dog")


@pytest.mark.parametrize("phrase", ["", "  "])
def test_a_phrase_has_words(phrase: str) -> None:
    with pytest.raises(ValueError, match="A phrase is words of the prompt"):
        Subject(RED, phrase=phrase)


@pytest.fixture(scope="module")
def personal() -> Any:
    with tiny.adapter().requires_grad_(False).attach(tiny.pipeline()) as personal:
        yield personal


def draw(personal: PersonalPipeline, prompt: Any = PROMPT, **arguments: Any) -> np.ndarray:
    settings = {"num_inference_steps": 2, "output_type": "latent"}
    generator = torch.Generator().manual_seed(7)
    made = personal(prompt, generator=generator, **{**settings, **arguments})
    return made.images.numpy()


def test_a_phrase_opens_the_rows_of_its_words(personal: Any) -> None:
    decoupled, both = (
        draw(personal, subjects=[Subject(RED)], branches=branches) for branches in ("image", "both")
    )
    named = draw(personal, subjects=[Subject(RED, phrase="red dog")])
    assert abs(named - decoupled).max() > SEEN
    assert abs(named - both).max() > SEEN
    off = draw(personal, subjects=[Subject(RED, phrase="red dog", scale=0)])
    np.testing.assert_array_equal(off, draw(personal))


def test_without_a_phrase_beside_one_it_is_decoupled(personal: Any) -> None:
    """A subject that no word names is as with branches `"image"`."""
    silent = Subject(NOISE, phrase="snow", scale=0)
    made = draw(personal, subjects=[Subject(RED), silent])
    np.testing.assert_allclose(made, draw(personal, subjects=[Subject(RED)]), atol=1e-5)


def test_branches_are_both_unless_they_are_said(personal: Any) -> None:
    subjects = [Subject(RED, phrase="dog")]
    both, text = (draw(personal, subjects=subjects, branches=b) for b in ("both", "text"))
    np.testing.assert_array_equal(draw(personal, subjects=subjects), both)
    assert abs(both - text).max() > SEEN
    with pytest.raises(ValueError, match="see no reference with branches 'image'"):
        draw(personal, subjects=subjects, branches="image")


def test_prompts_have_words_of_their_own(personal: Any) -> None:
    """Together as each alone, also where they share their subjects, and make several pictures."""
    prompts = ["a red dog in the snow", "the beach on a blue dog"]
    shared = [Subject(RED, phrase="dog"), Subject(NOISE, phrase="the")]
    noise = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(1))
    alone = [
        draw(personal, prompt, subjects=shared, latents=noise[[index]])
        for index, prompt in enumerate(prompts)
    ]
    for given in (shared, [shared, shared]):
        together = draw(personal, prompts, subjects=given, latents=noise)
        np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)
    twice = draw(
        personal,
        prompts,
        subjects=shared,
        latents=noise.repeat_interleave(2, 0),
        num_images_per_prompt=2,
    )
    np.testing.assert_allclose(twice[1::2], np.concatenate(alone), atol=1e-4)
    exchanged = draw(personal, prompts[::-1], subjects=shared, latents=noise)
    assert abs(exchanged - np.concatenate(alone)).max() > SEEN


def test_encoded_for_one_prompt(personal: Any) -> None:
    subjects = [Subject(RED, phrase="dog", mask="left")]
    once = personal.encode(subjects, (8, 8), prompt=PROMPT)
    np.testing.assert_array_equal(draw(personal, subjects=once), draw(personal, subjects=subjects))
    with pytest.raises(ValueError, match=r"in another prompt, 'a red dog in the snow'"):
        draw(personal, "a dog", subjects=once)
    with pytest.raises(ValueError, match="looked up in the prompt; give `encode` that"):
        personal.encode(subjects, (8, 8))


def test_it_is_t5_s_prompt_that_counts(personal: Any) -> None:
    subjects = [Subject(RED, phrase="mug")]
    assert draw(personal, subjects=subjects, prompt_2="a blue mug").any()
    with pytest.raises(ValueError, match="'a blue dog' does not say 'mug'"):
        draw(personal, "a mug", subjects=subjects, prompt_2="a blue dog")


def test_what_has_no_words_is_refused(personal: Any) -> None:
    subjects = [Subject(RED, phrase="dog")]
    embeds, pooled, _ = personal.pipe.encode_prompt(PROMPT, None, max_sequence_length=12)
    embedded = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    with pytest.raises(ValueError, match="give that in words, as `prompt`"):
        draw(personal, None, subjects=subjects, **embedded)
    with pytest.raises(ValueError, match="no regional prompts"):
        draw(personal, subjects=subjects, regional_prompts=["a dog"], regional_masks=["left"])
    with pytest.raises(ValueError, match="the unconditional pass does not see"):
        draw(
            personal,
            negative_prompt="a mug",
            true_cfg_scale=2.0,
            negative_ip_adapter_image=subjects[0],
        )
