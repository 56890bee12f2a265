"""Prompts of places in the picture, from words and masks to what the blocks take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline

from dynaip.hosts.regions import RegionalPrompts
from dynaip.pipeline.placing import resolve_places
from dynaip.pipeline.subject import Grid, Mask, token_mask

BASE_RATIO = 0.3
INJECT_STEPS = 10


class Regional(NamedTuple):
    """InstantX's arguments, see `PersonalPipeline.__call__`; `None` is not given."""

    regional_prompts: Sequence[str] | None = None
    regional_masks: Sequence[Mask] | None = None
    base_ratio: float | None = None
    mask_inject_steps: int | None = None


def encode_regions(
    pipe: DiffusionPipeline, given: Regional, grid: Grid | None, arguments: Mapping[str, Any]
) -> RegionalPrompts | None:
    """Encodes the regions' prompts and brings their masks to the picture's tokens.

    Args:
        pipe: A FLUX pipeline, which encodes them as it does its own prompt.
        given: The arguments.
        grid: Rows and columns of image tokens.
        arguments: The call's others.

    Returns:
        `None` where no region was given.

    Raises:
        ValueError: The arguments do not go together, or cannot be used.
    """
    _refuse_elsewhere(arguments)
    prompts, masks = list(given.regional_prompts or ()), list(given.regional_masks or ())
    _check(given, prompts, masks)
    if not prompts:
        return None
    if grid is None:
        raise ValueError("Regional masks need the picture's size; give height and width.")
    length = {name: n for name, n in arguments.items() if name == "max_sequence_length"}
    encoder: Any = pipe
    text = encoder.encode_prompt(prompt=prompts, prompt_2=None, **length)[0]
    tokens = np.stack([token_mask(mask, grid) >= 0.5 for mask in resolve_places(masks)])
    if not tokens.any(axis=1).all():
        raise ValueError("A regional mask covers no token by half; draw it larger.")
    return RegionalPrompts(
        text=text,
        masks=torch.from_numpy(tokens).to(text.device),
        base_ratio=BASE_RATIO if given.base_ratio is None else float(given.base_ratio),
        steps=INJECT_STEPS if given.mask_inject_steps is None else given.mask_inject_steps,
    )


def _check(given: Regional, prompts: Sequence[str], masks: Sequence[Mask]) -> None:
    if not prompts and any(value is not None for value in given):
        raise ValueError(
            "regional_masks, base_ratio and mask_inject_steps are about regional_prompts; give "
            "these, or leave the others out."
        )
    if len(prompts) != len(masks):
        raise ValueError(
            f"There are {len(prompts)} regional_prompts and {len(masks)} regional_masks; give one "
            "mask for each prompt."
        )
    if given.base_ratio is not None and not 0 <= given.base_ratio <= 1:
        raise ValueError(f"base_ratio is a share from 0 to 1; got {given.base_ratio}.")
    if given.mask_inject_steps is not None and given.mask_inject_steps < 1:
        raise ValueError(
            f"mask_inject_steps counts steps, 1 or more; got {given.mask_inject_steps}."
        )


def _refuse_elsewhere(arguments: Mapping[str, Any]) -> None:
    """Where InstantX's own pipeline takes them, they would do nothing here."""
    joint = arguments.get("joint_attention_kwargs") or {}
    if lost := sorted(set(joint) & set(Regional._fields)):
        raise ValueError(
            f"{', '.join(lost)} in joint_attention_kwargs would have no effect; give them as "
            "arguments of the call."
        )
