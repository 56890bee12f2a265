"""What the arguments of a FLUX pipeline say: sizes, guidance, another adapter's names."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import metadata_load

from dynaip.adapter.prompt import ImagePrompt
from dynaip.pipeline.subject import Grid

# diffusers' names for its own IP-Adapter, and what says the same here.
STOCK = {
    "ip_adapter_image": "subjects=[Subject(...)]",
    "ip_adapter_image_embeds": "subjects=[Subject(card)]",
    "ip_adapter_masks": "Subject(..., mask=...)",
    "negative_ip_adapter_image_embeds": "negative_ip_adapter_image=card",
}
# What diffusers gives the unconditional pass under another name than the other.
OF_THE_PROMPT = ("prompt_2", "prompt_embeds", "pooled_prompt_embeds")
SECOND_PASS = ("true_cfg_scale", "negative_prompt", *(f"negative_{n}" for n in OF_THE_PROMPT))


def default_arguments(pipe: DiffusionPipeline) -> dict[str, Any]:
    """What this model was made for, where diffusers' FLUX pipelines assume FLUX.1.

    Returns:
        Those of `height`, `width` (pixels), `max_area` (Kontext's size, square pixels),
        `max_sequence_length` and `guidance_scale` (where the model's card has one) that the
        pipeline's call takes.

    Raises:
        ValueError: The card's guidance is no number.
    """
    size = getattr(pipe.vae.config, "sample_size", None)
    tokens = getattr(pipe.tokenizer_2, "model_max_length", 512)
    defaults = {"height": size, "width": size, "max_sequence_length": min(512, tokens)}
    defaults["max_area"] = size and size * size
    defaults["guidance_scale"] = _guidance_of_card(pipe)
    accepted = inspect.signature(pipe.__call__).parameters
    return {name: v for name, v in defaults.items() if v is not None and name in accepted}


def default_guidance(pipe: DiffusionPipeline) -> float:
    """What a call draws with that gives no `guidance_scale`: the card's, or the pipeline's own."""
    own = inspect.signature(pipe.__call__).parameters["guidance_scale"].default
    return float(default_arguments(pipe).get("guidance_scale", own))


def _guidance_of_card(pipe: DiffusionPipeline) -> float | None:
    """What the model card of a local folder has under `inference: parameters: guidance_scale`."""
    card = Path(pipe.name_or_path, "README.md") if pipe.name_or_path else None
    if card is None or not card.is_file():
        return None
    told: Any = metadata_load(card)
    for key in ("inference", "parameters", "guidance_scale"):
        if not isinstance(told, dict):
            return None
        told = told.get(key)
    if told is not None and (isinstance(told, bool) or not isinstance(told, int | float)):
        raise ValueError(f"The guidance_scale of {card} is {told!r}; make it a number.")
    return told


def with_defaults(pipe: DiffusionPipeline, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments without those that are `None`, the model's own where none were given."""
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


def check_image_guidance(scale: float) -> None:
    """Refuses what is no strength of image guidance.

    Raises:
        ValueError: It is under 1, or not finite.
    """
    if not 1 <= scale < math.inf:
        raise ValueError(
            f"image_guidance_scale is {scale:g}; give 1 for none, or a number above, such as 3."
        )


def with_image_guidance(
    pipe: DiffusionPipeline,
    prompt: str | list[str] | None,
    scale: float,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """A call's arguments with true guidance away from the same prompt without references.

    Args:
        pipe: The pipeline.
        prompt: The call's.
        scale: How far, from 1 on.
        arguments: The call's others.

    Raises:
        ValueError: The scale is none, the pipeline has one pass only, or its second is taken.
    """
    check_image_guidance(scale)
    if "true_cfg_scale" not in inspect.signature(pipe.__call__).parameters:
        raise ValueError(
            f"{type(pipe).__name__} has no second pass; leave image_guidance_scale out."
        )
    if taken := [name for name in arguments if name in SECOND_PASS]:
        raise ValueError(
            f"image_guidance_scale makes its own second pass; leave it or {taken[0]} out."
        )
    same = {name: arguments[name] for name in OF_THE_PROMPT if name in arguments}
    if prompt is not None:
        same["prompt"] = prompt
    second = {f"negative_{name}": given for name, given in same.items()}
    return {**arguments, **second, "true_cfg_scale": scale}


def counts_steps(arguments: Mapping[str, Any], *prompts: ImagePrompt | None) -> bool:
    """Whether what the blocks are given depends on the step, or on which pass of it runs."""
    windows = any(prompt is not None and prompt.window is not None for prompt in prompts)
    return windows or is_guided(arguments)
