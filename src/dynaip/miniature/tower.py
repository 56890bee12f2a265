"""The image tower by itself: it learns to name every factor of a subject alone on white.

What the tower does not see, no adapter can carry. CLIP saw 400 million pictures; contrast and
captions of 80 000 taught this one a third of the categories and a seventh of the letters
(docs/log.md). So after the encoders have been trained together, the tower goes on with the truth of
the rendered world: a linear head for each factor, on what DynaIP's references are, cut-out
subjects. The text encoders stay as they are.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from dynaip.hosts.vision import clip_pixels, stack_pictures
from dynaip.miniature import toyland
from dynaip.miniature.encoders import CaptionedPictures
from dynaip.miniature.toyland.spec import FACTORS, SPECIFIC

# All that can be seen of a subject cut out of its picture: not where it was, nor in which scene.
NAMED = (*SPECIFIC, "facing", "posture", "light", "light_colour", "style")
UNNAMED = -1
LARGEST_SHIFT = 4
TESTED = 512


class TowerTask(nn.Module):
    """Trains the image tower with a linear head for each factor; see the module's text.

    Args:
        encoder: The tower, as stage `encoder` left it.
        cache: Folder for the rendered pictures, shared with stage `encoder`.
        pool: Number of pictures there.
    """

    def __init__(self, encoder: CLIPVisionModel, *, cache: Path, pool: int) -> None:
        super().__init__()
        self.image_encoder, self.cache, self.pool = encoder, cache, pool
        width = 2 * encoder.config.hidden_size
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(FACTORS[name])) for name in NAMED})

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the layers, one graph for all."""
        for layer in self.image_encoder.encoder.layers:
            layer.compile(*args, **kwargs)

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        size = cast(int, self.image_encoder.config.image_size)
        return SubjectsOnWhite(seed, size=size, pool=self.pool, cache=self.cache)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "images": stack_pictures([sample["image"] for sample in samples]),
            "factors": torch.tensor([sample["factors"] for sample in samples]),
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Cross-entropy of each factor, summed; and the share of it that is named right."""
        logits, truth = self.name(batch["images"]), batch["factors"]
        losses = [
            F.cross_entropy(logits[name], truth[:, index], ignore_index=UNNAMED)
            for index, name in enumerate(NAMED)
        ]
        return {"loss": torch.stack(losses).sum(), **_shares(logits, truth)}

    def name(self, images: UInt8[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b v"]]:
        """Logits of every factor's values, from the class token and the mean of the others."""
        seen = self.image_encoder(clip_pixels(images))
        features = torch.cat([seen.pooler_output, seen.last_hidden_state[:, 1:].mean(1)], -1)
        return {name: self.heads[name](features) for name in NAMED}

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        """Share named right of held-out subjects."""
        images, truth = (tensor.to(batch["images"].device) for tensor in self._held_out)
        shares = _shares(self.name(images), truth)
        return {f"held_out_{name}": share.item() for name, share in shares.items()}

    @cached_property
    def _held_out(self) -> tuple[UInt8[Tensor, "b 3 h w"], Int[Tensor, "b f"]]:
        rng = np.random.default_rng([self.pool, 3])
        specs = [toyland.sample_spec(rng, split="test") for _ in range(TESTED)]
        size = cast(int, self.image_encoder.config.image_size)
        images = stack_pictures([toyland.segment(spec, 0, size) for spec in specs])
        return images, torch.tensor([factor_indices(spec) for spec in specs])

    def sample(self, path: Path) -> None:
        """A tower makes no pictures."""

    def export(self, folder: Path) -> None:
        self.image_encoder.save_pretrained(folder / "image_encoder")


def factor_indices(spec: toyland.Spec) -> list[int]:
    """Of each of `NAMED`, which of its values the picture's only subject has.

    A word of several letters is none of the glyph's values: `UNNAMED`.
    """
    (actor,) = spec.actors
    shared = {"light": spec.light.direction, "light_colour": spec.light.colour, "style": spec.style}
    owned = {name: getattr(actor.concept, name) for name in SPECIFIC}
    seen = {"facing": actor.view.facing, "posture": actor.view.posture}
    values = owned | seen | shared
    return [
        FACTORS[name].index(values[name]) if values[name] in FACTORS[name] else UNNAMED
        for name in NAMED
    ]


def _shares(logits: dict[str, Tensor], truth: Int[Tensor, "b f"]) -> dict[str, Tensor]:
    right = {name: logits[name].argmax(-1) == truth[:, i] for i, name in enumerate(NAMED)}
    return {
        name: right[name][truth[:, i] != UNNAMED].float().mean() for i, name in enumerate(NAMED)
    }


class SubjectsOnWhite(Dataset[dict[str, Any]]):
    """The subjects alone on white among stage `encoder`'s pictures, each time shifted anew."""

    def __init__(self, seed: int, *, size: int, pool: int, cache: Path) -> None:
        self.seed = seed
        self.pictures = CaptionedPictures(seed, size=size, pool=pool, cache=cache)
        self.alone = [index for index in range(pool) if self.pictures.scene(index)[1]]

    def __getitem__(self, index: int) -> dict[str, Any]:
        picture = self.alone[index % len(self.alone)]
        rng = np.random.default_rng([self.seed, 3, index])
        image = _shifted(self.pictures.picture(picture), rng)
        return {"image": image, "factors": factor_indices(self.pictures.scene(picture)[0])}


def _shifted(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    height, width, _ = image.shape
    far = LARGEST_SHIFT
    wide = np.pad(image, ((far, far), (far, far), (0, 0)), constant_values=255)
    top, left = rng.integers(0, 2 * far + 1, 2)
    return wide[top : top + height, left : left + width]
