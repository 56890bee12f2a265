"""The miniature's recipe at a size that a test can afford."""

from __future__ import annotations

import copy
import json
from typing import Any

from dynaip.miniature.recipe import (
    load_recipe,
)


def tiny_recipe() -> dict[str, Any]:
    recipe = copy.deepcopy(load_recipe("64px"))
    recipe |= {"tokenizer_captions": 60, "vae_pictures": 60}
    recipe["pictures"] |= {"size": 32, "pool": 6}
    recipe["vae"] |= {"sample_size": 32, "correction_width": 4}
    recipe["image_encoder"] |= {"image_size": 32, "num_hidden_layers": 2}
    recipe["transformer"] |= {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 1}
    return recipe


def as_toml(recipe: dict[str, Any]) -> str:
    """Values first, then tables, then the stages' in the table `train`."""
    tables = {name: value for name, value in recipe.items() if isinstance(value, dict)}
    tables |= {f"train.{stage}": table for stage, table in tables.pop("train").items()}
    lines = [f"{key} = {json.dumps(value)}" for key, value in recipe.items() if key not in tables]
    lines = [line for line in lines if not line.startswith("train = ")]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines)
