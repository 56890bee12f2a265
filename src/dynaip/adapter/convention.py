"""How published FLUX image-prompt adapters differ, as values: one runtime serves all of them.

Nothing here needs torch: `dynaip inspect` reads a file's header and asks `recognise`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

Rows = Literal["image", "text", "both"]
Insertion = Literal["pre_out", "post_ff"]
EncoderOutput = Literal["hidden_states", "pooler_output", "image_embeds"]
Shapes = Mapping[str, tuple[int, ...]]

HEAD_DIM = 128  # FLUX.1's; no file says it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """What a family of weights was trained with; other values give other pictures.

    Attributes:
        family: Who published it.
        insertion: `"pre_out"`: added to softmax(QKᵀ)V, so the base's output projection and gate
            apply. `"post_ff"`: added to the image rows after the feed-forward of double blocks.
        double_rows: Rows that attend in double blocks.
        single_rows: Rows that attend in single blocks; `None` where the family leaves them alone.
        key_norm_eps: Epsilon of the parameterless RMSNorm on K, per head; `None` is no norm. V has
            none in either family.
        query_rope: Whether queries are taken after the rotary embedding.
        encoder: The image encoder, as a hub name.
        encoder_output: Which of its outputs is projected.
    """

    family: str
    insertion: Insertion
    double_rows: Rows
    single_rows: Rows | None
    key_norm_eps: float | None
    query_rope: bool
    encoder: str
    encoder_output: EncoderOutput

    @property
    def gated(self) -> bool:
        """Whether the base's output projection and adaLN gate apply to what is added."""
        return self.insertion == "pre_out"


INSTANTX = Convention(
    family="InstantX",
    insertion="pre_out",
    double_rows="image",
    single_rows="both",
    key_norm_eps=1e-5,
    query_rope=False,
    encoder="google/siglip-so400m-patch14-384",
    encoder_output="pooler_output",
)

XLABS = Convention(
    family="XLabs",
    insertion="post_ff",
    double_rows="image",
    single_rows=None,
    key_norm_eps=None,
    query_rope=False,
    encoder="openai/clip-vit-large-patch14",
    encoder_output="image_embeds",
)

_VERSIONS = {4: " v1", 16: " v2"}  # XLabs' two releases differ in their number of tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """A published checkpoint: its convention, and the sizes that its tensors tell.

    Attributes:
        convention: See `Convention`.
        embed_dim: Width of the encoder's output.
        hidden_dim: Hidden width of the projection to tokens; `None` where it is one linear map.
        tokens: Reference tokens.
        token_dim: Their width.
        blocks: Blocks with keys and values: double, then single.
        inner_dim: Width of the base.
        bias: Whether the keys' and values' maps have a bias.
        head_dim: Width of a head of the base.
    """

    convention: Convention
    embed_dim: int
    hidden_dim: int | None
    tokens: int
    token_dim: int
    blocks: int
    inner_dim: int
    bias: bool
    head_dim: int = HEAD_DIM

    @property
    def name(self) -> str:
        """The family, and the release where there are several."""
        version = _VERSIONS.get(self.tokens, "") if self.convention is XLABS else ""
        return self.convention.family + version

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of such a checkpoint, under the names that `rename` gives."""
        wide = self.tokens * self.token_dim
        if self.hidden_dim is None:
            shapes = _linear("image_proj.proj", self.embed_dim, wide)
        else:
            shapes = _linear("image_proj.proj.0", self.embed_dim, self.hidden_dim)
            shapes |= _linear("image_proj.proj.2", self.hidden_dim, wide)
        shapes |= {f"image_proj.norm.{part}": (self.token_dim,) for part in ("weight", "bias")}
        for index in range(self.blocks):
            for kind in ("k", "v"):
                name = f"ip_adapter.{index}.to_{kind}_ip"
                shapes |= _linear(name, self.token_dim, self.inner_dim, self.bias)
        return shapes


_XLABS_BLOCK = re.compile(r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj")
_STRANGERS = {
    "norm_ip_q": "InstantCharacter, which has learned norms of its own",
    "image_proj.latents": "an IP-Adapter for another base, with a resampler",
    "ip_adapter.1.to_k_ip.weight": "an IP-Adapter for another base",
}


def rename(name: str) -> str:
    """A tensor's name in the layout of InstantX and diffusers, from XLabs' or that one."""
    name = name.replace("ip_adapter_proj_model.", "image_proj.", 1)
    return _XLABS_BLOCK.sub(r"ip_adapter.\1.to_\2_ip", name)


def recognise(shapes: Shapes, head_dim: int = HEAD_DIM) -> ForeignConfig | None:
    """Says which published checkpoint these tensors are.

    Args:
        shapes: Names and shapes as the file has them; nested names joined by dots.
        head_dim: Width of a head of the base.

    Returns:
        Its configuration, or `None` for tensors of no image-prompt adapter.

    Raises:
        ValueError: It is one that dynaip cannot run, or some of its tensors are missing, too many,
            or of a wrong shape.
    """
    found = {rename(name): shape for name, shape in shapes.items()}
    if not any(name.startswith(("image_proj.", "ip_adapter.")) for name in found):
        return None
    try:
        config = dataclasses.replace(_read_sizes(found), head_dim=head_dim)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"These are not weights of InstantX or XLabs for FLUX{_stranger(found)}; dynaip runs "
            "those two families and its own adapters."
        ) from error
    _check(found, config.shapes)
    return config


def _read_sizes(found: Shapes) -> ForeignConfig:
    """Sizes from the tensors that tell them. Raises KeyError or ValueError where they do not."""
    instantx = "image_proj.proj.0.weight" in found
    last = "image_proj.proj.2.weight" if instantx else "image_proj.proj.weight"
    wide, narrow = found[last]
    hidden, embed = found["image_proj.proj.0.weight"] if instantx else (None, narrow)
    inner, token_dim = found["ip_adapter.0.to_k_ip.weight"]
    return ForeignConfig(
        convention=INSTANTX if instantx else XLABS,
        embed_dim=embed,
        hidden_dim=hidden,
        tokens=wide // token_dim,
        token_dim=token_dim,
        blocks=len({name.split(".")[1] for name in found if name.startswith("ip_adapter.")}),
        inner_dim=inner,
        bias=not instantx,
    )


def _check(found: Shapes, wanted: Shapes) -> None:
    strange = sorted(found.keys() ^ wanted.keys())
    if strange:
        what = "lacks" if strange[0] in wanted else "has an unknown"
        raise ValueError(
            f"The checkpoint {what} {strange[0]} ({len(strange)} names differ), so it is "
            "incomplete, or of another kind; dynaip runs InstantX's and XLabs' for FLUX.1."
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise ValueError(
                f"{name} has the shape {found[name]} where the others ask for {shape}; get the "
                "file again from where it was published."
            )


def _stranger(found: Shapes) -> str:
    for mark, what in _STRANGERS.items():
        if any(mark in name for name in found):
            return f" (they look like {what})"
    return ""


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    weight = {f"{name}.weight": (outputs, inputs)}
    return weight | {f"{name}.bias": (outputs,)} if bias else weight
