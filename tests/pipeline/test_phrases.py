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

from dynaip.analysis.attention_maps import picture_attention
from dynaip.hosts.sites import BlockBranches
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
    for phrases, prompt in ((3, "a dog on a dog"), (2, "a dog on a dog in a dog")):
        with pytest.raises(ValueError, match=rf"{phrases} subjects share the phrase 'dog'.* time"):
            found(words, prompt, *["dog"] * phrases)


def test_where_phrases_meet_the_longer_one_has_the_words(words: Any) -> None:
    assert found(words, "a red dog on a dog", "dog", "red dog") == [[5], [1, 2]]
    with pytest.raises(ValueError, match="says 'dog' only within another subject's phrase"):
        found(words, "a red dog", "dog", "red dog")


def test_accents_are_one_however_they_are_written(pieces: Any) -> None:
    written, typed = "a cafe\u0301 mug", "caf\u00e9"
    as_written = found(pieces, written, "cafe\u0301", length=40)
    assert found(pieces, written, typed, length=40) == as_written
    with pytest.raises(ValueError, match="does not say 'cafe'"):
        found(pieces, written, "cafe", length=40)


def test_all_of_a_learned_word_is_its_phrase(words: Any) -> None:
    """Diffusers writes a word of three vectors as three tokens."""

    class Learned(Reader):
        def maybe_convert_prompt(self, prompt: str, tokenizer: Any) -> str:
            return prompt.replace("<toy>", "<toy> <toy>_1 <toy>_2")

    pipe = Learned(words.tokenizer_2)
    spans = words.tokenizer_2("a <toy> <toy>_1 <toy>_2 in snow").tokens()
    ((first, *rest),) = found(pipe, "a <toy> in snow", "<toy>", length=30)
    assert (first, first + len(rest)) == (1, len(spans) - 3)


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
    for phrase in ("snow", "dog in the snow"):
        with pytest.raises(ValueError, match=rf"first 4 tokens .* '{phrase}' comes after them"):
            found(words, PROMPT, phrase, length=4)
    assert found(words, "a dog in the snow with a dog", "dog", length=6) == [[1]]


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


def test_a_picture_without_phrases_is_as_it_is_alone(personal: Any) -> None:
    """Beside one with a phrase, in the rows that are usual and in those that are said."""
    prompts, noise = [PROMPT, PROMPT], torch.randn(2, 64, 16)
    pair = [[Subject(RED, phrase="dog")], [Subject(NOISE)]]
    for branches in (None, "both"):
        together = draw(personal, prompts, subjects=pair, branches=branches, latents=noise)
        for index in range(2):
            own = {"subjects": pair[index], "branches": branches, "latents": noise[[index]]}
            np.testing.assert_allclose(together[[index]], draw(personal, **own), atol=1e-4)


def test_shared_references_are_not_copied_for_each_prompt(personal: Any) -> None:
    seen = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        block = pipe.transformer.transformer_blocks[0].attn.processor.block
        seen.append((len(block.key), len(block.text_weight)))
        return tensors

    prompts = [PROMPT, "the beach on a blue dog"]
    subjects = [Subject(RED, phrase="dog")]
    draw(
        personal,
        prompts,
        subjects=subjects,
        num_images_per_prompt=2,
        callback_on_step_end=watch,
    )
    assert seen == [(1, 4)] * 2


def test_the_unconditional_pass_names_nobody(personal: Any) -> None:
    """Its reference is seen by image rows, whatever rows phrases open."""
    guided = {"negative_prompt": "a blue mug", "true_cfg_scale": 3.0}
    negative = {"negative_ip_adapter_image": NOISE}
    silent = [Subject(RED, phrase="dog", scale=0)]
    phrased = draw(personal, subjects=silent, **guided, **negative)
    plain = draw(personal, subjects=[Subject(RED, scale=0)], **guided, **negative)
    np.testing.assert_allclose(phrased, plain, atol=1e-4)
    opened = draw(personal, subjects=[Subject(RED, scale=0)], branches="both", **guided, **negative)
    assert abs(opened - plain).max() > SEEN


def test_branches_of_kinds_of_blocks_are_kept(personal: Any) -> None:
    single = BlockBranches(double="image", single="both")
    subjects = [Subject(RED, phrase="dog")]
    made = draw(personal, subjects=subjects, branches=single)
    assert personal.attachment.branches == single
    assert abs(made - draw(personal, subjects=subjects)).max() > SEEN


def test_an_attention_map_tells_the_words(personal: Any) -> None:
    picture = Image.new("RGB", (32, 32), "grey")
    maps = picture_attention(personal, picture, PROMPT, [Subject(RED, phrase="dog")])
    assert maps.words[0, 0].nonzero()[0].tolist() == [2]


def test_encoded_for_one_prompt(personal: Any) -> None:
    subjects = [Subject(RED, phrase="dog", mask="left")]
    once = personal.encode(subjects, (8, 8), prompt=PROMPT)
    np.testing.assert_array_equal(draw(personal, subjects=once), draw(personal, subjects=subjects))
    with pytest.raises(ValueError, match=r"in another prompt, 'a red dog in the snow'"):
        draw(personal, "a dog", subjects=once)
    short = personal.encode(subjects, (8, 8), prompt=PROMPT, max_sequence_length=9)
    cut = {"max_sequence_length": 9}
    np.testing.assert_array_equal(
        draw(personal, subjects=short, **cut), draw(personal, subjects=subjects, **cut)
    )
    with pytest.raises(ValueError, match="same max_sequence_length"):
        draw(personal, subjects=short)
    with pytest.raises(ValueError, match="looked up in the prompt; give `encode` that as `prompt`"):
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
    with pytest.raises(ValueError, match="regional prompts do not go together"):
        draw(personal, subjects=subjects, regional_prompts=["a dog"], regional_masks=["left"])
    with pytest.raises(ValueError, match="leave it out of negative_ip_adapter_image"):
        draw(
            personal,
            negative_prompt="a mug",
            true_cfg_scale=2.0,
            negative_ip_adapter_image=subjects[0],
        )
