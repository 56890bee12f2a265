"""The tokenizers, and what a pipeline folder makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer, T5Tokenizer

from dynaip.miniature.tokenizers import train_clip_tokenizer, train_t5_tokenizer

CAPTIONS = [
    "a red dog with the letter K, in the snow",
    "green trousers with blue dots, light from the left",
]


@pytest.mark.parametrize("kind", [CLIPTokenizer, T5Tokenizer])
def test_saved_tokenizer_reads_alike(kind: type, tmp_path: Path) -> None:
    if kind is CLIPTokenizer:
        tokenizer = train_clip_tokenizer(CAPTIONS, vocabulary=600, max_length=20)
    else:
        tokenizer = train_t5_tokenizer(CAPTIONS, max_length=20)
    tokenizer.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    assert loaded.model_max_length == 20
    for text in (*CAPTIONS, "a zebra", ""):
        assert loaded(text).input_ids == tokenizer(text).input_ids


def test_every_word_of_the_captions_is_one_t5_token() -> None:
    tokenizer = train_t5_tokenizer(CAPTIONS, max_length=20)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("green dog, letter K").input_ids)
    assert pieces == ["▁green", "▁dog", ",", "▁letter", "▁K", "</s>"]


def test_unseen_strings_are_spelt_and_case_is_kept() -> None:
    tokenizer = train_t5_tokenizer(CAPTIONS, max_length=20)
    ids = tokenizer("KZ k").input_ids
    assert tokenizer.unk_token_id not in ids
    assert "".join(tokenizer.convert_ids_to_tokens(ids)) == "▁KZ▁k</s>"


def test_a_clip_tokenizer_is_the_same_each_time() -> None:
    """Or a training that is resumed would give its embeddings to other pieces."""
    first, *others = (
        train_clip_tokenizer(CAPTIONS, vocabulary=600, max_length=20).get_vocab() for _ in range(4)
    )
    assert all(other == first for other in others)
