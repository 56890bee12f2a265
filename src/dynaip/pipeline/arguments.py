"""What the arguments of a FLUX pipeline say: sizes, guidance, another adapter's names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers import DiffusionPipeline

from dynaip.adapter.prompt import ImagePrompt
from dynaip.pipeline.subject import Grid

# diffusers' names for its own IP-Adapter, and what says the same here.
STOCK = {
    "ip_adapter_image": "subjects=[Subject(...)]",
    "ip_adapter_image_embeds": "subjects=[Subject(card)]",
    "ip_adapter_masks": "Subject(..., mask=...)",
    "negative_ip_adapter_image_embeds": "negative_ip_adapter_image=card",
}


def default_arguments(pipe: DiffusionPipeline) -> dict[str, int]:
    """Sizes of this model, where diffusers' FLUX pipelines assume those of FLUX.1.

    Returns:
        Those of `height`, `width` (pixels), `max_area` (Kontext's size, square pixels) and
        `max_sequence_length` that the pipeline's call takes.
    """
    size = getattr(pipe.vae.config, "sample_size", None)
    tokens = getattr(pipe.tokenizer_2, "model_max_length", 512)
    defaults = {"height": size, "width": size, "max_sequence_length": min(512, tokens)}
    defaults["max_area"] = size and size * size
    accepted = inspect.signature(pipe.__call__).parameters
    return {name: v for name, v in defaults.items() if v is not None and name in accepted}


def with_sizes(pipe: DiffusionPipeline, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments without those that are `None`, sizes that were not given filled in."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return {**default_arguments(pipe), **given}


def token_grid(pipe: DiffusionPipeline, arguments: Mapping[str, Any]) -> Grid | None:
    """Rows and columns of a call's image tokens, rounded as pipelines round; `None`: unknown."""
    if "height" not in arguments or "width" not in arguments:
        return None
    height, width = int(arguments["height"]), int(arguments["width"])
    if "max_area" in arguments:  # Kontext takes the proportions, and this size
        area, aspect = arguments["max_area"], width / height
        height, width = round((area / aspect) ** 0.5), round((area * aspect) ** 0.5)
    token = pipe.vae_scale_factor * 2
    return height // token, width // token


def refuse_stock(arguments: Mapping[str, Any]) -> None:
    """Refuses what belongs to diffusers' own IP-Adapter.

    Raises:
        ValueError: Such an argument was given.
    """
    for name, ours in STOCK.items():
        if arguments.get(name) is not None:
            raise ValueError(
                f"{name} belongs to diffusers' own IP-Adapter, which is not here; give {ours}."
            )


def is_guided(arguments: Mapping[str, Any]) -> bool:
    """Whether diffusers makes an unconditional pass of this call."""
    words = "negative_prompt" in arguments
    embeds = {"negative_prompt_embeds", "negative_pooled_prompt_embeds"} <= arguments.keys()
    return arguments.get("true_cfg_scale", 1) > 1 and (words or embeds)


def counts_steps(arguments: Mapping[str, Any], *prompts: ImagePrompt | None) -> bool:
    """Whether what the blocks are given depends on the step, or on which pass of it runs."""
    windows = any(prompt is not None and prompt.window is not None for prompt in prompts)
    return windows or is_guided(arguments)
