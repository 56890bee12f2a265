"""The miniature's base model: a small FLUX transformer trained on Toyland by flow matching."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from dynaip.miniature import toyland
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.encoders import pad_tokens, save_grid

SAMPLE_PROMPTS = (
    "a red dog with blue stripes sits on the beach",
    "a green mug with the letter K in a room",
    "a yellow hat in the snow",
    "a blue robot on a cobblestone street",
    "a purple cat in the jungle",
    "a pink dress with white dots on the grass",
    "a brown dog on the left and a green mug on the right, in the snow",
    "an orange toy in a room, cool light from the left",
)


def pack(latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b n k"]:
    """FLUX's packing: 2x2 latents become one token."""
    return rearrange(latents, "b c (y p) (x q) -> b (y x) (c p q)", p=2, q=2)


def initialise(transformer: FluxTransformer2DModel) -> None:
    """Small normal weights; modulation and output start at zero, so every block starts silent."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if ".norm" in name or name in ("norm_out.linear", "proj_out"):
                nn.init.zeros_(module.weight)


def shift_sigma(sigma: Float[Tensor, " b"], mu: float) -> Float[Tensor, " b"]:
    """FLUX's resolution-dependent time shift, the same map as the sampler's."""
    return math.exp(mu) * sigma / (1 + (math.exp(mu) - 1) * sigma)


class TextToPicture(nn.Module):
    """The frozen front of a FLUX model: prompts to text features, as the pipeline makes them."""

    def __init__(self, pipeline: FluxPipeline) -> None:
        super().__init__()
        self.tokenizer, self.tokenizer_2 = pipeline.tokenizer, pipeline.tokenizer_2
        self.text_encoder = pipeline.text_encoder.requires_grad_(False).eval()
        self.text_encoder_2 = pipeline.text_encoder_2.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(
        self, prompts: list[str]
    ) -> tuple[Float[Tensor, "b n d_text"], Float[Tensor, "b d_pooled"]]:
        """Returns T5's tokens and CLIP's pooled vector."""
        device = self.text_encoder.device
        clip = self.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt")
        pooled = self.text_encoder(clip.input_ids.to(device)).pooler_output
        tokens = self.text_encoder_2(pad_tokens(self.tokenizer_2, prompts).to(device))
        return tokens.last_hidden_state, pooled


class BaseTask(nn.Module):
    """Flow matching on rendered pictures and their captions.

    x_sigma = (1 - sigma) x + sigma noise; the transformer predicts noise - x. Sigma is
    logit-normal, shifted as the sampler shifts it. One caption in ten is dropped.

    Args:
        pipeline: Frozen autoencoder and text encoders, and the transformer that is trained.
        size: Picture side in pixels.
        subjects: Probabilities of one, two and three subjects.
    """

    def __init__(
        self,
        pipeline: FluxPipeline,
        *,
        size: int = 64,
        subjects: tuple[float, ...] = (0.7, 0.22, 0.08),
    ) -> None:
        super().__init__()
        self.pipeline, self.size, self.subjects = pipeline, size, tuple(subjects)
        self.text = TextToPicture(pipeline)
        self.transformer: FluxTransformer2DModel = pipeline.transformer
        self.vae: PatchAutoencoder = pipeline.vae.requires_grad_(False)
        self.mu = time_shift(pipeline.scheduler, (size // (2 * self.vae.factor)) ** 2)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the transformer; prompts are strings and stay outside."""
        self.transformer.compile(*args, **kwargs)

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return PromptedPictures(seed, self.size, self.subjects)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        images = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = pack(self.vae.encode(pixels).latent_dist.mode())
        return {
            "latents": latents,
            "noise": torch.from_numpy(np.stack([sample["noise"] for sample in samples])),
            "sigma": torch.tensor([sample["sigma"] for sample in samples]),
            "guidance": torch.tensor([sample["guidance"] for sample in samples]),
            "prompts": [sample["prompt"] for sample in samples],
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        sigma = shift_sigma(batch["sigma"], self.mu)
        mix = sigma[:, None, None]
        noisy = (1 - mix) * batch["latents"] + mix * batch["noise"]
        text, pooled = self.text(batch["prompts"])
        guidance = torch.ones_like(sigma)
        velocity = self.velocity(self.transformer, noisy, sigma, guidance, text, pooled)
        error = (velocity.float() - (batch["noise"] - batch["latents"])).square().mean((1, 2))
        return {"loss": error.mean(), **_by_noise(error, sigma)}

    def velocity(
        self,
        transformer: FluxTransformer2DModel,
        noisy: Float[Tensor, "b n k"],
        sigma: Float[Tensor, " b"],
        guidance: Float[Tensor, " b"],
        text: Float[Tensor, "b n_text d_text"],
        pooled: Float[Tensor, "b d_pooled"],
    ) -> Float[Tensor, "b n k"]:
        """The transformer's prediction, called as `FluxPipeline` calls it."""
        return transformer(
            hidden_states=noisy,
            timestep=sigma,
            guidance=guidance,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            img_ids=position_ids(self.size // (2 * self.vae.factor), noisy),
            txt_ids=noisy.new_zeros(text.shape[1], 3),
            return_dict=False,
        )[0]

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        images = self.pipeline(
            list(SAMPLE_PROMPTS) * 2,
            height=self.size,
            width=self.size,
            num_inference_steps=20,
            guidance_scale=1.0,
            true_cfg_scale=3.0,
            negative_prompt=[""] * (2 * len(SAMPLE_PROMPTS)),
            max_sequence_length=40,
            generator=torch.Generator().manual_seed(0),
        ).images
        save_grid(images, path, columns=len(SAMPLE_PROMPTS))

    def export(self, folder: Path) -> None:
        self.transformer.save_pretrained(folder / "transformer")


class GuidanceTask(BaseTask):
    """Guidance distillation, which made FLUX.1-dev out of FLUX.1-pro.

    A frozen copy of the base, run with and without the prompt, gives the guided velocity
    v_uncond + g (v_cond - v_uncond); the student, told g through its guidance embedding, learns it
    in one pass. At g = 1 the target is the data's own, so the base stays a generative model of the
    world that the adapter can be trained on.
    """

    def __init__(self, pipeline: FluxPipeline, *, largest: float = 5.0, **kwargs: Any) -> None:
        super().__init__(pipeline, **kwargs)
        self.largest = largest
        self.teacher = copy.deepcopy(self.transformer).requires_grad_(False).eval()

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        sigma = shift_sigma(batch["sigma"], self.mu)
        mix = sigma[:, None, None]
        noisy = (1 - mix) * batch["latents"] + mix * batch["noise"]
        text, pooled = self.text(batch["prompts"])
        empty, pooled_empty = self.text([""] * len(sigma))
        # A quarter of the samples have no guidance and see the data.
        guidance = 1 + (self.largest - 1) * (batch["guidance"] * 4 / 3 - 1 / 3).clamp_min(0)
        with torch.no_grad():
            ones = torch.ones_like(sigma)
            wanted = self.velocity(self.teacher, noisy, sigma, ones, text, pooled).float()
            plain = self.velocity(self.teacher, noisy, sigma, ones, empty, pooled_empty).float()
            guided = plain + guidance[:, None, None] * (wanted - plain)
            data = batch["noise"] - batch["latents"]
            target = torch.where((guidance > 1)[:, None, None], guided, data)
        velocity = self.velocity(self.transformer, noisy, sigma, guidance, text, pooled)
        error = (velocity.float() - target).square().mean((1, 2))
        return {"loss": error.mean(), "data": _mean_where(error, guidance <= 1)}

    @torch.no_grad()
    def sample(self, path: Path) -> None:
        images = self.pipeline(
            list(SAMPLE_PROMPTS) * 2,
            height=self.size,
            width=self.size,
            num_inference_steps=20,
            guidance_scale=3.0,
            max_sequence_length=40,
            generator=torch.Generator().manual_seed(0),
        ).images
        save_grid(images, path, columns=len(SAMPLE_PROMPTS))


def time_shift(scheduler: FlowMatchEulerDiscreteScheduler, image_tokens: int) -> float:
    """The mu of `FluxPipeline` for this many image tokens (its `calculate_shift`)."""
    c = scheduler.config
    slope = (c.max_shift - c.base_shift) / (c.max_image_seq_len - c.base_image_seq_len)
    return c.base_shift + slope * (image_tokens - c.base_image_seq_len)


def position_ids(side: int, like: Tensor) -> Float[Tensor, "n 3"]:
    """FLUX's image ids of a square grid of packed tokens: (0, row, column)."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], -1).flatten(0, 1).to(like)


def _by_noise(error: Float[Tensor, " b"], sigma: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """Mean error of the less and the more noisy half of the schedule."""
    return {
        "loss_low": _mean_where(error, sigma <= 0.5),
        "loss_high": _mean_where(error, sigma > 0.5),
    }


def _mean_where(error: Float[Tensor, " b"], chosen: Bool[Tensor, " b"]) -> Tensor:
    return (error * chosen).sum() / chosen.sum().clamp_min(1)


class PromptedPictures(Dataset[dict[str, Any]]):
    """Pictures, prompts and the noise that each is trained with; item `i` is drawn from `i`."""

    def __init__(self, seed: int, size: int, subjects: tuple[float, ...]) -> None:
        self.seed, self.size, self.subjects = seed, size, subjects

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        count = int(rng.choice([1, 2, 3], p=self.subjects))
        spec = toyland.sample_spec(rng, subjects=count)
        prompt = "" if rng.random() < 0.1 else toyland.caption(spec, rng)
        tokens = (self.size // 8) ** 2
        return {
            "image": toyland.render(spec, self.size).image,
            "prompt": prompt,
            "noise": rng.standard_normal((tokens, 64), dtype=np.float32),
            "sigma": np.float32(1 / (1 + np.exp(-rng.standard_normal()))),
            "guidance": np.float32(rng.random()),
        }
