"""Feature taps: which hidden states of the image encoder the adapter looks at (Section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def tap_features(
    hidden_states: Sequence[Float[Tensor, "b n d"]], layers: Sequence[int]
) -> Float[Tensor, "l b n d"]:
    """Picks the tapped layers out of an encoder's `output_hidden_states`.

    Entry `i` of those is the output of layer `i`; entry 0 is the embedding. No post-layernorm is
    applied, and the class token stays in front.

    Raises:
        ValueError: The encoder has fewer layers than a tap asks for.
    """
    if max(layers) >= len(hidden_states):
        raise ValueError(
            f"This adapter taps layer {max(layers)} of the image encoder, which has "
            f"{len(hidden_states) - 1}; load the encoder that the adapter's config names."
        )
    return torch.stack([hidden_states[layer] for layer in layers])


def null_features(
    features: Float[Tensor, "l b n d"], drop: Bool[Tensor, " b"]
) -> Float[Tensor, "l b n d"]:
    """Replaces the dropped samples' pictures by the null image: hidden states of zero.

    What the experts make of zeros is learnt, so a sample without its image still trains something;
    zero *tokens* instead would be the exact "off".
    """
    return features.masked_fill(drop[None, :, None, None], 0)
