"""The adapter's training (Sections 4.1, 4.2 and B.1): the same task on every base."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from dynaip.adapter.features import tap_features
from dynaip.adapter.model import DynaIPAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flow import (
    PromptEncoder,
    draw_sigma,
    encode_pictures,
    flow_matching_error,
    shift_sigma,
    time_shift,
)
from dynaip.hosts.flux import attach
from dynaip.hosts.vision import encode_references, stack_pictures

Pairs = Callable[[int], Dataset[dict[str, Any]]]

SAMPLE_SEED = 1_000_003  # pairs of the sample sheets, apart from those of any sensible run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drops:
    """Probabilities of leaving a condition out (Section B.1), each on its own share of samples."""

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.text, self.image, self.both)
        if not all(share >= 0 for share in shares) or not sum(shares) <= 1:
            raise ValueError(f"The drops are probabilities of a sum of at most 1; got {shares}.")

    def draw(self, rng: np.random.Generator) -> tuple[bool, bool]:
        """Whether this sample loses its text, and its image."""
        chance = rng.random()
        text = chance < self.text
        image = self.text <= chance < self.text + self.image
        both = self.text + self.image <= chance < self.text + self.image + self.both
        return text or both, image or both


class Draws(NamedTuple):
    """What is random about one sample, beyond its pictures."""

    noise: np.ndarray
    sigma: np.float32
    keep: np.ndarray
    drop_text: bool
    drop_image: bool


class AdapterTask(nn.Module):
    """Flow matching through a frozen base, of which only the adapter learns.

    Reference tokens meet the text and the image rows of every block (Equations 4 and 5).

    Args:
        pipeline: The frozen base with its image encoder.
        adapter: What is trained.
        pairs: Makes the dataset of a seed; its items hold `image` and `reference`, uint8
            "h w 3", and `prompt`.
        drops: Condition drops.
        text_length: T5 tokens a prompt is padded to; see `PromptEncoder`.
        logit_mean: Mean of sigma's logit before the shift; above 0 there is more noise, at which
            it is decided what a subject is.
    """

    def __init__(
        self,
        pipeline: FluxPipeline,
        adapter: DynaIPAdapter,
        pairs: Pairs,
        *,
        drops: Drops | None = None,
        text_length: int | None = None,
        logit_mean: float = 0.0,
    ) -> None:
        super().__init__()
        self.pipeline, self.pairs = pipeline, pairs
        self.drops, self.logit_mean = drops or Drops(), logit_mean
        self.prompts = PromptEncoder(pipeline, text_length)
        self.vae = pipeline.vae.requires_grad_(False).eval()
        encoder = cast(CLIPVisionModel, pipeline.image_encoder)
        self.image_encoder = encoder.requires_grad_(False).eval()
        self.transformer = pipeline.transformer.requires_grad_(False)
        self.adapter = adapter
        self.attachment = attach(self.transformer, branches=adapter.config.train_branches)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the base's blocks, which are most of the work."""
        self.transformer.compile_repeated_blocks(*args, **kwargs)

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return DrawnPairs(self.pairs(seed), seed, self)

    def draw(self, rng: np.random.Generator, image: UInt8[np.ndarray, "h w 3"]) -> Draws:
        """Draws one sample's noise, time, expert drop and condition drops."""
        side = 2 * self.pipeline.vae_scale_factor
        tokens = (image.shape[0] // side) * (image.shape[1] // side)
        drop_text, drop_image = self.drops.draw(rng)
        config = self.adapter.config
        keep = np.zeros(len(config.layers), dtype=bool)
        while not keep.any():
            keep = rng.random(len(config.layers)) >= config.expert_drop
        return Draws(
            noise=rng.standard_normal(
                (tokens, self.transformer.config.in_channels), dtype=np.float32
            ),
            sigma=draw_sigma(rng),
            keep=keep,
            drop_text=drop_text,
            drop_image=drop_image,
        )

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        draws: list[Draws] = [sample["draws"] for sample in samples]
        return {
            "images": stack_pictures([sample["image"] for sample in samples]),
            "references": stack_pictures([sample["reference"] for sample in samples]),
            "prompts": [
                "" if draw.drop_text else sample["prompt"]
                for sample, draw in zip(samples, draws, strict=True)
            ],
            "noise": torch.from_numpy(np.stack([draw.noise for draw in draws])),
            "sigma": torch.tensor([draw.sigma for draw in draws]),
            "keep": torch.from_numpy(np.stack([draw.keep for draw in draws])),
            "drop_image": torch.tensor([draw.drop_image for draw in draws]),
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        features = self._features(batch["references"])
        fused = self.adapter.encode(features, keep=batch["keep"], drop=batch["drop_image"])
        error = self._error(batch, self.adapter.project(fused.tokens))
        weights = fused.coefficients.detach()
        entropy = -(weights * weights.clamp_min(1e-9).log()).sum(-1).mean()
        levels = {f"router_{level}": w for level, w in enumerate(weights.mean(0))}
        return {"loss": error.mean(), "router_entropy": entropy, **levels}

    @torch.no_grad()
    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        """*Is the reference used?* The loss with the right, a wrong and the null reference.

        All three see the same noise and prompts, so their differences are the reference's doing:
        `used` is (wrong - right) / wrong, and stays at 0 while the adapter is ignored. The wrong
        one is another sample's; a batch of one has none, and neither number.
        `attention_ratio` is the norm of the cross-attention over that of the block's own.
        """
        features = self._features(batch["references"])
        variants = {"right": features, "null": torch.zeros_like(features)}
        if features.shape[1] > 1:
            variants["wrong"] = features.roll(1, dims=1)
        losses, ratios = {}, {}
        for name, taps in variants.items():
            # Eager: a recorder would have every block compiled once more for these few passes.
            with self.attachment.record() as norms, torch.compiler.set_stance("force_eager"):
                losses[name] = float(self._error(batch, self._project(taps)).mean())
            ratios[name] = sum(float(n.cross / n.own) for n in norms.values()) / len(norms)
        found = {f"loss_{name}": loss for name, loss in losses.items()}
        if "wrong" in losses:
            found["used"] = (losses["wrong"] - losses["right"]) / losses["wrong"]
        return {**found, "attention_ratio": ratios["right"]}

    def _project(self, features: Float[Tensor, "l b n d"]) -> ImagePrompt:
        return self.adapter.project(self.adapter.encode(features).tokens)

    def _features(self, references: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "l b n d"]:
        hidden_states = encode_references(self.image_encoder, references)
        features = tap_features(hidden_states, self.adapter.config.layers)
        # The base's precision, which may be lower than that of what is trained.
        return features.to(next(self.adapter.parameters()))

    def _error(self, batch: dict[str, Any], prompt: ImagePrompt) -> Float[Tensor, " b"]:
        latents, noise = encode_pictures(self.vae, batch["images"]), batch["noise"]
        # A shift by mu adds mu to sigma's logit.
        mu = time_shift(self.pipeline.scheduler, latents.shape[1]) + self.logit_mean
        sigma = shift_sigma(batch["sigma"], mu)
        self.attachment.set_prompt(prompt)
        prompts = self.prompts(batch["prompts"])
        return flow_matching_error(self.transformer, latents, noise, sigma, prompts).mean(1)

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        """A sheet of eight pairs: reference, picture, and the model with DDS on and off."""
        dataset = self.pairs(SAMPLE_SEED)
        pairs = [dataset[index] for index in range(8)]
        size = pairs[0]["image"].shape[0]
        rows = [[_picture(pair[name], size) for pair in pairs] for name in ("reference", "image")]
        references = stack_pictures([pair["reference"] for pair in pairs])
        prompt = self._project(self._features(references.to(self.transformer.device)))
        trained = self.attachment.branches
        # Eager: compiling for a batch of this size would cost more than the pictures.
        with torch.compiler.set_stance("force_eager"):
            for branches in ("image", "both"):
                self.attachment.branches = branches
                self.attachment.set_prompt(prompt)
                rows.append(self._generate([pair["prompt"] for pair in pairs], size))
        self.attachment.branches = trained
        sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        Image.fromarray(sheet).save(path)

    def _generate(self, prompts: list[str], size: int) -> list[UInt8[np.ndarray, "h w 3"]]:
        self.pipeline.set_progress_bar_config(disable=True)
        images = cast(Any, self.pipeline)(
            prompts,
            height=size,
            width=size,
            num_inference_steps=20,
            max_sequence_length=min(512, self.pipeline.tokenizer_2.model_max_length),
            generator=torch.Generator().manual_seed(0),
        ).images
        return [np.asarray(image) for image in images]

    def export(self, folder: Path) -> None:
        self.adapter.save_pretrained(folder / "adapter")


class DrawnPairs(Dataset[dict[str, Any]]):
    """Pairs with each sample's draws, from `(seed, index)`."""

    def __init__(self, pairs: Dataset[dict[str, Any]], seed: int, task: AdapterTask) -> None:
        self.pairs, self.seed, self.task = pairs, seed, task

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        rng = np.random.default_rng([self.seed, index, 1])
        return {**pair, "draws": self.task.draw(rng, pair["image"])}


def _picture(array: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    return np.asarray(Image.fromarray(array).resize((size, size)))
