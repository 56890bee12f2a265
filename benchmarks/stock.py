"""diffusers' own FLUX IP-Adapter, and its processor given the same work as ours.

The stock one reaches the double blocks, with 4 tokens. Widened, the same steps reach all blocks
with a whole reference: several references run one after another over all image rows, and every
pass projects them anew, as diffusers does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from torch import Tensor

from dynaip.hosts.processor import joint_projections, rotate
from dynaip.hosts.sites import find_sites

STOCK_TOKENS = 4


class SingleBlockProcessor(FluxIPAdapterAttnProcessor):
    """What diffusers' processor does in double blocks, in a single one: on rows after the text."""

    text_length = 0

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Any = None,
        attention_mask: Any = None,
        image_rotary_emb: Any = None,
        ip_hidden_states: Any = None,
        ip_adapter_masks: Any = None,
    ) -> Tensor:
        """The block's attention, and the sum over the references."""
        backend = self._attention_backend
        plain, key, value = joint_projections(attn, hidden_states, None)
        query, key = rotate(plain, image_rotary_emb), rotate(key, image_rotary_emb)
        output = dispatch_attention_fn(query, key, value, backend=backend).flatten(2, 3)
        image = output[:, self.text_length :]
        total = torch.zeros_like(image)
        for tokens, scale, to_k, to_v in zip(
            ip_hidden_states, self.scale, self.to_k_ip, self.to_v_ip, strict=True
        ):
            key = to_k(tokens).view(tokens.shape[0], -1, attn.heads, attn.head_dim)
            value = to_v(tokens).view(tokens.shape[0], -1, attn.heads, attn.head_dim)
            query = plain[:, self.text_length :]
            cross = dispatch_attention_fn(query, key, value, backend=backend)
            total += scale * cross.flatten(2, 3)
        image += total
        return output


@contextlib.contextmanager
def attached(
    transformer: FluxTransformer2DModel,
    processors: dict[str, FluxIPAdapterAttnProcessor],
) -> Iterator[None]:
    """Puts the processors in, and the base's own back."""
    attentions: dict[str, Any] = {name: transformer.get_submodule(name) for name in processors}
    before = {name: attention.processor for name, attention in attentions.items()}
    for name, attention in attentions.items():
        attention.set_processor(processors[name])
    try:
        yield
    finally:
        for name, attention in attentions.items():
            attention.set_processor(before[name])


def build_processors(
    transformer: FluxTransformer2DModel,
    token_dim: int,
    text: int,
    *,
    references: int,
    widened: bool,
) -> dict[str, FluxIPAdapterAttnProcessor]:
    """The processors of diffusers for the double blocks, or widened ones for all.

    References share one pair of maps: memory for more is not what is measured.
    """
    weight = transformer.proj_out.weight
    made: dict[str, FluxIPAdapterAttnProcessor] = {}
    for site in find_sites(transformer):
        if site.kind == "single" and not widened:
            continue
        kind = SingleBlockProcessor if site.kind == "single" else FluxIPAdapterAttnProcessor
        width = site.heads * site.head_dim
        processor: Any = kind(width, token_dim, device=weight.device, dtype=weight.dtype)
        for maps in (processor.to_k_ip, processor.to_v_ip):
            for _ in range(references - 1):
                maps.append(maps[0])
        processor.scale = [1.0] * references
        if isinstance(processor, SingleBlockProcessor):
            processor.text_length = text
        made[site.name] = processor.requires_grad_(False)
    return made
