"""An adapter's recipe: the base, the adapter's shape, the pairs, and the two stages."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from diffusers import FluxPipeline

from dynaip.adapter import storage
from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter
from dynaip.data.folder import FolderPairs
from dynaip.miniature.pairs import Pairing, ToylandPairs
from dynaip.pipeline.references import load_image_encoder
from dynaip.recipes import check_table, check_types, from_table, read_recipe
from dynaip.training.adapter import AdapterTask, Drops, Pairs
from dynaip.training.config import TrainingConfig

# What each ablation changes in the adapter; all else, also data and steps, stays.
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "add": {"fusion": "add"},
    "concat": {"fusion": "concat"},
    "low": {"fusion": "low"},
    "mid": {"fusion": "mid"},
    "high": {"fusion": "high"},
    # Without DDS: trained as it is used (Table 2, "w/o DDS").
    "image-branch": {"train_branches": "image"},
    # A vanilla IP-Adapter (Figure 3 a-b): the deep layer alone, on image rows alone.
    "ip-adapter": {"fusion": "high", "train_branches": "image"},
    # Other taps, shallow to deep, as layers of the paper's encoder; `None` is the recipe's own.
    "early": {"layers": (4, 8, 12)},
    "late": {"layers": (16, 20, 24)},
    # One layer alone (Figure 17); 10, 17 and 24 are low, mid and high.
    "layer-4": {"fusion": "low", "layers": (4, None, None)},
    "layer-8": {"fusion": "low", "layers": (8, None, None)},
    "layer-12": {"fusion": "low", "layers": (12, None, None)},
    "layer-15": {"fusion": "mid", "layers": (None, 15, None)},
    "layer-21": {"fusion": "mid", "layers": (None, 21, None)},
}
# Layers of the paper's encoder, ViT-L.
PAPER_DEPTH = 24


class Toyland(TypedDict, total=False):
    """The table `data` of rendered pairs; see `ToylandPairs`."""

    pool: int
    view_captions: float
    view_category: float


class Folders(TypedDict, total=False):
    """The table `data` of folders of pairs, one for each pairing."""

    intra: str
    cross: str


DATA: dict[str, type] = {"toyland": Toyland, "folder": Folders}


class Stage(TypedDict):
    """What a stage's table holds beside the training's settings."""

    pairing: Pairing


class _Optional(TypedDict, total=False):
    text_length: int
    logit_mean: float
    drops: dict
    gradient_checkpointing: bool


class Recipe(_Optional):
    """What a recipe holds; most of its tables are checked by what is made of them."""

    model: str
    size: int
    data: dict
    adapter: dict
    stage1: dict
    stage2: dict


def load_recipe(name_or_path: str) -> dict[str, Any]:
    """Reads an adapter's recipe; see `dynaip.recipes.read_recipe`.

    Raises:
        ValueError: Also when it has unknown or missing keys, or a value is of another type.
    """
    recipe = read_recipe("dynaip.training", name_or_path)
    check_table(Recipe, recipe, "the recipe")
    for stage in ("stage1", "stage2"):
        check_types(Stage, {"pairing": recipe[stage].get("pairing")}, f"the table {stage}")
    return recipe


def with_variant(recipe: dict[str, Any], variant: str, seed: int = 0) -> dict[str, Any]:
    """A recipe of one of the ablations' variants.

    Layers that a variant names are the paper's, of 24. On another encoder they are the nearest ones
    at the same share of the depth, which is where the recipe's deepest tap lies: 4, 8 and 12 are 1,
    2 and 3 of the miniature's 6.

    Args:
        recipe: As `load_recipe` reads it; it stays as it is.
        variant: One of `VARIANTS`.
        seed: Of initial weights, pairs and noise; 0 is the recipe's own where that names none.
            Both stages draw from streams of their own.

    Raises:
        ValueError: There is no such variant, or on this encoder its layers fall together or are
            the recipe's own.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant is one of {', '.join(VARIANTS)}; got {variant!r}.")
    changes = dict(VARIANTS[variant])
    if "layers" in changes:
        changes["layers"] = _layers(recipe["adapter"], variant)
    changed = {**recipe, "adapter": {**recipe["adapter"], **changes}}
    if seed:
        for number, stage in enumerate(("stage1", "stage2")):
            changed[stage] = {**recipe[stage], "seed": 2 * seed + number}
    return changed


def _layers(adapter: dict[str, Any], variant: str) -> list[int]:
    """A variant's taps on the recipe's encoder."""
    own = list(_adapter_config(adapter).layers)
    asked = VARIANTS[variant]["layers"]
    if len(own) != len(asked):
        raise ValueError(
            f"The variant {variant} is of {len(asked)} taps, and the recipe has {len(own)}; name "
            "the layers in a recipe of your own."
        )
    taps = [
        mine if layer is None else round(layer * own[-1] / PAPER_DEPTH)
        for layer, mine in zip(asked, own, strict=True)
    ]
    if taps == own:
        raise ValueError(
            f"The variant {variant} would tap {own}, as the recipe does: of {own[-1]} layers the "
            f"nearest is its own {VARIANTS[variant].get('fusion', 'full')}; train that one."
        )
    if taps[0] < 1 or taps != sorted(set(taps)):
        raise ValueError(
            f"The variant {variant} would tap {taps} of {own[-1]} layers, which are not three from "
            "shallow to deep; name the layers in a recipe of your own."
        )
    return taps


