"""Hierarchical mixture-of-experts feature fusion (HMoE-FFM, Section 4.2) and its rivals.

Axes: l level (low, mid, high), b batch, n tokens (class token first), d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dynaip.adapter.choices import LEVELS, check_granularity
from dynaip.adapter.config import FUSIONS, Fusion

Granularity = Sequence[float] | Tensor


class FusedTokens(NamedTuple):
    """What a fusion returns.

    Attributes:
        tokens: The fused tokens Φ_Fused of Equation 8, "b n d".
        coefficients: The weights w_l that made them, "b l"; each row sums to 1.
    """

    tokens: Float[Tensor, "b n d"]
    coefficients: Float[Tensor, "b l"]


class Expert(nn.Sequential):
    """Equation 6: a linear layer, GELU, layer normalisation.

    The normalisation comes last, so all experts speak on one scale and a convex combination of
    them means what it says.
    """

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__(nn.Linear(input_dim, output_dim), nn.GELU(), nn.LayerNorm(output_dim))


class Router(nn.Module):
    """Equation 7: a two-layer perceptron per level on its class token; a softmax over the levels.

    The last layers start at zero, so training begins with equal weights.
    """

    def __init__(self, levels: int, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for _ in range(levels):
            last = nn.Linear(hidden_dim, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.levels.append(nn.Sequential(nn.Linear(input_dim, hidden_dim), nn.Tanh(), last))

    def forward(self, class_tokens: Float[Tensor, "l b d"]) -> Float[Tensor, "b l"]:
        """Returns one logit per level.

        The class token is normalised without parameters first: its raw scale grows with depth and
        would saturate the tanh.
        """
        normed = F.layer_norm(class_tokens, class_tokens.shape[-1:])
        return torch.cat([mlp(x) for mlp, x in zip(self.levels, normed, strict=True)], dim=-1)


class MixtureFusion(nn.Module):
    """The paper's fusion: experts weighted by the router, or by hand."""

    def __init__(self, levels: int, input_dim: int, token_dim: int, router_dim: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert(input_dim, token_dim) for _ in range(levels))
        self.router = Router(levels, input_dim, router_dim)

    def forward(
        self,
        features: Float[Tensor, "l b n d_enc"],
        granularity: Granularity | None = None,
        keep: Bool[Tensor, "b l"] | None = None,
    ) -> FusedTokens:
        """Equations 6 to 8."""
        logits = self.router(features[:, :, 0]).float()
        if granularity is not None:
            weights = _as_coefficients(granularity, logits)
        elif keep is not None:
            weights = logits.masked_fill(~keep, -torch.inf).softmax(dim=-1)
        else:
            weights = logits.softmax(dim=-1)
        return FusedTokens(_weighted_sum(self.experts, features, weights), weights)

    def apart(
        self, features: Float[Tensor, "l b n d_enc"]
    ) -> tuple[Float[Tensor, "l b n d"], Float[Tensor, "b l"]]:
        """The experts' outputs, not yet fused, and the router's weights; see `weigh`."""
        weights = self.router(features[:, :, 0]).float().softmax(dim=-1)
        return torch.stack(_speak(self.experts, features)), weights


class AddFusion(nn.Module):
    """Element-wise addition: the same experts, always with equal weights."""

    def __init__(self, levels: int, input_dim: int, token_dim: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert(input_dim, token_dim) for _ in range(levels))

    def forward(
        self,
        features: Float[Tensor, "l b n d_enc"],
        granularity: Granularity | None = None,
        keep: Bool[Tensor, "b l"] | None = None,
    ) -> FusedTokens:
        """The mean of the experts that are kept."""
        _refuse(granularity, "add")
        kept = _all_levels(features) if keep is None else keep.float()
        weights = kept / kept.sum(dim=-1, keepdim=True)
        return FusedTokens(_weighted_sum(self.experts, features, weights), weights)


class ConcatFusion(nn.Module):
    """Channel-wise concatenation: one expert over all levels, as many weights as three."""

    def __init__(self, levels: int, input_dim: int, token_dim: int) -> None:
        super().__init__()
        self.expert = Expert(levels * input_dim, token_dim)

    def forward(
        self,
        features: Float[Tensor, "l b n d_enc"],
        granularity: Granularity | None = None,
        keep: Bool[Tensor, "b l"] | None = None,
    ) -> FusedTokens:
        """The expert over all levels, a dropped one as zeros; coefficients are the kept shares."""
        _refuse(granularity, "concat")
        kept = _all_levels(features) if keep is None else keep.float()
        masked = features * kept.T[:, :, None, None].to(features.dtype)
        tokens = self.expert(torch.cat(masked.unbind(0), dim=-1))
        return FusedTokens(tokens, kept / kept.sum(dim=-1, keepdim=True))


