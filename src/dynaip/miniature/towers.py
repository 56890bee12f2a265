"""CLIP's two towers, each by itself: they learn to name every factor that they are shown or told.

What the image tower does not see, no adapter can carry; what the text tower's pooled vector does
not say, FLUX's modulation cannot act on. CLIP saw 400 million pictures; contrast and captions of
80 000 taught this image tower a third of the categories and a seventh of the letters, and its
pooled vector hardly said which way a subject faces (docs/log.md). So after the encoders have been
trained together, the towers go on with the truth of the rendered world: a linear head for each
factor. The image tower is shown what DynaIP's references are, cut-out subjects on white; the text
tower reads captions. T5 stays as it is.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel

from dynaip.hosts.vision import clip_pixels, stack_pictures
from dynaip.miniature import toyland
from dynaip.miniature.encoders import SHARED, CaptionedPictures, caption_of, said_of
from dynaip.miniature.toyland.spec import FACTORS, factor_values

# All that can be seen of a subject cut out of its picture: not where it was, nor in which scene.
ON_WHITE = tuple(name for name in FACTORS if name not in ("position", "scene"))
UNNAMED = -1
# In pixels.
LARGEST_SHIFT = 4
# Held-out subjects.
TESTED = 512


class NamingTask(nn.Module):
    """A tower and a linear head for each factor; see the module's text.

    A batch holds `factors` (b, number of names), the index of each factor's value or `UNNAMED`
    where nothing is asked, and what `read` takes: `images` (b, 3, y, x) or `tokens` (b, n).

    Args:
        features: Width of what the heads read.
        names: Of the factors.
    """

    def __init__(self, features: int, names: Iterable[str]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({n: nn.Linear(features, len(FACTORS[n])) for n in names})

    def read(self, batch: dict[str, Any]) -> Float[Tensor, "b d"]:
        """What the heads read."""
        raise NotImplementedError

    def held_out(self) -> list[dict[str, Any]]:
        """Samples of held-out subjects."""
        raise NotImplementedError

    def inputs(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """What `read` takes, of all samples."""
        raise NotImplementedError

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Stacks samples."""
        factors = torch.tensor([sample["factors"] for sample in samples])
        return {"factors": factors, **self.inputs(samples)}

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Cross-entropy of each factor, summed; and the share of it that is named right."""
        features, truth = self.read(batch), batch["factors"]
        losses, shares = [], {}
        for index, (name, head) in enumerate(self.heads.items()):
            logits, asked = head(features), truth[:, index] != UNNAMED
            loss = F.cross_entropy(logits, truth[:, index], ignore_index=UNNAMED, reduction="sum")
            losses.append(loss / asked.sum().clamp(min=1))
            right = (logits.argmax(-1) == truth[:, index]) & asked
            shares[name] = right.sum() / asked.sum().clamp(min=1)
        return {"loss": torch.stack(losses).sum(), **shares}

    @torch.no_grad()
    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        """Share named right of held-out subjects."""
        device = batch["factors"].device
        held_out = {name: value.to(device) for name, value in self._held_out_batch.items()}
        # Eager: this batch is of another size than those that are compiled for.
        with torch.compiler.set_stance("force_eager"):
            shares = self.forward(held_out)
        return {f"held_out_{name}": shares[name].item() for name in self.heads}

    @cached_property
    def _held_out_batch(self) -> dict[str, Tensor]:
        return self.collate(self.held_out())

    def sample(self, path: Path) -> None:
        """A tower makes no pictures."""


class ImageTowerTask(NamingTask):
    """Trains the image tower.

    Args:
        encoder: The tower, as stage `encoder` left it.
        cache: Folder for the rendered pictures, shared with stage `encoder`.
        pool: Number of pictures there.
    """

    def __init__(self, encoder: CLIPVisionModel, *, cache: Path, pool: int) -> None:
        super().__init__(2 * encoder.config.hidden_size, ON_WHITE)
        self.image_encoder, self.cache, self.pool = encoder, cache, pool
        self.size = cast(int, encoder.config.image_size)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the layers, one graph for all."""
        for layer in self.image_encoder.encoder.layers:
            layer.compile(*args, **kwargs)

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return SubjectsOnWhite(seed, size=self.size, pool=self.pool, cache=self.cache)

    def inputs(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"images": stack_pictures([sample["image"] for sample in samples])}

    def read(self, batch: dict[str, Any]) -> Float[Tensor, "b d"]:
        """The class token and the mean of the others."""
        seen = self.image_encoder(clip_pixels(batch["images"]))
        return torch.cat([seen.pooler_output, seen.last_hidden_state[:, 1:].mean(1)], -1)

    def held_out(self) -> list[dict[str, Any]]:
        rng = np.random.default_rng([self.pool, 3])
        specs = [toyland.sample_spec(rng, split="test") for _ in range(TESTED)]
        return [
            {
                "image": toyland.segment(spec, 0, self.size),
                "factors": factor_indices(seen_in(spec), ON_WHITE),
            }
            for spec in specs
        ]

    def export(self, folder: Path) -> None:
        self.image_encoder.save_pretrained(folder / "image_encoder")


