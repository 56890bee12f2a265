"""The recipe of the miniature: what each stage builds, trains and leaves behind.

Stages run in the order of `STAGES`; each reads what the earlier ones exported below the same
folder. `bundle` puts the exports together into a folder that `FluxPipeline.from_pretrained` opens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModel, T5EncoderModel, T5Tokenizer

from dynaip.adapter.model import DynaIPAdapter
from dynaip.bundle import ADAPTER, ADAPTERS, INTRA, VARIANTS
from dynaip.hosts.vision import stack_pictures
from dynaip.miniature import toyland
from dynaip.miniature.autoencoder import PatchAutoencoder, round_trip_psnr
from dynaip.miniature.base import BaseTask, GuidanceTask, initialise
from dynaip.miniature.encoders import EncoderTask
from dynaip.miniature.tables import check_recipe
from dynaip.miniature.towers import ImageTowerTask, TextTowerTask
from dynaip.recipes import read_recipe

# The stages, and those whose exports each of them reads.
READS: dict[str, tuple[str, ...]] = {
    "vae": (),
    "encoder": (),
    "image_tower": ("encoder",),
    "text_tower": ("encoder",),
    "base": ("vae", "encoder", "image_tower", "text_tower"),
    "guidance": ("vae", "encoder", "image_tower", "text_tower", "base"),
}
STAGES = tuple(READS)
TOWERS = {"image_tower": "image_encoder", "text_tower": "text_encoder"}
ENCODER_PARTS = ("tokenizer", "text_encoder_2", "tokenizer_2")


def load_recipe(name_or_path: str = "64px") -> dict[str, Any]:
    """Reads a recipe of the miniature; see `dynaip.recipes.read_recipe`.

    Raises:
        ValueError: Also when a table has unknown or missing keys, or a value is of another type.
    """
    recipe = read_recipe("dynaip.miniature", name_or_path)
    check_recipe(recipe)
    return recipe


def build_task(
    stage: str, recipe: dict[str, Any], runs: Path, start: Path | None = None
) -> AutoencoderTask | EncoderTask | ImageTowerTask | TextTowerTask | BaseTask:
    """The task of one stage, over the exports of the stages before it.

    Args:
        stage: One of `STAGES`.
        recipe: As `load_recipe` reads it.
        runs: Folder that holds a run folder for each stage.
        start: Folder of the transformer that stage `base` goes on from, instead of a new one.

    Raises:
        ValueError: The stage is unknown, an earlier one has not finished, or `start` does not fit.
    """
    if start is not None and stage != "base":
        raise ValueError(f"Only stage base can go on from other weights, not {stage!r}.")
    torch.manual_seed(0)  # initial weights
    if stage == "vae":
        vae = PatchAutoencoder(**recipe["vae"])
        return AutoencoderTask(vae, recipe["vae"]["sample_size"], recipe["vae_pictures"])
    if stage == "encoder":
        return EncoderTask(
            vision=dict(recipe["image_encoder"]),
            text=dict(recipe["text_encoder"]),
            t5=dict(recipe["text_encoder_2"]),
            max_length=recipe["max_sequence_length"],
            tokenizer_captions=recipe["tokenizer_captions"],
            cache=runs / "cache",
            pool=recipe["pictures"]["pool"],
        )
    if stage == "image_tower":
        tower = CLIPVisionModel.from_pretrained(_export(runs, "encoder", "image_encoder"))
        return ImageTowerTask(tower, cache=runs / "cache", pool=recipe["pictures"]["pool"])
    if stage == "text_tower":
        return TextTowerTask(
            CLIPTextModel.from_pretrained(_export(runs, "encoder", "text_encoder")),
            CLIPTokenizer.from_pretrained(_export(runs, "encoder", "tokenizer")),
        )
    if stage == "base":
        transformer = FluxTransformer2DModel(**recipe["transformer"])
        if start is None:
            initialise(transformer)
        else:
            _load_weights(transformer, start)
        pipeline = assemble(recipe, runs, transformer)
        return BaseTask(pipeline, runs / "cache", **recipe["pictures"], **recipe["loss"])
    if stage == "guidance":
        transformer = FluxTransformer2DModel.from_pretrained(_export(runs, "base", "transformer"))
        return GuidanceTask(
            assemble(recipe, runs, transformer), runs / "cache", **recipe["pictures"]
        )
    raise ValueError(f"Unknown stage {stage!r}; choose one of {', '.join(STAGES)}.")


def assemble(
    recipe: dict[str, Any], runs: Path, transformer: FluxTransformer2DModel
) -> FluxPipeline:
    """A pipeline of the exports so far around a transformer.

    Raises:
        ValueError: A stage before it has not finished.
    """

    def load(cls: Any, stage: str, name: str) -> Any:
        return cls.from_pretrained(_export(runs, stage, name))

    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**recipe["scheduler"]),
        vae=load(PatchAutoencoder, "vae", "vae"),
        text_encoder=load(CLIPTextModel, "text_tower", "text_encoder"),
        tokenizer=load(CLIPTokenizer, "encoder", "tokenizer"),
        text_encoder_2=load(T5EncoderModel, "encoder", "text_encoder_2"),
        tokenizer_2=load(T5Tokenizer, "encoder", "tokenizer_2"),
        transformer=transformer,
        image_encoder=load(CLIPVisionModel, "image_tower", "image_encoder"),
    )


def bundle(
    recipe: dict[str, Any],
    runs: Path,
    target: Path,
    *,
    adapter: Path | None = None,
    variants: Mapping[str, Path] | None = None,
    intra: Path | None = None,
) -> None:
    """Writes the trained pipeline to `target` in 16-bit safetensors, with adapters for it.

    Weights are stored as bfloat16; the autoencoder, small and used for measuring, keeps fp32. A
    config of transformers names the precision its model is loaded in, and it says fp32, which is
    what diffusers loads by default: so all parts agree unless `torch_dtype` asks otherwise.
    Adapters that an earlier bundle left in `target` are removed: they were for another base.

    Args:
        recipe: As `load_recipe` reads it.
        runs: Folder that holds the stages' exports.
        target: Folder of the bundle.
        adapter: Folder of the method's own adapter.
        variants: Folders of the ablation's adapters by name.
        intra: Folder of what the method's own adapter was after stage 1.

    Raises:
        ValueError: A stage has not finished, a folder holds no adapter, or a variant's name is
            a path.
    """
    if wrong := [name for name in variants or {} if Path(name).name != name]:
        raise ValueError(f"A variant cannot be called {wrong[0]!r}; choose a plain name.")
    own = {ADAPTER: adapter, INTRA: intra}
    folders = {place: path for place, path in own.items() if path is not None}
    folders |= {f"{VARIANTS}/{name}": path for name, path in (variants or {}).items()}
    trained = {place: DynaIPAdapter.from_pretrained(path) for place, path in folders.items()}
    last = "guidance" if (runs / "guidance" / "export").is_dir() else "base"
    transformer = FluxTransformer2DModel.from_pretrained(_export(runs, last, "transformer"))
    pipeline = assemble(recipe, runs, transformer)
    encoders = ("text_encoder", "text_encoder_2", "image_encoder")
    for part in ("transformer", *encoders):
        getattr(pipeline, part).to(torch.bfloat16)
    pipeline.save_pretrained(target)
    for part in encoders:
        path = target / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": "float32"}, indent=2))
    for place in ADAPTERS:
        shutil.rmtree(target / place, ignore_errors=True)
    for place, each in trained.items():
        each.to(torch.bfloat16).save_pretrained(target / place)


def unbundle(source: Path, runs: Path) -> None:
    """Writes a bundle's parts as the exports of the stages that made them: `bundle`, backwards.

    With it the training of a shipped miniature goes on where only the bundle is left.

    Raises:
        ValueError: The bundle lacks a part, or a run is already there.
    """
    parts = {name: runs / "encoder" / "export" / name for name in ENCODER_PARTS}
    parts |= {part: runs / stage / "export" / part for stage, part in TOWERS.items()}
    parts |= {"vae": runs / "vae" / "export" / "vae"}
    parts |= {"transformer": runs / "base" / "export" / "transformer"}
    if missing := sorted(name for name in parts if not (source / name).is_dir()):
        raise ValueError(f"{source} is not a bundle: it lacks {', '.join(missing)}.")
    if there := [runs / stage for stage in STAGES if (runs / stage / "export").exists()]:
        raise ValueError(f"{there[0] / 'export'} is already there; choose another --runs.")
    for name, target in parts.items():
        shutil.copytree(source / name, target)


def _load_weights(transformer: FluxTransformer2DModel, folder: Path) -> None:
    """Loads another run's transformer of the same shape."""
    found = FluxTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float32)
    wanted = {name: tensor.shape for name, tensor in transformer.state_dict().items()}
    if {name: tensor.shape for name, tensor in found.state_dict().items()} != wanted:
        raise ValueError(f"The transformer in {folder} has another shape than the recipe's.")
    transformer.load_state_dict(found.state_dict())


