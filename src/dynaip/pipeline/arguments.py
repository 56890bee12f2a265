"""What the arguments of a FLUX pipeline say: sizes, guidance, another adapter's names."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from huggingface_hub import metadata_load
from yaml import YAMLError

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


def default_guidance(pipe: DiffusionPipeline, given: float | None = None) -> float:
    """Guidance by the prompt where none is given: the model card's, or the pipeline's own.

    A card is that of the local folder that the pipeline was loaded from, whatever it is then used
    for; a pipeline put together from parts has none.

    Args:
        pipe: The pipeline.
        given: What was asked for, which counts.

    Raises:
        ValueError: The card cannot be read, or what it says is no guidance.
    """
    if given is not None:
        return given
    card = Path(pipe.name_or_path, "README.md") if pipe.name_or_path else None
    told = _guidance_in(card) if card and card.is_file() else None
    own = inspect.signature(pipe.__call__).parameters["guidance_scale"].default
    return float(own if told is None else told)


def _guidance_in(card: Path) -> Any:
    """What a card has under `inference: parameters: guidance_scale`."""
    try:
        told: Any = metadata_load(card)
    except (YAMLError, ValueError) as error:
        raise ValueError(f"The model card {card} cannot be read ({error}); mend it.") from error
    for key in ("inference", "parameters", "guidance_scale"):
        told = told.get(key) if isinstance(told, dict) else None
    number = isinstance(told, int | float) and not isinstance(told, bool)
    if told is not None and not (number and 0 <= told < math.inf):
        raise ValueError(
            f"The guidance_scale in {card} is {told!r}; make it a number that is not negative."
        )
    return told


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
    if not 1 <= scale < math.inf:
        raise ValueError(
            f"image_guidance_scale is {scale:g}; give 1 for none, or a number above, such as 3."
        )
    if "true_cfg_scale" not in inspect.signature(pipe.__call__).parameters:
        raise ValueError(
            f"{type(pipe).__name__} has no second pass; leave image_guidance_scale out."
        )
    if taken := [n for n in SECOND_PASS if arguments.get(n, 1) != 1]:
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
