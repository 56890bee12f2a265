"""What depends on how a machine computes: where bf16 is quick, and Muon where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# What instruction sets that multiply bf16 are called, on x86 and on ARM.
BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def multiplies_bf16(device: torch.device) -> bool:
    """Whether matrix products in bf16 are faster than in fp32 there.

    A processor without instructions for them works each product out by hand: one with AVX2 alone
    took 50 to 80 times as long as in fp32 (docs/log.md). Where torch cannot tell, fp32 is the safe
    side.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # Younger than the oldest torch that is supported.
    tell = getattr(torch.cpu, "get_capabilities", dict)
    known = tell()
    return any(known.get(name) for name in BF16)


def build_muon(
    matrices: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Muon:
    """Muon (Jordan et al., 2024), its updates scaled to AdamW's size, so that one rate serves both.

    Args:
        matrices: Weights that act on every token.
        learning_rate: AdamW's.
        weight_decay: Decoupled.
    """
    held = list(matrices)
    quick = all(multiplies_bf16(each.device) for each in held)
    kind = torch.optim.Muon if quick else FullMuon
    return kind(held, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


class FullMuon(torch.optim.Muon):
    """torch's Muon in the gradient's own precision; torch's iterates in bf16 on every machine."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Makes one step; states are those of torch's."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group)
        return loss

    def _move(self, matrix: Tensor, group: dict[str, Any]) -> None:
        gradient, momentum = matrix.grad, group["momentum"]
        assert gradient is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum) if group["nesterov"] else average
        update = orthogonalised(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
        assert group["adjust_lr_fn"] == "match_rms_adamw", "build_muon makes no other"
        size = 0.2 * math.sqrt(max(matrix.shape))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * size)


def orthogonalised(
    matrix: Float[Tensor, "rows columns"],
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
) -> Float[Tensor, "rows columns"]:
    """Newton-Schulz's iteration: the same singular vectors, all singular values near 1.

    Args:
        matrix: What is orthogonalised.
        coefficients: Of the quintic.
        steps: Iterations.
        eps: Least norm that is divided by.
    """
    linear, cubic, quintic = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    made = matrix.T if tall else matrix
    made = made / made.norm().clamp(min=eps)
    for _ in range(steps):
        gram = made @ made.T
        made = linear * made + (cubic * gram + quintic * gram @ gram) @ made
    return made.T if tall else made
