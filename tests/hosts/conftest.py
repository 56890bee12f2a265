"""A real FLUX transformer at 2 + 2 blocks, an adapter for it, and inputs."""

import pytest
import torch
from diffusers import FluxTransformer2DModel

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter

TEXT, IMAGE = 5, 12


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    return (
        FluxTransformer2DModel(
            in_channels=8,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        )
        .eval()
        .requires_grad_(False)
    )


def make_adapter(**changes):
    sizes = {"double_blocks": 2, "single_blocks": 2, "heads": 2, "head_dim": 16, "token_dim": 20}
    return DynaIPAdapter(
        DynaIPConfig(encoder_dim=12, layers=(1, 2, 3), router_dim=8, **(sizes | changes))
    )


@pytest.fixture
def fresh():
    """An adapter at its initial state."""
    torch.manual_seed(1)
    return make_adapter()


@pytest.fixture
def adapter(fresh):
    """An adapter whose every parameter is random."""
    for parameter in fresh.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return fresh


@pytest.fixture
def prompt(adapter):
    """One subject."""
    return make_prompt(adapter, 0)


def make_prompt(adapter, seed, batch=1):
    """A subject whose tokens come from a seed."""
    tokens = torch.randn(batch, 5, 20, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return adapter.project(tokens)


@pytest.fixture
def subject(adapter):
    """Makes subjects from seeds."""
    return lambda seed, batch=1: make_prompt(adapter, seed, batch)


def make_inputs(batch=2, text=TEXT, image=IMAGE):
    """Arguments of one pass."""
    generator = torch.Generator().manual_seed(2)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    image_ids = torch.zeros(image, 3)
    image_ids[:, 1], image_ids[:, 2] = torch.arange(image) // 4, torch.arange(image) % 4
    return {
        "hidden_states": random(batch, image, 8),
        "encoder_hidden_states": random(batch, text, 32),
        "pooled_projections": random(batch, 32),
        "timestep": torch.full((batch,), 0.5),
        "img_ids": image_ids,
        "txt_ids": torch.zeros(text, 3),
    }


@pytest.fixture
def sized():
    """Makes arguments of other sizes."""
    return make_inputs


@pytest.fixture
def inputs():
    return make_inputs()


@pytest.fixture
def run(transformer, inputs):
    """One pass; keyword arguments replace the inputs."""

    def run(**changes):
        return transformer(**(inputs | changes)).sample

    return run
