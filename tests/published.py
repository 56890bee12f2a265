"""Random checkpoints in the true layouts of InstantX and XLabs, at any size."""

from __future__ import annotations

import torch
from torch import Tensor

EMBED, HIDDEN, INNER, HEAD_DIM = 6, 12, 32, 16


def instantx(blocks: int = 4, tokens: int = 3, token_dim: int = 10) -> dict[str, dict[str, Tensor]]:
    """As in `ip-adapter.bin`: two dictionaries in one, keys and values without bias."""
    random = _Random()
    image_proj = random.linear("proj.0", EMBED, HIDDEN)
    image_proj |= random.linear("proj.2", HIDDEN, tokens * token_dim)
    image_proj |= random.norm("norm", token_dim)
    ip_adapter = {}
    for index in range(blocks):
        for kind in "kv":
            name = f"{index}.to_{kind}_ip.weight"
            ip_adapter[name] = random(INNER, token_dim)
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def xlabs(blocks: int = 2, tokens: int = 4, token_dim: int = 32) -> dict[str, Tensor]:
    """As in XLabs' safetensors; 4 tokens are v1, 16 are v2."""
    random = _Random()
    checkpoint = random.linear("ip_adapter_proj_model.proj", EMBED, tokens * token_dim)
    checkpoint |= random.norm("ip_adapter_proj_model.norm", token_dim)
    for index in range(blocks):
        for kind in "kv":
            name = f"double_blocks.{index}.processor.ip_adapter_double_stream_{kind}_proj"
            checkpoint |= random.linear(name, token_dim, INNER)
    return checkpoint


def embeds(batch: int = 1, seed: int = 5) -> Tensor:
    """What the image encoder would give."""
    return torch.randn(batch, EMBED, generator=torch.Generator().manual_seed(seed))


class _Random:
    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(7)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * 0.4

    def linear(self, name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": self(outputs, inputs), f"{name}.bias": self(outputs)}

    def norm(self, name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + self(width), f"{name}.bias": self(width)}
