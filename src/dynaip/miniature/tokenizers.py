"""FLUX's two tokenizers, trained on Toyland's captions."""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, T5Tokenizer


def train_clip_tokenizer(
    captions: Iterable[str], *, vocabulary: int, max_length: int
) -> CLIPTokenizer:
    """Byte-pair encoding with CLIP's own normaliser and pre-tokeniser (lower case).

    Args:
        captions: Training text.
        vocabulary: Upper bound on the number of tokens.
        max_length: Tokens a prompt is cut to.
    """
    plain = CLIPTokenizer().backend_tokenizer
    specials = ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE(unk_token=specials[1], end_of_word_suffix="</w>"))
    tokenizer.normalizer = plain.normalizer
    tokenizer.pre_tokenizer = plain.pre_tokenizer
    texts = list(captions)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            # By itself it numbers letters that end a word in another order each time.
            special_tokens=[*specials, *_last_letters(tokenizer, texts)],
            end_of_word_suffix="</w>",
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=cast(Any, merges), model_max_length=max_length
    )


def _last_letters(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The pieces of letters at the ends of words."""
    normalise, cut = cast(Any, tokenizer.normalizer), cast(Any, tokenizer.pre_tokenizer)
    words = {
        word for text in texts for word, _ in cut.pre_tokenize_str(normalise.normalize_str(text))
    }
    return [f"{letter}</w>" for letter in sorted({word[-1] for word in words})]


def train_t5_tokenizer(captions: Iterable[str], *, max_length: int) -> T5Tokenizer:
    """A unigram model with T5's layout: `<pad>` 0, `</s>` 1, `<unk>` 2; case is kept.

    Every word of the captions is one piece, scored by its log frequency; every character is a
    piece too, scored so low that only unknown words are spelt.

    Args:
        captions: Training text.
        max_length: Tokens a prompt is cut to.
    """
    words = Counter(word for caption in captions for word in re.findall(r"\w+", caption))
    total = sum(words.values())
    characters = sorted({*string.ascii_letters, *string.digits, *string.punctuation, "\u2581"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"\u2581{word}", math.log(n / total)) for word, n in sorted(words.items())]
    pieces += [(character, -20.0) for character in characters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=max_length)
