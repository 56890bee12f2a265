"""The attention processor that adds a reference to a FLUX block (Equations 3, 5 and 9)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttention, _get_qkv_projections
from torch import Tensor

from dynaip.adapter.attention import add_to_rows, subject_attention
from dynaip.adapter.config import Branches
from dynaip.adapter.grouping import add_to_covered_rows
from dynaip.adapter.prompt import BlockPrompt
from dynaip.hosts.regions import Region, attend_by_region

TEXT_LENGTH = "image_prompt_text_length"
PINNED = "image_prompt_blocks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockNorms:
    """How loud a reference is in one block: root mean squares over the rows that attend to it.

    Attributes:
        cross: Of CA, weighted, as it is added.
        own: Of the block's own attention output on the same rows.
    """

    cross: Tensor
    own: Tensor


# Called with a block's index, the queries of its text then image rows ("b n h d"), its conditioning
# and the number of text rows.
Watcher = Callable[[int, Tensor, BlockPrompt, int], None]


class FluxImagePromptProcessor:
    """diffusers' `FluxAttnProcessor`, with cross-attention added before the output projection.

    A plain object without parameters: it adds nothing to the base's `state_dict`. What it attends
    to are tensor attributes, which regional compilation reads without recompiling.

    Attributes:
        block: This block's keys, values and weights; `None` is the base's own attention.
        region: Prompts by place; `None` is the prompt alone.
        rows: Rows that attend; `None` is none of them.
        recorder: Called with the block's index and its norms; `None` records nothing.
        watcher: Called with what the block's cross-attention is made of; `None` watches nothing.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.block: BlockPrompt | None = None
        self.region: Region | None = None
        self.rows: Branches | None = None
        self.recorder: Callable[[int, BlockNorms], None] | None = None
        self.watcher: Watcher | None = None

    def __call__(
        self,
        attn: FluxAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        image_prompt_text_length: int | None = None,
        image_prompt_blocks: tuple[BlockPrompt | None, ...] | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Attention of one block.

        Args:
            attn: The block's attention module.
            hidden_states: Image rows in double blocks, text and image rows in single blocks.
            encoder_hidden_states: Text rows, in double blocks.
            attention_mask: The base's own mask.
            image_rotary_emb: Cosines and sines for all rows.
            image_prompt_text_length: Text rows of this pass; `None` leaves the reference out.
            image_prompt_blocks: All blocks' conditioning, where it has to outlive this object's
                state (see `Attachment`); `None` reads `block`.

        Returns:
            Rows as they came in; for image and text rows apart two tensors. A third, which
            diffusers' block adds to the image rows after its feed-forward, is the cross-attention
            of a prompt whose insertion is `"post_ff"`.
        """
        query, key, value = joint_projections(attn, hidden_states, encoder_hidden_states)
        plain_query = query
        if image_rotary_emb is not None:
            query, key = rotate(query, image_rotary_emb), rotate(key, image_rotary_emb)
        if self.region is None:
            attended = self._attend(query, key, value, attention_mask)
        else:
            attended = attend_by_region(self._attend_masked, query, key, value, self.region)
        attended = attended.flatten(2, 3).to(query.dtype)

        block = self.block if image_prompt_blocks is None else image_prompt_blocks[self.index]
        bypass: tuple[Tensor, ...] = ()
        if block is not None and self.rows is not None and image_prompt_text_length is not None:
            cross_query = query if block.query_rope else plain_query
            if self.watcher is not None:
                self.watcher(self.index, cross_query, block, image_prompt_text_length)
            if block.insertion == "post_ff":
                bypass = (self._bypass(attended, cross_query, block, image_prompt_text_length),)
            else:
                attended = self._add(
                    attended, cross_query, block, image_prompt_text_length, self.rows
                )

        if encoder_hidden_states is None:
            return attended
        text, image = attended.split_with_sizes(
            [encoder_hidden_states.shape[1], hidden_states.shape[1]], dim=1
        )
        image = attn.to_out[1](attn.to_out[0](image.contiguous()))
        return image, attn.to_add_out(text.contiguous()), *bypass

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The base's own attention, in the backend that was chosen for it."""
        return dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )

    def _attend_masked(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Under a mask always in torch's own: some backends refuse masks, others reduce them."""
        if mask is None:
            return self._attend(query, key, value, None)
        backend = AttentionBackendName.NATIVE
        return dispatch_attention_fn(query, key, value, attn_mask=mask, backend=backend)

    def _add(
        self, attended: Tensor, query: Tensor, block: BlockPrompt, text: int, rows: Branches
    ) -> Tensor:
        """Adds CA to the rows of a branch."""
        if self.recorder is None:
            return add_cross(attended, query, block, text, rows)
        cross = add_cross(torch.zeros_like(attended), query, block, text, rows)
        own = {"image": slice(text, None), "text": slice(text), "both": slice(None)}[rows]
        norms = BlockNorms(
            cross=_root_mean_square(cross[:, own]), own=_root_mean_square(attended[:, own])
        )
        self.recorder(self.index, norms)
        return attended + cross

    def _bypass(self, attended: Tensor, query: Tensor, block: BlockPrompt, text: int) -> Tensor:
        """CA of the image rows alone, which passes by output projection, gate and feed-forward."""
        own = attended[:, text:]
        cross = add_cross(torch.zeros_like(own), query[:, text:], block, 0, "image")
        if self.recorder is not None:
            norms = BlockNorms(cross=_root_mean_square(cross), own=_root_mean_square(own))
            self.recorder(self.index, norms)
        return cross


def joint_projections(
    attn: FluxAttention, image: Tensor, text: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised queries and keys, and values, of text then image rows: "b n h d" each.

    Split by the width of a head, as the base does it: tensor parallelism divides their number.
    """
    projected: Any = _get_qkv_projections(attn, image, text)
    query, key, value = (rows.unflatten(-1, (-1, attn.head_dim)) for rows in projected[:3])
    query, key = attn.norm_q(query), attn.norm_k(key)
    if text is None:
        return query, key, value
    text_rows = [rows.unflatten(-1, (-1, attn.head_dim)) for rows in projected[3:]]
    return (
        torch.cat([attn.norm_added_q(text_rows[0]), query], dim=1),
        torch.cat([attn.norm_added_k(text_rows[1]), key], dim=1),
        torch.cat([text_rows[2], value], dim=1),
    )


def rotate(rows: Tensor, rotary: Any) -> Tensor:
    """The base's rotary embedding on "b n h d"."""
    rotated: Any = apply_rotary_emb(rows, rotary, sequence_dim=1)
    return rotated


def add_cross(
    attended: Tensor, query: Tensor, block: BlockPrompt, text: int, rows: Branches
) -> Tensor:
    """Adds CA to the rows of a branch; without gradients in place.

    Args:
        attended: Text then image rows, "b n d".
        query: Their queries, "b n h d_head".
        block: The block's conditioning.
        text: Number of text rows.
        rows: The branch.
    """
    reference = (block.key, block.value)
    if block.cover is None:
        start = 0 if rows in ("text", "both") else text
        weight = _weight(block, query.shape[1] - text, text, rows)
        stop = text if rows == "text" else None
        cross = subject_attention(query[:, start:stop], *reference, weight)
        return add_to_rows(attended, cross.to(attended.dtype), start)
    if rows in ("text", "both"):
        cross = subject_attention(query[:, :text], *reference, block.text_weight)
        attended = add_to_rows(attended, cross.to(attended.dtype), 0)
    if rows in ("image", "both"):
        weight = block.image_weight
        attended = add_to_covered_rows(attended, query, *reference, weight, block.cover, text)
    return attended


def _weight(block: BlockPrompt, image: int, text: int, rows: Branches) -> Tensor:
    """λ on text rows and λ · M on image rows, of a branch."""
    if rows == "image":
        return block.image_weight
    if rows == "text":
        return block.text_weight
    weights = block.text_weight.expand(-1, -1, text), block.image_weight.expand(-1, -1, image)
    batch = max(weight.shape[0] for weight in weights)
    return torch.cat([weight.expand(batch, -1, -1) for weight in weights], dim=-1)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.detach().float().square().mean().sqrt()
