"""The miniature's text and image encoders, trained on Toyland.

FLUX reads a prompt twice: CLIP's pooled vector steers every block's modulation, T5's tokens are
attended to. DynaIP reads a reference through CLIP's image tower. Here the two CLIP towers are
trained as CLIP was, against each other; T5 as T5 was, as a translator: from a caption to the plain
list of the factors that it names. Text tokens carry no position in FLUX, so it is T5 that must know
which colour belongs to which subject, and that translation cannot be done without knowing it.

Telling 128 pictures apart takes little more than their colours. So that the image tower sees more,
T5's decoder also reads the list off its tokens (captioning beside contrast, as CoCa, arXiv
2205.01917): a category or a letter that is not in them cannot be named.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Tokenizer,
)
from transformers.modeling_outputs import BaseModelOutput

from dynaip.hosts.flow import pad_tokens
from dynaip.hosts.vision import clip_pixels, stack_pictures
from dynaip.miniature import toyland
from dynaip.miniature.cache import PictureCache
from dynaip.miniature.tokenizers import train_clip_tokenizer, train_t5_tokenizer
from dynaip.miniature.toyland.captions import SHARES
from dynaip.miniature.toyland.spec import ABSENT, SPECIFIC, factor_values

# Of the list that T5 writes: two subjects with most of their factors.
TARGET_TOKENS = 64
# Factors of the whole picture.
SHARED = ("scene", "light", "light_colour", "style")


def factors_in_words(spec: toyland.Spec, names: Iterable[str]) -> str:
    """The named factors of a picture as a plain list: what T5 learns to read out of a caption.

    What belongs to the whole picture comes first, and only what a caption says is listed.
    """
    named, values = set(names), factor_values(spec)
    phrases = [f"{name} {values[name]}" for name in SHARED if name in named]
    for subject in range(len(spec.actors)):
        phrases += [f"{name} {value}" for name, value in said_of(spec, subject, named).items()]
    return ", ".join(phrases).replace("_", " ")


def said_of(spec: toyland.Spec, subject: int, named: Container[str]) -> dict[str, str]:
    """What a caption that names these factors says of one subject.

    Nothing of a detail that is not there, nor of the scale of no pattern, nor of the view where the
    arrangement gives it away.
    """
    values = factor_values(spec, subject)
    names = list(SPECIFIC)
    if spec.action in (None, "next to"):
        names.append("position")
    if not (spec.action == "wearing" and subject):
        names += ["facing", "posture"]
    if "pattern" not in named or values["pattern"] == "plain":
        names.remove("pattern_scale")
    return {n: values[n] for n in names if n in named and values[n] != ABSENT.get(n)}


def caption_of(
    spec: toyland.Spec, rng: np.random.Generator, always: Iterable[str] = ()
) -> tuple[str, set[str]]:
    """A caption of random factors, and their names."""
    names = [name for name, share in SHARES.items() if rng.random() < share or name in always]
    while True:
        try:
            return toyland.caption(spec, rng, names), set(names)
        except ValueError:  # more than a caption's thirty words can name
            names.pop(int(rng.integers(len(names))))


def captioned(
    spec: toyland.Spec, rng: np.random.Generator, always: Iterable[str] = ()
) -> tuple[str, str]:
    """A caption of random factors, and the plain list of the same factors."""
    caption, names = caption_of(spec, rng, always)
    return caption, factors_in_words(spec, names)


class EncoderTask(nn.Module):
    """Trains the three encoders together; see the module's text.

    Args:
        vision, text, t5: Keyword arguments of the three transformers configs.
        projection_dim: Width of the space in which picture and caption meet.
        max_length: Tokens of the longest prompt.
        tokenizer_captions: Captions that the two tokenizers are trained on.
        cache: Folder for the rendered pictures.
        pool: Number of pictures.
        seed: Seed of the tokenizers' captions.
    """

    def __init__(
        self,
        *,
        vision: dict[str, Any],
        text: dict[str, Any],
        t5: dict[str, Any],
        projection_dim: int = 128,
        max_length: int,
        tokenizer_captions: int,
        cache: Path,
        pool: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.cache, self.pool = cache, pool
        torch.manual_seed(seed)
        captions = list(_caption_corpus(tokenizer_captions, seed))
        self.tokenizer: CLIPTokenizer = train_clip_tokenizer(
            captions, vocabulary=text.pop("vocabulary", 1024), max_length=max_length
        )
        self.tokenizer_2: T5Tokenizer = train_t5_tokenizer(captions, max_length=max_length)
        self.image_encoder = CLIPVisionModel(CLIPVisionConfig(**vision))
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(self.tokenizer),
                max_position_embeddings=max_length,
                bos_token_id=cast(int, self.tokenizer.bos_token_id),
                eos_token_id=cast(int, self.tokenizer.eos_token_id),
                pad_token_id=cast(int, self.tokenizer.pad_token_id),
                **text,
            )
        )
        self.t5 = T5ForConditionalGeneration(
            T5Config(
                vocab_size=len(self.tokenizer_2),
                pad_token_id=0,
                eos_token_id=1,
                **{"decoder_start_token_id": 0, **t5},
            )
        )
        # Transformers ties the output layer to the embeddings, whatever the config says: embeddings
        # as an output start at a loss of 70, and at an output's scale they hide which word a token
        # is (docs/log.md).
        self.t5.lm_head = nn.Linear(t5["d_model"], len(self.tokenizer_2), bias=False)
        nn.init.normal_(self.t5.lm_head.weight, std=t5["d_model"] ** -0.5 / 4)
        self.captioner = nn.Linear(vision["hidden_size"], t5["d_model"])
        self.image_projection = nn.Linear(vision["hidden_size"], projection_dim, bias=False)
        self.text_projection = nn.Linear(text["hidden_size"], projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        size = cast(int, self.image_encoder.config.image_size)
        return CaptionedPictures(seed, size=size, pool=self.pool, cache=self.cache)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "images": stack_pictures([sample["image"] for sample in samples]),
            "captions": [sample["caption"] for sample in samples],
            "factors": [sample["factors"] for sample in samples],
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """CLIP's contrastive loss, T5's translation loss, and that of the pictures' captions."""
        device = batch["images"].device
        clip = self.tokenizer(
            batch["captions"], padding=True, truncation=True, return_tensors="pt"
        ).input_ids.to(device)
        seen = self.image_encoder(clip_pixels(batch["images"]))
        image = seen.pooler_output
        text = self.text_encoder(clip).pooler_output
        logits = self.logit_scale.exp().clamp(max=100) * (
            F.normalize(self.image_projection(image), dim=-1)
            @ F.normalize(self.text_projection(text), dim=-1).T
        )
        labels = torch.arange(len(logits), device=device)
        contrastive = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

        source = pad_tokens(self.tokenizer_2, batch["captions"]).to(device)
        target = self.tokenizer_2(
            batch["factors"],
            padding=True,
            return_tensors="pt",
            max_length=TARGET_TOKENS,
            truncation=True,
        ).input_ids.to(device)
        labels_2 = target.masked_fill(target == 0, -100)
        # Padding is attended to, as FLUX attends to it.
        translation = self.t5(
            input_ids=source, attention_mask=torch.ones_like(source), labels=labels_2
        )
        tokens = BaseModelOutput(last_hidden_state=self.captioner(seen.last_hidden_state))
        captioning = self.t5(encoder_outputs=tokens, labels=labels_2)
        return {
            "loss": contrastive + translation.loss + captioning.loss,
            "contrastive": contrastive,
            "matched": (logits.argmax(-1) == labels).float().mean(),
            "translation": translation.loss,
            "read": _share_right(translation.logits, labels_2),
            "captioning": captioning.loss,
            "seen": _share_right(captioning.logits, labels_2),
        }

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        return {}

    def sample(self, path: Path) -> None:
        """Encoders make no pictures."""

    def export(self, folder: Path) -> None:
        """Writes tokenizers and encoders in the layout of a FLUX pipeline."""
        self.tokenizer.save_pretrained(folder / "tokenizer")
        self.tokenizer_2.save_pretrained(folder / "tokenizer_2")
        self.text_encoder.save_pretrained(folder / "text_encoder")
        self.image_encoder.save_pretrained(folder / "image_encoder")
        text_encoder_2 = T5EncoderModel(self.t5.config)
        text_encoder_2.encoder.load_state_dict(self.t5.encoder.state_dict())
        text_encoder_2.save_pretrained(folder / "text_encoder_2")