def stage_config(recipe: dict[str, Any], stage: int) -> TrainingConfig:
    """The training settings of stage 1 or 2."""
    settings = dict(recipe[f"stage{stage}"])
    settings.pop("pairing")
    return TrainingConfig.from_dict(settings, f"the table stage{stage}")


def check_stage(recipe: dict[str, Any], stage: int, start: Path | None = None) -> str | None:
    """Refuses what can be told without the base, which may take minutes to load.

    Args:
        recipe: As `load_recipe` reads it.
        stage: 1 or 2.
        start: Folder of the adapter to start from.

    Returns:
        SHA-256 of what a folder lists as the stage's pairs; of rendered ones the recipe says all.

    Raises:
        ValueError: A table of the recipe, its pairs, or the start cannot be used.
    """
    config = _adapter_config(recipe["adapter"])
    with torch.device("meta"):
        DynaIPAdapter(config)
    _drops(recipe)
    if start is not None:
        _check_start(start, storage.load_config(start), config)
    # Whatever the size of the reference, which the image encoder decides.
    pairs = _pairs(recipe, stage, recipe["size"])(0)
    if not isinstance(pairs, FolderPairs):
        return None
    return hashlib.sha256(json.dumps(pairs.rows, sort_keys=True).encode()).hexdigest()


def build_task(
    recipe: dict[str, Any],
    stage: int,
    pipeline: FluxPipeline,
    start: Path | None = None,
    cache: Path | None = None,
) -> AdapterTask:
    """The adapter's task of one stage.

    Args:
        recipe: As `load_recipe` reads it.
        stage: 1 (intra-pair) or 2 (cross-pair).
        pipeline: The frozen base; it is given the adapter's image encoder where it has none.
        start: Folder of the adapter to start from; `None` starts from a new one.
        cache: Folder for rendered pairs, which runs on the same ones share.

    Raises:
        ValueError: The size, a table of the recipe, the start, or the image encoder cannot be used.
    """
    _check_size(recipe["size"], 2 * pipeline.vae_scale_factor)
    config = _adapter_config(recipe["adapter"])
    if start is None:
        torch.manual_seed(recipe[f"stage{stage}"].get("seed", 0))
        adapter = DynaIPAdapter(config)
    else:
        adapter = DynaIPAdapter.from_pretrained(start, dtype=torch.float32)
        _check_start(start, adapter.config, config)
    if pipeline.image_encoder is None:
        weight = next(pipeline.transformer.parameters())
        pipeline.register_modules(image_encoder=load_image_encoder(adapter.config, weight))
    if recipe.get("gradient_checkpointing"):
        pipeline.transformer.enable_gradient_checkpointing()
    return AdapterTask(
        pipeline,
        adapter,
        _pairs(recipe, stage, cast(Any, pipeline.image_encoder).config.image_size, cache),
        drops=_drops(recipe),
        text_length=recipe.get("text_length"),
        logit_mean=recipe.get("logit_mean", 0.0),
    )


def _check_size(size: int, token: int) -> None:
    """Raises where a side in pixels is no whole number of the base's tokens."""
    if size < token or size % token:
        raise ValueError(
            f"size in the recipe is a multiple of {token}, as the base's tokens are {token} pixels "
            f"wide, such as {max(token, size // token * token)}; got {size}."
        )


def _check_start(start: Path, found: DynaIPConfig, wanted: DynaIPConfig) -> None:
    """Raises where the adapter to start from is of another kind than the recipe's."""
    has, asked = dataclasses.asdict(found), dataclasses.asdict(wanted)
    if differing := [
        f"{name} is {has[name]!r} there and {asked[name]!r} in the recipe"
        for name in asked
        if has[name] != asked[name]
    ]:
        raise ValueError(
            f"The adapter in {start} is not the recipe's: {'; '.join(differing)}. Start from one "
            "that is, or change the recipe's table adapter, or the variant."
        )


def _adapter_config(table: dict[str, Any]) -> DynaIPConfig:
    return from_table(DynaIPConfig, table, "the table adapter")


def _drops(recipe: dict[str, Any]) -> Drops:
    return from_table(Drops, recipe.get("drops", {}), "the table drops")


def _pairs(
    recipe: dict[str, Any], stage: int, reference_size: int, cache: Path | None = None
) -> Pairs:
    pairing, size = recipe[f"stage{stage}"]["pairing"], recipe["size"]
    data = dict(recipe["data"])
    source = data.pop("source", None)
    if source not in tuple(DATA):
        raise ValueError(f"data.source is {' or '.join(DATA)}; got {source!r}.")
    check_table(DATA[source], data, f"the table data, of {source}")
    if source == "folder" and pairing not in data:
        raise ValueError(f"Missing in the table data: {pairing}, the folder of the stage's pairs.")
    if source == "toyland":
        return lambda seed: ToylandPairs(seed, pairing, size, reference_size, cache=cache, **data)
    return lambda seed: FolderPairs(Path(data[pairing]), seed, size, reference_size)
