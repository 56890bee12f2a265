"""Taps pick the right hidden states; the null image is zeros."""

import pytest
import torch

from dynaip.adapter.features import null_features, tap_features


def test_taps_are_the_named_layers():
    hidden_states = [torch.full((1, 2, 3), float(layer)) for layer in range(5)]
    taps = tap_features(hidden_states, (1, 4))
    assert taps.shape == (2, 1, 2, 3)
    assert taps[:, 0, 0, 0].tolist() == [1, 4]


def test_a_shallow_encoder_is_refused():
    with pytest.raises(ValueError, match="taps layer 5 of the image encoder, which has 4"):
        tap_features([torch.zeros(1, 2, 3)] * 5, (1, 5))


def test_only_dropped_samples_become_null(features):
    dropped = null_features(features, torch.tensor([False, True]))
    assert torch.equal(dropped[:, 0], features[:, 0])
    assert not dropped[:, 1].any()
