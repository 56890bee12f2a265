"""What an adapter spares people: training once per subject (the paper's Table 1, its first rows).

DreamBooth (arXiv 2208.12242) trains the transformer, with the model's own pictures of the class
beside the subject's so that the class survives; DreamBooth-LoRA trains low-rank changes of its
attention; Textual Inversion (arXiv 2208.01618) trains one new word and nothing else.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from diffusers import FluxPipeline
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.utils.data import Dataset

from dynaip.adapter import storage
from dynaip.hosts.flow import (
    PromptEncoder,
    draw_sigma,
    encode_pictures,
    flow_matching_error,
    shift_sigma,
    time_shift,
)
from dynaip.hosts.vision import stack_pictures
from dynaip.training.config import TrainingConfig
from dynaip.training.loop import train

Method = Literal["dreambooth", "dreambooth-lora", "textual-inversion"]
METHODS: tuple[Method, ...] = get_args(Method)
# The subject's name in prompts: a rare word for DreamBooth, a new one for Textual Inversion.
WORD = "sks"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# Numbers of a weight, at least, that tell it from another training's.
HASHED = 1024


class View(NamedTuple):
    """A picture of the subject, or of its class, and the prompt that it is trained with."""

    picture: UInt8[np.ndarray, "y x 3"]
    prompt: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubjectFit:
    """How a subject is fitted.

    Attributes:
        method: One of `METHODS`.
        steps: Optimiser steps.
        batch_size: Samples a step; with pictures of the class, every other one is of the class.
        learning_rate: Of AdamW.
        rank: Of the low-rank changes.
        seed: Of weights, order and noise.
        precision: See `TrainingConfig`.
    """

    method: Method
    steps: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-3
    rank: int = 8
    seed: int = 0
    precision: str = "auto"

    def training(self) -> TrainingConfig:
        """The loop's settings."""
        return TrainingConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
            precision=self.precision,
            workers=0,
        )


def fit_subject(
    pipeline: FluxPipeline,
    fit: SubjectFit,
    views: Sequence[View],
    folder: Path,
    others: Sequence[View] = (),
) -> FluxPipeline:
    """A pipeline that knows one subject by `WORD`; the given one stays as it is.

    Args:
        pipeline: The base. What is not trained is shared.
        fit: How.
        views: The subject, in prompts that name it `WORD`.
        folder: Of the run: its log and checkpoints; a stopped fit goes on.
        others: Pictures of the class that DreamBooth keeps in mind.

    Raises:
        CheckpointError: The folder holds a fit of other pictures, prompts or weights.
        ValueError: There is no picture, or the method cannot be used.
    """
    torch.manual_seed(fit.seed)
    if fit.method == "textual-inversion":
        others = ()
    identity = {
        "method": fit.method,
        "rank": fit.rank,
        "views": _hash_views(views),
        "others": _hash_views(others),
        "base": _hash_base(pipeline),
    }
    fitted = _with_own_parts(pipeline, fit)
    train(SubjectTask(fitted, fit, views, others), fit.training(), folder, identity=identity)
    fitted.transformer.eval()
    return fitted


def _hash_views(views: Sequence[View]) -> str:
    """SHA-256 of pictures and prompts, in their order."""
    digest = hashlib.sha256()
    for view in views:
        digest.update(f"{view.picture.shape} {view.prompt}\n".encode())
        digest.update(np.ascontiguousarray(view.picture).data)
    return digest.hexdigest()


