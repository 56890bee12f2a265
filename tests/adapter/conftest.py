"""An adapter small enough to run everything: 2 + 2 blocks of 2 heads, three taps."""

import pytest
import torch

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter


@pytest.fixture
def config():
    return DynaIPConfig(
        encoder="tiny",
        encoder_dim=12,
        layers=(1, 2, 3),
        token_dim=20,
        router_dim=8,
        double_blocks=2,
        single_blocks=2,
        heads=2,
        head_dim=16,
    )


@pytest.fixture
def adapter(config):
    """Not at its initial state: every parameter is random, so that everything shows."""
    torch.manual_seed(0)
    adapter = DynaIPAdapter(config)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return adapter


@pytest.fixture
def features():
    """Three levels, two samples, a class token and four more."""
    return torch.randn(3, 2, 5, 12, generator=torch.Generator().manual_seed(1))
