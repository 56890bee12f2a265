"""The whole adapter: tokens, prompts, sizes, gradients."""

import dataclasses

import pytest
import torch

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter


def test_flux_dev_has_the_papers_size():
    """57 x 2 x 4096 x 3072 parameters in K and V, 1.45 B in all; on the meta device."""
    with torch.device("meta"):
        adapter = DynaIPAdapter(DynaIPConfig.flux_dev())
    assert len(adapter.blocks) == 57
    assert sum(p.numel() for p in adapter.blocks.parameters()) == 1_434_451_968
    assert sum(p.numel() for p in adapter.parameters()) == 1_450_223_619


def test_taps_as_tensor_as_sequence_and_as_the_encoders_output(adapter, features):
    whole = [torch.randn(2, 5, 12), *features, torch.randn(2, 5, 12)]
    wanted = adapter.encode(features)
    for hidden_states in (list(features), whole):
        found = adapter.encode(hidden_states)
        assert torch.equal(found.tokens, wanted.tokens)
        assert torch.equal(found.coefficients, wanted.coefficients)


def test_class_token_can_stay_out_of_the_tokens(config, features):
    adapter = DynaIPAdapter(config)
    whole = adapter.encode(features).tokens
    adapter.config = dataclasses.replace(config, class_token=False)
    assert torch.equal(adapter.encode(features).tokens, whole[:, 1:])


@pytest.mark.parametrize("query_rope", [False, True])
def test_prompts_carry_the_query_convention(config, features, query_rope):
    adapter = DynaIPAdapter(dataclasses.replace(config, query_rope=query_rope))
    assert adapter.project(adapter.encode(features).tokens).query_rope is query_rope


def test_a_dropped_image_is_the_null_image(adapter, features):
    drop = torch.tensor([True, False])
    found = adapter.encode(features, drop=drop).tokens
    null = adapter.encode(torch.zeros_like(features)).tokens
    torch.testing.assert_close(found[0], null[0])
    torch.testing.assert_close(found[1], adapter.encode(features).tokens[1])
    assert found[0].any(), "the null image still has tokens to learn"


def test_projecting_gives_one_subject_in_every_block(adapter, features):
    tokens = adapter.encode(features).tokens
    prompt = adapter.project(tokens)
    assert (prompt.batch, prompt.subjects, prompt.blocks) == (2, 1, 4)
    key, value = adapter.blocks[3](tokens, 16, 1e-5)
    assert torch.equal(prompt.keys[3][:, 0], key)
    assert torch.equal(prompt.values[3][:, 0], value)


def test_gradients_reach_every_parameter(adapter, features):
    prompt = adapter.project(adapter.encode(features).tokens)
    weights = torch.Generator().manual_seed(0)
    loss = sum(
        (t * torch.randn(t.shape, generator=weights)).sum() for t in prompt.keys + prompt.values
    )
    loss.backward()
    dead = [name for name, p in adapter.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 1, 5, 12), "takes 3 levels of width 12"), ((3, 1, 5, 8), "got 3 of 8")],
)
def test_features_of_another_encoder(adapter, shape, message):
    with pytest.raises(ValueError, match=message):
        adapter.encode(torch.zeros(shape))


def test_tokens_of_another_adapter(adapter):
    with pytest.raises(ValueError, match="21 wide, and this adapter's are 20"):
        adapter.project(torch.zeros(1, 5, 21))


def test_granularity_and_drop_exclude_each_other(adapter, features):
    with pytest.raises(ValueError, match="one of the two"):
        adapter.encode(features, (1.0, 0.0, 0.0), keep=torch.ones(2, 3, dtype=torch.bool))