class TextTowerTask(NamingTask):
    """Trains the text tower, whose pooled vector modulates FLUX's blocks.

    Args:
        encoder: The tower, as stage `encoder` left it.
        tokenizer: Its own.
    """

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__(encoder.config.hidden_size, FACTORS)
        self.text_encoder, self.tokenizer = encoder, tokenizer

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return Captions(seed, "train")

    def inputs(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        captions = [sample["caption"] for sample in samples]
        tokens = self.tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
        return {"tokens": tokens.input_ids}

    def read(self, batch: dict[str, Any]) -> Float[Tensor, "b d"]:
        """The pooled vector."""
        return self.text_encoder(batch["tokens"]).pooler_output

    def held_out(self) -> list[dict[str, Any]]:
        captions = Captions(0, "test")
        return [captions[index] for index in range(TESTED)]

    def export(self, folder: Path) -> None:
        self.text_encoder.save_pretrained(folder / "text_encoder")


def seen_in(spec: toyland.Spec) -> dict[str, str]:
    """Values that the picture's first subject shows: a plain one has no scale of its pattern."""
    values = factor_values(spec)
    if values["pattern"] == "plain":
        del values["pattern_scale"]
    return values


def told_in(spec: toyland.Spec, named: Container[str]) -> dict[str, str]:
    """Values that a caption tells; of several subjects only what they share, lest they be mixed."""
    values = factor_values(spec)
    shared = {name: values[name] for name in SHARED if name in named}
    return shared | (said_of(spec, 0, named) if len(spec.actors) == 1 else {})


def factor_indices(values: Mapping[str, str], names: Iterable[str]) -> list[int]:
    """Which of its options each factor's value is; `UNNAMED` where there is none among them."""
    options = ((FACTORS[name], values.get(name)) for name in names)
    return [some.index(value) if value in some else UNNAMED for some, value in options]


class SubjectsOnWhite(Dataset[dict[str, Any]]):
    """The subjects alone on white among stage `encoder`'s pictures, each time shifted anew."""

    def __init__(self, seed: int, *, size: int, pool: int, cache: Path) -> None:
        self.seed = seed
        self.pictures = CaptionedPictures(seed, size=size, pool=pool, cache=cache)
        self.alone = [index for index in range(pool) if self.pictures.alone(index)]

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = self.alone[index % len(self.alone)]
        rng = np.random.default_rng([self.seed, 3, index])
        image = _shifted(self.pictures.picture(picture), rng)
        spec, _ = self.pictures.pooled(picture)
        return {"image": image, "factors": factor_indices(seen_in(spec), ON_WHITE)}


class Captions(Dataset[dict[str, Any]]):
    """Captions of random factors, two in three of a single subject."""

    def __init__(self, seed: int, split: str) -> None:
        self.seed, self.split = seed, split

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 4, index])
        subjects = int(rng.choice([1, 2, 3], p=[0.67, 0.23, 0.1]))
        spec = toyland.sample_spec(rng, subjects=subjects, split=self.split)
        caption, told = caption_of(spec, rng)
        return {"caption": caption, "factors": factor_indices(told_in(spec, told), FACTORS)}


def _shifted(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    height, width, _ = image.shape
    far = LARGEST_SHIFT
    wide = np.pad(image, ((far, far), (far, far), (0, 0)), constant_values=255)
    top, left = rng.integers(0, 2 * far + 1, 2)
    return wide[top : top + height, left : left + width]
