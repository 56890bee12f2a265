"""FLUX.1 at its true size, as arithmetic: the parameters of every part, the memory of each mode.

Sizes are those of the published configs; nothing is loaded, not even torch. What is counted are
weights, and the subjects' keys and values. Activations come on top.
"""

from __future__ import annotations

import dataclasses

IMAGE_TOKENS = 577  # of a reference: CLIP ViT-L/14 at 336 pixels, class token and all
BF16 = 2
# Bytes of a quantised weight. Eight bits: one scale a row, under a thousandth, is not counted.
# Four bits: NF4, with one fp32 scale for each 64 weights.
WEIGHT_BYTES = {"bf16": 2.0, "8-bit": 1.0, "4-bit": 0.5 + 4 / 64}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FluxShape:
    """A FLUX.1 transformer, as its `config.json` says it.

    Attributes:
        double_blocks, single_blocks: How many.
        heads, head_dim: Of the attention.
        in_channels: Numbers of a packed image token.
        text_dim: Width of T5's tokens.
        pooled_dim: Width of CLIP's pooled vector.
        guidance_embeds: Whether guidance is an input.
    """

    double_blocks: int = 19
    single_blocks: int = 38
    heads: int = 24
    head_dim: int = 128
    in_channels: int = 64
    text_dim: int = 4096
    pooled_dim: int = 768
    guidance_embeds: bool = True

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return self.heads * self.head_dim

    @property
    def blocks(self) -> int:
        """Double and single: the sites of an adapter."""
        return self.double_blocks + self.single_blocks

    @property
    def linear_weights(self) -> int:
        """Weights of linear maps, which are what quantisation makes smaller."""
        d, embedders = self.width, 2 if self.guidance_embeds else 1
        ends = (2 * self.in_channels + self.text_dim + self.pooled_dim) * d
        times = embedders * (256 * d + d * d) + d * d
        double = (12 + 8 + 16) * d * d  # modulation, attention, feed-forward: image and text
        single = (3 + 3 + 4 + 5) * d * d  # modulation, attention, feed-forward, output
        return ends + times + self.double_blocks * double + self.single_blocks * single + 2 * d * d

    @property
    def other_parameters(self) -> int:
        """Biases and norms, which stay as they are."""
        d, embedders = self.width, 2 if self.guidance_embeds else 1
        double = 30 * d + 4 * self.head_dim
        single = 11 * d + 2 * self.head_dim
        ends = 2 * d + self.in_channels + 2 * d * embedders + 2 * d + 2 * d
        return ends + self.double_blocks * double + self.single_blocks * single

    @property
    def parameters(self) -> int:
        """All of the transformer's."""
        return self.linear_weights + self.other_parameters

    def bytes(self, precision: str) -> int:
        """The transformer's weights, at one of `WEIGHT_BYTES`."""
        return round(self.linear_weights * WEIGHT_BYTES[precision]) + self.other_parameters * BF16


BASES = {"FLUX.1-dev": FluxShape(), "FLUX.1-schnell": FluxShape(guidance_embeds=False)}


def text_encoder_parameters() -> dict[str, int]:
    """T5-XXL's encoder and CLIP-L's text tower."""
    t5, ff = 4096, 10240
    t5_layer = 4 * t5 * t5 + 3 * t5 * ff + 2 * t5
    clip, hidden = 768, 3072
    return {
        "text_encoder (CLIP-L)": (49408 + 77) * clip + 12 * _clip_layer(clip, hidden) + 2 * clip,
        "text_encoder_2 (T5-XXL)": 32128 * t5 + 24 * t5_layer + 32 * 64 + t5,
    }


def image_encoder_parameters() -> int:
    """CLIP ViT-L/14 at 336 pixels."""
    width = 1024
    embedding = 3 * 14 * 14 * width + width + IMAGE_TOKENS * width
    return embedding + 24 * _clip_layer(width, 4096) + 4 * width


VAE_PARAMETERS = 83_819_683


def _clip_layer(width: int, hidden: int) -> int:
    return 4 * (width * width + width) + 2 * width * hidden + hidden + width + 4 * width


def projection_parameters(shape: FluxShape, token_dim: int = 4096) -> int:
    """An adapter's K and V of all blocks: 1 434 451 968 for FLUX.1-dev."""
    return shape.blocks * 2 * token_dim * shape.width


def fusion_parameters(
    token_dim: int = 4096, encoder_dim: int = 1024, router_dim: int = 1024
) -> int:
    """Three experts, each a linear map and a LayerNorm, and the router's three small MLPs."""
    expert = encoder_dim * token_dim + token_dim + 2 * token_dim
    router = encoder_dim * router_dim + router_dim + router_dim + 1
    return 3 * (expert + router)


def prompt_bytes(blocks: int, width: int, tokens: int = IMAGE_TOKENS) -> int:
    """Keys and values of one subject in bf16, in all blocks."""
    return blocks * 2 * tokens * width * BF16


def parts(shape: FluxShape) -> dict[str, int]:
    """Parameters of everything that takes part in a picture with a reference."""
    return {
        "transformer": shape.parameters,
        **text_encoder_parameters(),
        "vae": VAE_PARAMETERS,
        "image_encoder (CLIP ViT-L/14-336)": image_encoder_parameters(),
        "adapter (K and V)": projection_parameters(shape),
        "adapter (experts, router)": fusion_parameters(),
    }


def modes(shape: FluxShape, subjects: int = 1) -> dict[str, dict[str, int]]:
    """Bytes on the device while the transformer runs, by the base's precision.

    Returns:
        For each of `WEIGHT_BYTES`: with everything there; without the adapter and its image
        encoder, which are done once K and V are projected; and without the text encoders as well,
        which are done once the prompt is encoded.
    """
    count = parts(shape)
    prompt = subjects * prompt_bytes(shape.blocks, shape.width)
    text = BF16 * sum(text_encoder_parameters().values())
    adapter = BF16 * sum(n for name, n in count.items() if name.startswith(("adapter", "image_")))
    table = {}
    for precision in WEIGHT_BYTES:
        least = shape.bytes(precision) + BF16 * VAE_PARAMETERS + prompt
        table[precision] = {
            "all on the device": least + text + adapter,
            "adapter and image encoder offloaded": least + text,
            "text encoders offloaded too": least,
        }
    return table
