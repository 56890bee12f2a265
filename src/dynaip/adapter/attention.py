"""Equations 2 to 5 and 9 as functions of tensors: no parameters, no configuration.

Axes: b batch, s subject, n query tokens, m reference tokens, h heads, d width of a head.
A leading `c` is a batch that may be 1 where the queries' is not: one reference for all samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dynaip.adapter.choices import OVERLAPS, Overlap


def cross_attention(
    query: Float[Tensor, "b n h d"],
    key: Float[Tensor, "c h m d"],
    value: Float[Tensor, "c h m d"],
) -> Float[Tensor, "b n h*d"]:
    """CA of Equation 2 (image queries) and Equation 4 (text and image queries).

    One reference for a whole batch is not copied: the batch is folded into the query tokens.
    """
    batch, tokens = query.shape[:2]
    if key.shape[0] == 1:
        query = query.reshape(1, batch * tokens, *query.shape[2:])
    output = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.to(query.dtype), value.to(query.dtype)
    )
    return output.transpose(1, 2).reshape(batch, tokens, -1)


def subject_attention(
    query: Float[Tensor, "b n h d"],
    key: Float[Tensor, "c s h m d"],
    value: Float[Tensor, "c s h m d"],
    weight: Float[Tensor, "w s n_or_1"],
) -> Float[Tensor, "b n h*d"]:
    """The sum of Equation 9: a softmax per subject, times that subject's weight on each row.

    Args:
        query: The base's own normalised queries.
        key: Reference keys of every subject.
        value: Reference values of every subject.
        weight: λ_i · M_i per query row, or λ_i alone (last axis 1).
    """
    total = None
    for k, v, w in zip(key.unbind(1), value.unbind(1), weight.unbind(1), strict=True):
        term = cross_attention(query, k, v)
        term = term * w.to(term.dtype)[..., None]
        total = term if total is None else total + term
    assert total is not None, "a prompt without subjects never reaches a block"
    return total


def add_to_rows(
    attended: Float[Tensor, "b n d"], cross: Float[Tensor, "b rows d"], start: int
) -> Float[Tensor, "b n d"]:
    """Adds CA to consecutive rows of the block's own attention (Equations 3 and 5).

    Rows outside keep their bits. Without gradients the sum is made in place, which saves a copy of
    the whole sequence.

    Args:
        attended: Output of MMA (Equation 1), before the block's output projection.
        cross: CA, already weighted, of the rows `start ... start + rows`.
        start: First row; text comes before the image.
    """
    stop = start + cross.shape[1]
    if not (attended.requires_grad or cross.requires_grad):
        attended[:, start:stop] += cross
        return attended
    parts = [attended[:, :start], attended[:, start:stop] + cross, attended[:, stop:]]
    return torch.cat(parts, dim=1)


def resolve_overlap(
    mask: Float[Tensor, "b s n"], overlap: Overlap = "sum"
) -> Float[Tensor, "b s n"]:
    """Decides who speaks where masks of several subjects meet.

    Args:
        mask: One mask per subject over the image rows, 0 to 1.
        overlap: `"sum"` adds them as Equation 9 does; `"normalise"` shares a row so that its
            weights never exceed 1 in all; `"priority"` lets earlier subjects cover later ones.

    Raises:
        ValueError: `overlap` is none of the three.
    """
    if overlap == "sum":
        return mask
    if overlap == "normalise":
        return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    if overlap == "priority":
        uncovered = torch.cumprod(1 - mask, dim=1)
        return mask * torch.cat([torch.ones_like(mask[:, :1]), uncovered[:, :-1]], dim=1)
    raise ValueError(f"overlap is one of {', '.join(OVERLAPS)}; got {overlap!r}.")