class SingleFusion(nn.Module):
    """One level alone; there is nothing to weigh and nothing to drop."""

    def __init__(self, levels: int, level: int, input_dim: int, token_dim: int) -> None:
        super().__init__()
        self.level, self.count = level, levels
        self.expert = Expert(input_dim, token_dim)

    def forward(
        self,
        features: Float[Tensor, "l b n d_enc"],
        granularity: Granularity | None = None,
        keep: Bool[Tensor, "b l"] | None = None,
    ) -> FusedTokens:
        """The expert on its level. `keep` has no say: the only expert is never dropped."""
        _refuse(granularity, LEVELS[self.level])
        weights = _all_levels(features).zero_()
        weights[:, self.level] = 1
        return FusedTokens(self.expert(features[self.level]), weights)


def build_fusion(
    kind: Fusion, *, levels: int, input_dim: int, token_dim: int, router_dim: int
) -> MixtureFusion | AddFusion | ConcatFusion | SingleFusion:
    """The fusion that a config names.

    Raises:
        ValueError: The name is unknown, or names a level that is not there.
    """
    if kind == "moe":
        return MixtureFusion(levels, input_dim, token_dim, router_dim)
    if kind == "add":
        return AddFusion(levels, input_dim, token_dim)
    if kind == "concat":
        return ConcatFusion(levels, input_dim, token_dim)
    if kind in LEVELS and levels == len(LEVELS):
        return SingleFusion(levels, LEVELS.index(kind), input_dim, token_dim)
    raise ValueError(
        f"fusion is one of {', '.join(FUSIONS)} (a single level needs three taps); got {kind!r} "
        f"with {levels} tap(s)."
    )


def _weighted_sum(
    experts: nn.ModuleList, features: Float[Tensor, "l b n d"], weights: Float[Tensor, "b l"]
) -> Float[Tensor, "b n d_tok"]:
    """Equation 8. Every expert runs even at weight 0, so all of them see every batch."""
    return _sum(_speak(experts, features), weights)


def _speak(experts: nn.ModuleList, features: Tensor) -> list[Tensor]:
    """Equation 6 on every level."""
    return [expert(x) for expert, x in zip(experts, features, strict=True)]


def _sum(terms: Sequence[Tensor], weights: Float[Tensor, "b l"]) -> Float[Tensor, "b n d"]:
    shares = weights.to(terms[0].dtype).unbind(-1)
    return torch.stack([w[:, None, None] * e for w, e in zip(shares, terms, strict=True)]).sum(0)


def weigh(
    experts: Float[Tensor, "l b n d"],
    coefficients: Float[Tensor, "b l"],
    granularity: Granularity | None = None,
) -> FusedTokens:
    """Equation 8 on experts' outputs that were kept apart.

    Args:
        experts: What `MixtureFusion.apart` returned.
        coefficients: The router's weights.
        granularity: Weights by hand instead.

    Raises:
        ValueError: The weights by hand are not non-negative numbers that sum to 1.
    """
    if granularity is not None:
        coefficients = _as_coefficients(granularity, coefficients)
    return FusedTokens(_sum(list(experts), coefficients), coefficients)


def _all_levels(features: Float[Tensor, "l b n d"]) -> Float[Tensor, "b l"]:
    levels, batch = features.shape[:2]
    return torch.ones(batch, levels, device=features.device)


def _as_coefficients(
    granularity: Granularity, logits: Float[Tensor, "b l"]
) -> Float[Tensor, "b l"]:
    """Checks weights given by hand and spreads them over the batch."""
    batch, levels = logits.shape
    given = torch.as_tensor(granularity, dtype=torch.float32, device=logits.device)
    if given.shape[-1:] != (levels,) or given.ndim not in (1, 2):
        raise ValueError(
            f"Granularity is {levels} numbers ({', '.join(LEVELS[:levels])}), or a row of them for "
            f"each sample; got shape {tuple(given.shape)}."
        )
    if given.ndim == 2 and given.shape[0] != batch:
        raise ValueError(
            f"Granularity was given for {given.shape[0]} samples, but there are {batch}."
        )
    rows = [check_granularity(row, levels) for row in given.reshape(-1, levels).tolist()]
    return given.new_tensor(rows).expand(batch, levels)


def _refuse(granularity: Granularity | None, kind: str) -> None:
    if granularity is not None:
        raise ValueError(
            f"This adapter's fusion is {kind!r}, which has no granularity to set; leave it out, or "
            "use an adapter with the fusion 'moe'."
        )