def _export(runs: Path, stage: str, name: str) -> Path:
    path = runs / stage / "export" / name
    if not path.is_dir():
        raise ValueError(
            f"Stage {stage!r} has not left {path}; run `dynaip miniature train --stage {stage}` "
            "first."
        )
    return path


class AutoencoderTask(nn.Module):
    """Fits the principal components at once, then trains the correction on the round trip."""

    def __init__(self, vae: PatchAutoencoder, size: int, pictures: int) -> None:
        super().__init__()
        self.vae, self.size = vae, size
        images = [toyland_picture(0, 2, index, size) for index in range(pictures)]
        vae.fit(stack_pictures(images))

    def dataset(self, seed: int) -> Dataset[dict[str, Any]]:
        return Pictures(seed, self.size)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        images = stack_pictures([sample["image"] for sample in samples])
        return {"pixels": images.float() / 127.5 - 1}

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        pixels = batch["pixels"]
        decoded = self.vae(pixels)
        psnr = torch.tensor(round_trip_psnr(pixels, decoded.detach()))
        return {"loss": F.mse_loss(decoded, pixels) * 100, "psnr": psnr}

    def diagnose(self, batch: dict[str, Any]) -> dict[str, float]:
        return {}

    def sample(self, path: Path) -> None:
        """The log's PSNR says more than a picture of it."""

    def export(self, folder: Path) -> None:
        self.vae.save_pretrained(folder / "vae")


class Pictures(Dataset[dict[str, Any]]):
    """Rendered pictures of one to three subjects, without captions."""

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": toyland_picture(self.seed, 0, index, self.size)}


def toyland_picture(seed: int, stream: int, index: int, size: int) -> np.ndarray:
    """Picture `index` of a stream, with one to three subjects in turn."""
    rng = np.random.default_rng([seed, stream, index])
    return toyland.render(toyland.sample_spec(rng, subjects=1 + index % 3), size).image
