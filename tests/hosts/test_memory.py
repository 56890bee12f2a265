"""The arithmetic of FLUX.1's true size, against the real configs built on the meta device."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5EncoderModel,
)

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter
from dynaip.hosts import memory
from dynaip.hosts.sites import check_base, find_sites

CONFIGS = Path(__file__).parents[2].parent / "shared" / "assets" / "flux_configs"


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def read(*parts):
    path = CONFIGS.joinpath(*parts)
    if not path.is_file():
        pytest.skip("the published configs of FLUX.1 are not beside this checkout")
    return json.loads(path.read_text())


@pytest.fixture(params=["FLUX.1-dev", "FLUX.1-schnell"])
def base(request):
    return request.param


@pytest.fixture
def transformer(base):
    config = read(base, "transformer", "config.json")
    with torch.device("meta"):
        return FluxTransformer2DModel.from_config(config)


def test_every_key_is_that_of_the_published_index(base, transformer):
    index = read(base, "transformer", "diffusion_pytorch_model.safetensors.index.json")
    state = transformer.state_dict()
    assert state.keys() == index["weight_map"].keys()
    # The index holds no shapes but the sum of their bytes.
    bytes_ = sum(tensor.numel() for tensor in state.values()) * memory.BF16
    assert bytes_ == index["metadata"]["total_size"]


def test_the_adapter_fits_at_all_sites(transformer):
    with torch.device("meta"):
        adapter = DynaIPAdapter(DynaIPConfig.flux_dev())
    sites = find_sites(transformer)
    assert [site.kind for site in sites] == ["double"] * 19 + ["single"] * 38
    check_base(transformer, adapter.config)
    assert len(adapter.blocks) == len(sites)
    for site, block in zip(sites, adapter.blocks, strict=True):
        queries = transformer.get_submodule(f"{site.name}.to_q")
        assert block.to_k.weight.shape == block.to_v.weight.shape == (queries.out_features, 4096)
        assert site.heads * site.head_dim == queries.out_features


def test_the_papers_count():
    with torch.device("meta"):
        adapter = DynaIPAdapter(DynaIPConfig.flux_dev())
    shape = memory.BASES["FLUX.1-dev"]
    assert count(adapter.blocks) == memory.projection_parameters(shape) == 1_434_451_968
    assert count(adapter.fusion) == memory.fusion_parameters()
    assert count(adapter) == 1_450_223_619


def test_the_prompt_is_as_large_as_said():
    with torch.device("meta"):
        adapter = DynaIPAdapter(DynaIPConfig.flux_dev()).to(torch.bfloat16)
        prompt = adapter.project(torch.zeros(1, memory.IMAGE_TOKENS, 4096, dtype=torch.bfloat16))
    held = sum(tensor.nbytes for tensor in (*prompt.keys, *prompt.values))
    shape = memory.BASES["FLUX.1-dev"]
    assert held == memory.prompt_bytes(shape.blocks, shape.width) == 404_140_032


def test_the_transformers_parameters(base, transformer):
    shape = memory.BASES[base]
    assert count(transformer) == shape.parameters
    linear = [m for m in transformer.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(module.weight.numel() for module in linear) == shape.linear_weights


def test_the_other_parts(base):
    text = memory.text_encoder_parameters()
    with torch.device("meta"):
        clip = CLIPTextModel(CLIPTextConfig.from_dict(read(base, "text_encoder", "config.json")))
        t5 = T5EncoderModel(T5Config.from_dict(read(base, "text_encoder_2", "config.json")))
        vae = AutoencoderKL.from_config(read(base, "vae", "config.json"))
    t5.tie_weights()
    assert [count(clip), count(t5)] == list(text.values())
    assert count(vae) == memory.VAE_PARAMETERS
    index = read(base, "text_encoder_2", "model.safetensors.index.json")
    assert index["metadata"]["total_size"] == count(t5) * memory.BF16


def test_the_image_encoder():
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    with torch.device("meta"):
        assert count(CLIPVisionModel(config)) == memory.image_encoder_parameters()


def test_the_modes():
    """Sums written out: 11.9 B transformer, 4.76 B T5, 1.45 B adapter."""
    table = memory.modes(memory.BASES["FLUX.1-dev"])
    found = {
        precision: [round(value / 1e9, 1) for value in row.values()]
        for precision, row in table.items()
    }
    assert found == {
        "bf16": [37.7, 34.1, 24.4],
        "8-bit": [25.8, 22.2, 12.5],
        "4-bit": [20.5, 17.0, 7.3],
    }
    three = memory.modes(memory.BASES["FLUX.1-dev"], subjects=3)
    one = table["bf16"]["adapter and image encoder offloaded"]
    assert three["bf16"]["adapter and image encoder offloaded"] - one == 2 * 404_140_032
