"""The miniature's base model: a small FLUX transformer trained on Toyland by flow matching."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from dynaip.hosts.flow import (
    PromptEncoder,
    add_noise,
    draw_sigma,
    encode_pictures,
    flow_matching_error,
    predict_velocity,
    shift_sigma,
    time_shift,
)
from dynaip.hosts.vision import encode_references, stack_pictures
from dynaip.miniature import toyland
from dynaip.miniature.autoencoder import PatchAutoencoder
from dynaip.miniature.cache import PictureCache
from dynaip.miniature.toyland.imagefolder import contact_sheet

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


def initialise(transformer: FluxTransformer2DModel) -> None:
    """Small normal weights; modulation and output start at zero, so every block starts silent."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if ".norm" in name or name in ("norm_out.linear", "proj_out"):
                nn.init.zeros_(module.weight)


class BaseTask(nn.Module):
    """Flow matching on rendered pictures and their captions.

    Sigma is logit-normal, shifted as the sampler shifts it. One caption in ten is dropped. With all
    factors named and more noise, what a caption says of the subject is learnt sooner. To learn
    sooner, the image tokens after the double blocks are also drawn towards what the image encoder
    sees in the clean picture (REPA, arXiv 2410.06940): a token of both is the same 8x8 pixels.
    That helps in the beginning and only costs time later (HASTE, arXiv 2505.16792; docs/log.md), so
    it ends after `aligned_samples`. Scenes are learnt long before subjects, so a subject's tokens
    can count for more.

    Args:
        pipeline: Frozen autoencoder and text encoders, and the transformer that is trained.
        cache: Folder for the rendered pictures.
        size: Picture side in pixels.
        pool: Number of pictures.
        subjects: Probabilities of one, two and three subjects.
        alignment: Weight of REPA's term.
        aligned_samples: How many samples of the run have that term.
        subject_weight: What a token inside a subject's box counts, where one outside counts 1.
        logit_mean: Mean of sigma's logit before the shift; above 0 there is more noise.
        full_captions: Share, of the captions that are not dropped, that name all they can.

    Raises:
        ValueError: A share is none, or the pictures cannot be drawn.
    """

    def __init__(
        self,
        pipeline: FluxPipeline,
        cache: Path,
        *,
        alignment: float = 0.5,
        aligned_samples: int = 90_880,
        subject_weight: float = 1.0,
        logit_mean: float = 0.0,
        full_captions: float = 0.0,
        size: int = 64,
        pool: int = 40_960,
        subjects: Sequence[float] = (0.7, 0.22, 0.08),
    ) -> None:
        super().__init__()
        if not 0 <= full_captions <= 1:
            raise ValueError(f"full_captions is a share, from 0 to 1; got {full_captions:g}.")
        if (
            len(subjects) != 3
            or min(subjects) < 0
            or not math.isclose(sum(subjects), 1, abs_tol=1e-8)
        ):
            raise ValueError(
                f"subjects holds the shares of one, two and three, which sum to 1; got "
                f"{list(subjects)}."
            )
        if pool < 1:
            raise ValueError(f"pool is a number of pictures, at least 1; got {pool}.")
        self.pipeline, self.cache, self.size = pipeline, cache, size
        self.pool, self.subjects, self.full_captions = pool, tuple(subjects), full_captions
        self.prompts = PromptEncoder(pipeline)
        self.transformer: FluxTransformer2DModel = pipeline.transformer
        self.vae: PatchAutoencoder = pipeline.vae.requires_grad_(False)
        self.alignment, self.aligned_samples = alignment, aligned_samples
        self.subject_weight = subject_weight
        if alignment:
            self._prepare_alignment(cast(CLIPVisionModel, pipeline.image_encoder))
        # A shift by mu adds mu to sigma's logit.
        self.mu = time_shift(pipeline.scheduler, (size // (2 * self.vae.factor)) ** 2) + logit_mean

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the blocks, once for all of a kind; prompts are strings and stay outside."""
        self.transformer.compile_repeated_blocks(*args, **kwargs)

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return PromptedPictures(
            seed,
            size=self.size,
            pool=self.pool,
            subjects=self.subjects,
            full_captions=self.full_captions,
            cache=self.cache,
        )

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "index": torch.tensor([sample["index"] for sample in samples]),
            "images": stack_pictures([sample["image"] for sample in samples]),
            "subject": torch.from_numpy(np.stack([sample["subject"] for sample in samples])),
            "noise": torch.from_numpy(np.stack([sample["noise"] for sample in samples])),
            "sigma": torch.tensor([sample["sigma"] for sample in samples]),
            "guidance": torch.tensor([sample["guidance"] for sample in samples]),
            "prompts": [sample["prompt"] for sample in samples],
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        latents, noise = encode_pictures(self.vae, batch["images"]), batch["noise"]
        sigma = shift_sigma(batch["sigma"], self.mu)
        prompts = self.prompts(batch["prompts"])
        tokens = flow_matching_error(self.transformer, latents, noise, sigma, prompts)
        weights = 1 + (self.subject_weight - 1) * batch["subject"]
        loss = (weights * tokens).sum() / weights.sum()
        error = tokens.mean(1)
        output = {
            "loss": loss,
            "velocity": error.mean(),
            "subject": _mean_where(tokens, batch["subject"] > 0.5),
            **_by_noise(error, sigma),
        }
        if self.alignment:
            early = batch["index"] < self.aligned_samples
            aligned = self._aligned(batch["images"], early)
            output["loss"] = loss + self.alignment * (early.float() - aligned).mean()
            if early.any():
                output["aligned"] = aligned.sum() / early.sum()
        return output

    def _prepare_alignment(self, image_encoder: CLIPVisionModel) -> None:
        self.image_encoder = image_encoder.requires_grad_(False).eval()
        width, wanted = self.transformer.inner_dim, image_encoder.config.hidden_size
        self.projector = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, wanted)
        )
        self._kept: Tensor | None = None
        self.transformer.transformer_blocks[-1].register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, args: object, output: tuple[Tensor, Tensor]) -> None:
        self._kept = output[1]

    def _aligned(
        self, images: UInt8[Tensor, "b 3 h w"], chosen: Bool[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """Mean cosine of the projected image tokens and the image encoder's, 0 if not chosen.

        Of the latter without the class token, two thirds of the way up, less their mean: what all
        tokens share would be aligned with for nothing. The projector runs also where nothing is
        chosen: processes that train together expect a gradient of every parameter.
        """
        assert self._kept is not None
        projected = self.projector(self._kept[chosen]).float()
        if not chosen.any():
            return projected.sum().expand(len(images))
        layer = len(self.image_encoder.encoder.layers) * 2 // 3
        seen = encode_references(self.image_encoder, images[chosen])[layer][:, 1:].float()
        cosines = F.cosine_similarity(projected, seen - seen.mean((0, 1)), dim=-1)
        return cosines.new_zeros(len(images)).masked_scatter(chosen, cosines.mean(1))

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        return {}

    def sample(self, path: Path) -> None:
        self._draw(
            path, guidance_scale=1.0, true_cfg_scale=3.0, negative_prompt=[""] * len(SAMPLE_PROMPTS)
        )

    @torch.no_grad()
    def _draw(self, path: Path, **guidance: Any) -> None:
        # Eager: compiling for a batch of this size would cost more than the pictures.
        with torch.compiler.set_stance("force_eager"):
            images = cast(Any, self.pipeline)(
                list(SAMPLE_PROMPTS),
                height=self.size,
                width=self.size,
                num_inference_steps=20,
                num_images_per_prompt=2,
                max_sequence_length=40,
                generator=torch.Generator().manual_seed(0),
                **guidance,
            ).images
        sheet = contact_sheet([np.asarray(image) for image in images], columns=8, gap=0)
        zoomed = (2 * sheet.width, 2 * sheet.height)
        sheet.resize(zoomed, Image.Resampling.NEAREST).save(path)

    def export(self, folder: Path) -> None:
        self.transformer.save_pretrained(folder / "transformer")


class GuidanceTask(BaseTask):
    """Guidance distillation, which made FLUX.1-dev out of FLUX.1-pro.

    A frozen copy of the base, run with and without the prompt, gives the guided velocity
    v_uncond + g (v_cond - v_uncond); the student, told g through its guidance embedding, learns it
    in one pass. At g = 1 the target is the data's own, so the base stays a generative model of the
    world that the adapter can be trained on.
    """

    def __init__(
        self, pipeline: FluxPipeline, cache: Path, *, largest: float = 5.0, **kwargs: Any
    ) -> None:
        super().__init__(pipeline, cache, alignment=0.0, **kwargs)
        self.largest = largest
        self.teacher = copy.deepcopy(self.transformer).requires_grad_(False).eval()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        self.teacher.compile_repeated_blocks(*args, **kwargs)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        latents, noise = encode_pictures(self.vae, batch["images"]), batch["noise"]
        sigma = shift_sigma(batch["sigma"], self.mu)
        noisy = add_noise(latents, noise, sigma)
        prompt, empty = self.prompts(batch["prompts"]), self.prompts([""] * len(sigma))
        # A quarter of the samples have no guidance and see the data.
        guidance = 1 + (self.largest - 1) * (batch["guidance"] * 4 / 3 - 1 / 3).clamp_min(0)
        with torch.no_grad():
            ones = torch.ones_like(sigma)
            wanted = predict_velocity(self.teacher, noisy, sigma, ones, *prompt)
            plain = predict_velocity(self.teacher, noisy, sigma, ones, *empty)
            guided = plain + guidance[:, None, None] * (wanted - plain)
            target = torch.where((guidance > 1)[:, None, None], guided, noise - latents)
        velocity = predict_velocity(self.transformer, noisy, sigma, guidance, *prompt)
        error = (velocity - target).square().mean((1, 2))
        return {"loss": error.mean(), "data": _mean_where(error, guidance <= 1)}

    def sample(self, path: Path) -> None:
        self._draw(path, guidance_scale=3.0)


def _by_noise(error: Float[Tensor, " b"], sigma: Float[Tensor, " b"]) -> dict[str, Tensor]:
    """Mean error of the less and the more noisy half of the schedule."""
    return {
        "loss_low": _mean_where(error, sigma <= 0.5),
        "loss_high": _mean_where(error, sigma > 0.5),
    }


def subject_cover(spec: toyland.Spec, side: int) -> Float[np.ndarray, " n"]:
    """Share of each of side x side tokens that the box of a subject covers, at most 1."""
    edges = np.arange(side)
    covered = np.zeros((side, side))
    for actor in spec.actors:
        view = actor.view
        x, y = (
            np.clip(
                np.minimum(edges + 1, side * (centre + view.size / 2))
                - np.maximum(edges, side * (centre - view.size / 2)),
                0,
                1,
            )
            for centre in (view.x, view.y)
        )
        covered = np.maximum(covered, y[:, None] * x)
    return covered.reshape(-1).astype(np.float32)


def _mean_where(error: Float[Tensor, ...], chosen: Bool[Tensor, ...]) -> Tensor:
    return (error * chosen).sum() / chosen.sum().clamp_min(1)


class PromptedPictures(Dataset[dict[str, Any]]):
    """Pictures, prompts and the noise that each is trained with; item `i` is drawn from `i`.

    The stream goes through `pool` pictures again and again, each time with another caption and
    other noise.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: int,
        pool: int,
        subjects: tuple[float, ...],
        full_captions: float,
        cache: Path,
    ) -> None:
        self.seed, self.size, self.pool, self.subjects = seed, size, pool, subjects
        self.full_captions = full_captions
        # The shares decide what the pictures are of.
        shares = hashlib.sha256(repr(subjects).encode()).hexdigest()[:8]
        self.cache = PictureCache(cache, f"base-{seed}-{shares}", pool, size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 1, index % self.pool])
        count = int(rng.choice([1, 2, 3], p=self.subjects))
        spec = toyland.sample_spec(rng, subjects=count)
        image = self.cache.get(index % self.pool, lambda: toyland.render(spec, self.size).image)
        rng = np.random.default_rng([self.seed, 2, index])
        return {
            "index": index,
            "image": image,
            "subject": subject_cover(spec, self.size // 8),
            "prompt": self._prompt(spec, rng),
            "noise": rng.standard_normal(((self.size // 8) ** 2, 64), dtype=np.float32),
            "sigma": draw_sigma(rng),
            "guidance": np.float32(rng.random()),
        }

    def _prompt(self, spec: toyland.Spec, rng: np.random.Generator) -> str:
        drawn = rng.random()
        if drawn < 0.1:
            return ""
        if drawn < 0.1 + 0.9 * self.full_captions:
            return toyland.full_caption(spec, rng)
        return toyland.caption(spec, rng)
