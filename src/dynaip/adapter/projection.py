"""Keys and values of every block: C is projected linearly to K_C and V_C (Section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class BlockProjection(nn.Module):
    """One block's pair of linear maps, without bias: zero tokens give exactly zero attention."""

    def __init__(self, token_dim: int, inner_dim: int, key_std: float) -> None:
        super().__init__()
        self.to_k = nn.Linear(token_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(token_dim, inner_dim, bias=False)
        # V zero: a fresh adapter leaves the base as it is, bit for bit.
        nn.init.normal_(self.to_k.weight, std=key_std)
        nn.init.zeros_(self.to_v.weight)

    def forward(
        self, tokens: Float[Tensor, "b n d"], head_dim: int, norm_eps: float | None
    ) -> tuple[Float[Tensor, "b h n d_head"], Float[Tensor, "b h n d_head"]]:
        """Keys and values by head.

        Args:
            tokens: The reference tokens C.
            head_dim: Width of a head of the base.
            norm_eps: Epsilon of the parameterless RMSNorm on K; `None` leaves K as projected.
        """
        key, value = (
            projected(tokens).unflatten(-1, (-1, head_dim)) for projected in (self.to_k, self.to_v)
        )
        if norm_eps is not None:
            # The base's queries are RMS-normed; keys on the same scale keep the logits bounded.
            key = F.rms_norm(key, (head_dim,), eps=norm_eps)
        # In memory they stay token by token, which kernels for unequal lengths want.
        return key.transpose(1, 2), value.transpose(1, 2)
