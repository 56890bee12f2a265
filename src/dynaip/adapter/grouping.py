"""Equation 9 where masks are: only the rows under a subject's mask attend to that subject.

The sum over subjects is the same as `attention.subject_attention`, which computes every row for
every subject and multiplies by the mask; here rows of weight zero are left out, so with disjoint
masks any number of subjects costs what one does. Never an attention mask: several backends reduce
one to a row per key, without a word.

Axes as in `attention`; p rows of one subject, w a batch that may be 1 where the queries' is not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dynaip.adapter.attention import cross_attention

# Lengths are rounded up to a 64th of the picture: kernels that plan by shape see few shapes.
LENGTHS = 64
FLASH_DTYPES = (torch.float16, torch.bfloat16)


class Cover(NamedTuple):
    """Which image rows attend to which subject.

    Attributes:
        rows: Per subject "w p", distinct rows: those under its mask, filled up with others, whose
            weight is zero.
        lengths: p of each subject, "s".
        packed: Whether all subjects run in one call of a kernel for unequal lengths.
    """

    rows: tuple[Tensor, ...]
    lengths: Tensor
    packed: bool


def cover_rows(mask: Float[Tensor, "w s n"], packed: bool = False) -> Cover:
    """Finds the rows under each mask. Waits for the device, so once a prompt, not once a block.

    The number of rows is marked as dynamic: a compiled block serves all masks.

    Args:
        mask: One mask per subject over the image rows; whatever is not zero is covered.
        packed: See `Cover`.
    """
    from torch._dynamo import maybe_mark_dynamic

    image = mask.shape[-1]
    # A dimension of one would be compiled as a constant.
    step = max(2, image // LENGTHS)
    counts = mask.count_nonzero(-1).amax(0).clamp(min=1).tolist()
    lengths = [min(image, -(-count // step) * step) for count in counts]
    rows = []
    for subject, length in zip(mask.unbind(1), lengths, strict=True):
        own = torch.argsort((subject == 0).byte(), dim=-1, stable=True)[:, :length].contiguous()
        maybe_mark_dynamic(own, 1)
        rows.append(own)
    return Cover(tuple(rows), torch.tensor(lengths, device=mask.device), packed)


def can_pack(key: Tensor) -> bool:
    """Whether torch has a kernel for unequal lengths where these keys are.

    FlashAttention is asked for: half precision on NVIDIA cards from Ampere on, torch from 2.10.
    """
    return (
        key.is_cuda
        and torch.version.hip is None
        and key.dtype in FLASH_DTYPES
        and key.shape[-1] % 8 == 0
        and key.shape[-1] <= 256
        and torch.cuda.get_device_capability(key.device) >= (8, 0)
        and importlib.util.find_spec("torch.nn.attention.varlen") is not None
    )


def add_to_covered_rows(
    attended: Float[Tensor, "b n d"],
    query: Float[Tensor, "b n h d_head"],
    key: Float[Tensor, "c s h m d_head"],
    value: Float[Tensor, "c s h m d_head"],
    weight: Float[Tensor, "w s n_img"],
    cover: Cover,
    start: int,
) -> Float[Tensor, "b n d"]:
    """`attended` plus the sum of Equation 9, which only covered rows take part in.

    Subjects are added one after the other, so that rows of several get the same bits every time.
    Without gradients the sum is made in place.

    Args:
        attended: Output of MMA, or zeros.
        query: Queries of the same rows.
        key: Reference keys of every subject.
        value: Reference values of every subject.
        weight: λ_i · M_i per image row.
        cover: The rows of each subject.
        start: The first image row.
    """
    batch, tokens = query.shape[:2]
    first = start + tokens * torch.arange(batch, device=query.device)[:, None]
    indices = [first + rows for rows in cover.rows]
    attend = _attend_packed if cover.packed else _attend_each
    terms = attend(query.flatten(0, 1), indices, key, value, cover)
    in_place = not (attended.requires_grad or terms[0].requires_grad)
    flat = attended.contiguous().flatten(0, 1)
    for subject, (index, term) in enumerate(zip(indices, terms, strict=True)):
        own = weight[:, subject]
        own = own.gather(1, cover.rows[subject].expand(own.shape[0], -1))
        term = (term * own.to(term.dtype)[..., None]).to(flat.dtype).flatten(0, 1)
        add = flat.index_add_ if in_place else flat.index_add
        flat = add(0, index.flatten(), term)
    return flat.unflatten(0, (batch, tokens))


def _attend_each(
    query: Float[Tensor, "b_n h d_head"],
    indices: Sequence[Tensor],
    key: Tensor,
    value: Tensor,
    cover: Cover,
) -> list[Float[Tensor, "b _ d"]]:
    """One attention per subject."""
    return [
        cross_attention(query[index], key[:, subject], value[:, subject])
        for subject, index in enumerate(indices)
    ]


def _attend_packed(
    query: Float[Tensor, "b_n h d_head"],
    indices: Sequence[Tensor],
    key: Tensor,
    value: Tensor,
    cover: Cover,
) -> list[Float[Tensor, "b _ d"]]:
    """All subjects in one call: rows end to end, and for each subject where they begin."""
    from torch.nn.attention.varlen import varlen_attn

    references, subjects, _, tokens, _ = key.shape
    batch = indices[0].shape[0]
    # A reference of its own for each sample is a segment of its own.
    segments = (cover.lengths * (batch // references))[:, None].expand(-1, references)
    ends = F.pad(segments.flatten().cumsum(0), (1, 0)).int()
    key_ends = tokens * torch.arange(
        subjects * references + 1, device=query.device, dtype=torch.int32
    )
    packed = varlen_attn(
        query[torch.cat([index.flatten() for index in indices])],
        _end_to_end(key, query.dtype),
        _end_to_end(value, query.dtype),
        ends,
        key_ends,
        # The longest that any mask can make it, so that no mask changes it.
        query.shape[0],
        tokens,
    )
    assert isinstance(packed, Tensor), "no statistics were asked for"
    rows = packed.flatten(1).split([index.numel() for index in indices])
    return [own.unflatten(0, index.shape) for own, index in zip(rows, indices, strict=True)]


def _end_to_end(reference: Tensor, dtype: torch.dtype) -> Float[Tensor, "s_c_m h d_head"]:
    """Keys or values "c s h m d" as a kernel for unequal lengths reads them.

    No copy is made of one reference for all samples that lies in memory token by token, as
    projections leave it and `ImagePrompt.join` keeps it.
    """
    return reference.permute(1, 0, 3, 2, 4).flatten(0, 2).to(dtype)
