"""What depends on how a machine computes: its processes, bf16, and Muon without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from accelerate import PartialState
from jaxtyping import Float
from torch import Tensor, nn

# What x86 calls its instructions for products in bf16.
BF16 = ("avx512_bf16", "amx_bf16")
# AdamW's size, as torch calls it.
SIZE = "match_rms_adamw"


def process_state() -> PartialState:
    """This process among those that `accelerate launch` or torchrun started, and its device."""
    # Asked for anything else, accelerate does not see the other processes of a machine without one.
    return PartialState(cpu=not torch.accelerator.is_available())


def quick_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products in bf16.

    A processor without them works each product out by hand: one with AVX2 alone took 50 to 82 times
    as long as in fp32 (docs/log.md). Of what has not been measured, such as ARM, or a processor
    whose instructions this torch cannot list, fp32 is the safe side.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    known = torch.cpu.get_capabilities()
    return any(known.get(name) for name in BF16)


def build_muon(
    matrices: Iterable[nn.Parameter], learning_rate: float, weight_decay: float, *, bf16: bool
) -> torch.optim.Muon:
    """Muon (Jordan et al., 2024), its updates scaled to AdamW's size, so that one rate serves both.

    Args:
        matrices: Weights that act on every token.
        learning_rate: AdamW's.
        weight_decay: Decoupled.
        bf16: Whether it may iterate in bf16.
    """
    kind = torch.optim.Muon if bf16 else _Fp32Muon
    return kind(matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn=SIZE)


class _Fp32Muon(torch.optim.Muon):
    """torch's Muon without its rounding: that one iterates in bf16 whatever the machine."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Makes one step; its states are those of torch's."""
        assert closure is None, "the gradients are there already"
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group)

    def _move(self, matrix: Tensor, group: dict[str, Any]) -> None:
        gradient, momentum = matrix.grad, group["momentum"]
        assert gradient is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum) if group["nesterov"] else average
        update = orthogonalised(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"])
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))


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
