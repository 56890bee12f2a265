"""What is refused, before anything is changed: a sentence each."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from torch import Tensor

from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.processor import FluxImagePromptProcessor
from dynaip.hosts.sites import BlockBranches, Site


def check_free(processors: list[Any]) -> None:
    """Raises where the slots hold anything but diffusers' own processors."""
    if any(isinstance(processor, FluxImagePromptProcessor) for processor in processors):
        raise ValueError(
            "An adapter is attached to this transformer already; detach it first, or set its "
            "prompt instead."
        )
    if strangers := {type(p).__name__ for p in processors if type(p) is not FluxAttnProcessor}:
        raise ValueError(
            f"This transformer has other attention processors ({', '.join(sorted(strangers))}); "
            "unload what put them there, such as a stock IP-Adapter, before attaching."
        )


def check_attached(detached: bool) -> None:
    """Raises where something is given to an adapter that has been taken off."""
    if detached:
        raise ValueError(
            "This adapter is detached, so it would have no effect; attach it to the pipeline again."
        )


def check_undivided(transformer: FluxTransformer2DModel) -> None:
    """Raises where several devices share one pass: each would see rows or heads of its own."""
    if transformer._parallel_config is not None:
        raise ValueError(
            "This transformer runs with tensor or context parallelism, which image prompts do not "
            "support; load it without, and give each device pictures of its own."
        )


def check_prompt(prompt: ImagePrompt, sites: tuple[Site, ...]) -> None:
    """Raises where a prompt was projected for another base."""
    heads, head_dim = prompt.keys[0].shape[2], prompt.keys[0].shape[4]
    found = (prompt.blocks, heads, head_dim)
    double_only = prompt.insertion == "post_ff"
    blocks = sum(site.kind == "double" for site in sites) if double_only else len(sites)
    wanted = (blocks, sites[0].heads, sites[0].head_dim)
    if found != wanted:
        text = "{} double blocks" if double_only else "{} blocks"
        text += " of {} heads of width {}"
        raise ValueError(
            f"This prompt was projected for a base of {text.format(*found)}, and this one has "
            f"{text.format(*wanted)}; use the base that the adapter was trained on."
        )


def check_rows(prompt: ImagePrompt, branches: BlockBranches) -> None:
    """Raises where a prompt, or the words that see it, have no place in the rows that attend."""
    if prompt.text_mask is not None and prompt.insertion == "post_ff":
        raise ValueError(
            "This adapter adds references to image rows alone, so no word of the prompt can see "
            "one; leave the subjects' phrases out."
        )
    if prompt.text_mask is not None and not branches.has_text:
        raise ValueError(
            "A subject's phrase is about the rows of the prompt, which see no reference with "
            "branches 'image'; use 'both', or leave the phrase out."
        )
    if prompt.insertion == "post_ff" and branches.double != "image":
        raise ValueError(
            "This reference is added to the image rows of double blocks after their feed-forward, "
            f"where text rows have no place; use branches 'image', not {branches.double!r}."
        )


def check_pass(prompt: ImagePrompt, batch: int, rows: int, text: int) -> None:
    """Raises where a prompt does not fit the samples, image rows and text rows of a pass."""
    if prompt.batch not in (1, batch):
        raise ValueError(
            f"The prompt holds references for {prompt.batch} samples, but {batch} are being made; "
            "use one for all, or `repeat_interleave` it by the pictures per prompt."
        )
    if prompt.mask is not None and prompt.mask.shape[-1] > 1:
        check_grid(prompt.mask, rows)
    if prompt.text_mask is not None and prompt.text_mask.shape[-1] not in (1, text):
        raise ValueError(
            f"The subjects' phrases were looked up among {prompt.text_mask.shape[-1]} text tokens, "
            f"but this pass has {text}; use the same max_sequence_length, and no regional prompts."
        )


def check_window(window: Tensor, steps: int) -> None:
    """Raises where a subject comes and goes between two steps, so that none would see it."""
    positions = torch.arange(steps, device=window.device) / steps
    seen = ((window[..., :1] <= positions) & (positions < window[..., 1:])).any(-1)
    if not seen.all():
        start, end = window[~seen][0].tolist()
        raise ValueError(
            f"No step of {steps} lies between the start {start:g} and the end {end:g} of a "
            "subject; make more steps, or give it more time."
        )


def check_grid(masks: Tensor, rows: int) -> None:
    """Raises where masks are for another picture's rows."""
    if masks.shape[-1] != rows:
        raise ValueError(
            f"The masks cover {masks.shape[-1]} image tokens, but this picture has {rows}; "
            "bring them to its grid."
        )