def _share_right(logits: Float[Tensor, "b n v"], labels: Int[Tensor, "b n"]) -> Tensor:
    """Share of the tokens that come out right, each after the right ones before it."""
    return (logits.argmax(-1) == labels)[labels >= 0].float().mean()


class CaptionedPictures(Dataset[dict[str, Any]]):
    """Pictures with captions: two in three a subject alone on white, the others whole scenes.

    The stream goes through `pool` pictures again and again, each time with another caption.
    """

    def __init__(self, seed: int, *, size: int, pool: int, cache: Path) -> None:
        self.seed, self.size, self.pool = seed, size, pool
        self.cache = PictureCache(cache, f"encoder-{seed}", pool, size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        spec, alone = self.pooled(index % self.pool)
        rng = np.random.default_rng([self.seed, 2, index])
        caption, factors = captioned(spec, rng, always=SPECIFIC if alone else ())
        image = self.picture(index % self.pool)
        return {"image": image, "caption": caption, "factors": factors}

    def alone(self, index: int) -> bool:
        """Whether a picture of the pool is a subject alone on white."""
        return self._kind(index)[1]

    def pooled(self, index: int) -> tuple[toyland.Spec, bool]:
        """What a picture of the pool shows, and whether it is a subject alone on white."""
        rng, alone = self._kind(index)
        subjects = 1 if alone else int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
        return toyland.sample_spec(rng, subjects=subjects), alone

    def _kind(self, index: int) -> tuple[np.random.Generator, bool]:
        """The picture's source of chance, once it has said whether the subject is alone."""
        rng = np.random.default_rng([self.seed, 1, index])
        return rng, rng.random() < 2 / 3

    def picture(self, index: int) -> UInt8[np.ndarray, "y x 3"]:
        """A picture of the pool, drawn once."""

        def draw() -> UInt8[np.ndarray, "y x 3"]:
            spec, alone = self.pooled(index)
            if alone:
                return toyland.segment(spec, 0, self.size)
            return toyland.render(spec, self.size).image

        return self.cache.get(index, draw)


def _caption_corpus(count: int, seed: int) -> Iterator[str]:
    for index in range(count):
        rng = np.random.default_rng([seed, 1, index])
        spec = toyland.sample_spec(rng, subjects=1 + index % 3)
        yield from captioned(spec, rng)
        yield "category second colour main pattern scale glyph mark facing posture position"