def _hash_base(pipeline: FluxPipeline) -> str:
    """SHA-256 of some numbers of each weight of the base; all of FLUX's would take long."""
    return storage.digest(
        {
            f"{part}.{name}": tensor.flatten()[:: max(1, tensor.numel() // HASHED)].cpu()
            for part, module in pipeline.components.items()
            if isinstance(module, nn.Module)
            for name, tensor in module.state_dict().items()
        }
    )


def _with_own_parts(pipeline: FluxPipeline, fit: SubjectFit) -> FluxPipeline:
    """The same pipeline with copies of what will be trained, and only that trainable."""
    parts: dict[str, Any] = dict(pipeline.components)
    trained = ["transformer"]
    if fit.method == "textual-inversion":
        trained = ["tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"]
    parts |= {name: copy.deepcopy(parts[name]) for name in trained}
    fitted = cast(FluxPipeline, type(pipeline)(**parts))
    for part in fitted.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
    if fit.method == "dreambooth":
        fitted.transformer.requires_grad_(True)
    elif fit.method == "dreambooth-lora":
        _add_low_rank(fitted, fit.rank)
    return fitted


def _add_low_rank(fitted: FluxPipeline, rank: int) -> None:
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError("DreamBooth-LoRA needs peft: pip install peft.") from error
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(ATTENTION)
    )
    cast(Any, fitted.transformer).add_adapter(config)


class SubjectTask(nn.Module):
    """Flow matching on a handful of pictures.

    Args:
        pipeline: With its own copies of what is trained.
        fit: How.
        views: The subject.
        others: Its class.
    """

    def __init__(
        self,
        pipeline: FluxPipeline,
        fit: SubjectFit,
        views: Sequence[View],
        others: Sequence[View] = (),
    ) -> None:
        super().__init__()
        if not views:
            raise ValueError("A subject needs at least one picture.")
        self.views, self.others = tuple(views), tuple(others)
        self.vae, self.transformer = pipeline.vae, pipeline.transformer
        self.prompts = PromptEncoder(pipeline)
        if fit.method == "textual-inversion":
            for tokenizer, encoder in (
                (pipeline.tokenizer, self.prompts.text_encoder),
                (pipeline.tokenizer_2, self.prompts.text_encoder_2),
            ):
                _add_word(tokenizer, encoder)
        side = 2 * pipeline.vae_scale_factor
        tokens = views[0].picture.shape[0] * views[0].picture.shape[1] // side**2
        self.mu = time_shift(pipeline.scheduler, tokens)
        self.shape = (tokens, pipeline.transformer.config.in_channels)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """A fit is over before compiling would pay."""

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return _Drawn(self, seed)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "images": stack_pictures([sample["image"] for sample in samples]),
            "noise": torch.from_numpy(np.stack([sample["noise"] for sample in samples])),
            "sigma": torch.tensor([sample["sigma"] for sample in samples]),
            "prompts": [sample["prompt"] for sample in samples],
        }

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        latents, noise = encode_pictures(self.vae, batch["images"]), batch["noise"]
        sigma = shift_sigma(batch["sigma"], self.mu)
        prompts = self.prompts(batch["prompts"])
        error = flow_matching_error(self.transformer, latents, noise, sigma, prompts)
        return {"loss": error.mean()}

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        return {}

    def sample(self, path: Path) -> None:
        """Pictures are made by whoever asked for the fit."""

    def export(self, folder: Path) -> None:
        """The fitted pipeline is used at once; its checkpoint is in the run's folder."""


def _add_word(tokenizer: Any, encoder: Any) -> None:
    """A new word whose embedding, begun at the mean of all, is the one thing that is trained."""
    if tokenizer.add_tokens([WORD]) != 1:
        raise ValueError(f"The tokenizer knows {WORD!r} already; there is nothing to invert.")
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weight = encoder.get_input_embeddings().weight
    place = tokenizer.convert_tokens_to_ids(WORD)
    with torch.no_grad():
        weight[place] = weight[:place].mean(0)
    weight.requires_grad_(True)
    only = torch.zeros(len(weight), 1)
    only[place] = 1
    weight.register_hook(lambda gradient: gradient * only.to(gradient))


class _Drawn(Dataset[dict[str, Any]]):
    """Item `i` is a picture, the subject's or the class's in turn, with its noise."""

    def __init__(self, task: SubjectTask, seed: int) -> None:
        self.task, self.seed = task, seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        views = self.task.others if self.task.others and index % 2 else self.task.views
        rng = np.random.default_rng([self.seed, index])
        view = views[int(rng.integers(len(views)))]
        return {
            "image": view.picture,
            "prompt": view.prompt,
            "noise": rng.standard_normal(self.task.shape, dtype=np.float32),
            "sigma": draw_sigma(rng),
        }
