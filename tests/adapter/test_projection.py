"""One block's keys and values."""

import torch

from dynaip.adapter.projection import BlockProjection


def test_fresh_values_are_zero_and_keys_are_not():
    key, value = BlockProjection(20, 32, 0.02)(torch.randn(2, 5, 20), 16, 1e-5)
    assert key.shape == value.shape == (2, 2, 5, 16)
    assert not value.any()
    assert key.any()


def test_keys_are_normalised_by_head_and_values_are_not():
    torch.manual_seed(0)
    block = BlockProjection(20, 32, 0.5)
    torch.nn.init.normal_(block.to_v.weight)
    tokens = torch.randn(2, 5, 20)
    key, value = block(tokens, 16, 1e-5)
    torch.testing.assert_close(key.square().mean(-1), torch.ones(2, 2, 5), atol=1e-3, rtol=0)
    raw, _ = block(tokens, 16, None)
    plain = tokens @ block.to_k.weight.T
    torch.testing.assert_close(raw, plain.reshape(2, 5, 2, 16).transpose(1, 2))
    plain = tokens @ block.to_v.weight.T
    torch.testing.assert_close(value, plain.reshape(2, 5, 2, 16).transpose(1, 2))


def test_zero_tokens_are_off():
    block = BlockProjection(20, 32, 0.5)
    torch.nn.init.normal_(block.to_v.weight)
    _, value = block(torch.zeros(1, 5, 20), 16, 1e-5)
    assert not value.any()
