"""Optimisers over a task's trainable parameters, and the running average of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dynaip.numerics import build_muon
from dynaip.training.config import TrainingConfig


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def build_optimizers(
    parameters: Mapping[str, nn.Parameter], config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    """AdamW over everything, or Muon over the blocks' matrices and AdamW over the rest.

    Muon orthogonalises the update of a matrix. It suits weights that act on every token; modulation
    layers see one row a sample, and embeddings are no linear maps of activations, so both stay with
    AdamW.
    """
    matrices = {
        name: p
        for name, p in parameters.items()
        if config.optimizer == "muon" and p.ndim == 2 and _acts_on_tokens(name)
    }
    others = [p for name, p in parameters.items() if name not in matrices]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            others,
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )
    ]
    if matrices:
        bf16 = config.precision == "bf16"
        rate, decay = config.learning_rate, config.weight_decay
        optimizers.append(build_muon(matrices.values(), rate, decay, bf16=bf16))
    return optimizers


def _acts_on_tokens(name: str) -> bool:
    """Linear maps in FLUX's blocks, and in the layers of CLIP and T5."""
    inside = re.search(r"\b(\w*blocks?|layers)\.\d+\.", name)
    return bool(inside) and ".norm" not in name and "relative" not in name


class Average:
    """Exponential moving average of named parameters, in fp32.

    The decay warms up as (1 + step) / (10 + step), so early averages forget the random start.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow: dict[str, Tensor] = {
            name: p.detach().clone().float() for name, p in parameters.items()
        }

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter], step: int) -> None:
        """Moves the average towards the parameters as they are after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live = [parameters[name].detach().float() for name in self.shadow]
        torch._foreach_lerp_(list(self.shadow.values()), live, 1 - decay)

    @torch.no_grad()
    def swap(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Exchanges average and parameters; calling it twice changes nothing."""
        for name, average in self.shadow.items():
            live = parameters[name].detach().clone()
            parameters[name].copy_(average)
            average.copy_(live)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], value: float) -> None:
    """Sets the rate of the coming update."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = value
