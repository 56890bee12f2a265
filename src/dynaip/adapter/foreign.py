"""Other people's published weights, projected to the same `ImagePrompt` as our own.

A checkpoint's convention travels as values (`dynaip.adapter.convention`): the prompt carries the
insertion and the query, `branches` the rows. Masks, scales and branches then work on it as on ours.

    adapter = ForeignAdapter.from_file("ip_adapter.safetensors")
    with adapter.attach(pipe) as personal:
        personal("a dog surfing", subjects=[Subject("rex.png", mask="left", scale=0.7)])
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from dynaip.adapter import storage
from dynaip.adapter.convention import (
    HEAD_DIM,
    EncoderOutput,
    ForeignConfig,
    Rows,
    recognise,
    rename,
)
from dynaip.adapter.fusion import FusedTokens, Granularity
from dynaip.adapter.model import ImagePromptAdapter
from dynaip.adapter.prompt import ImagePrompt

# What torch raises over a pickle that is damaged, or that asks for more than tensors.
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError)


class ImageTokens(nn.Module):
    """From the encoder's one vector to a few tokens: InstantX's MLP, or XLabs' linear map."""

    def __init__(self, config: ForeignConfig) -> None:
        super().__init__()
        wide = config.tokens * config.token_dim
        if config.hidden_dim is None:
            self.proj: nn.Module = nn.Linear(config.embed_dim, wide)
        else:
            self.proj = nn.Sequential(
                nn.Linear(config.embed_dim, config.hidden_dim),
                nn.GELU(),
                nn.Linear(config.hidden_dim, wide),
            )
        self.norm = nn.LayerNorm(config.token_dim)

    def forward(self, embeds: Float[Tensor, "b d"]) -> Float[Tensor, "b n d_tok"]:
        """Reference tokens."""
        return self.norm(self.proj(embeds).unflatten(-1, (-1, *self.norm.normalized_shape)))


class BlockPair(nn.Module):
    """One block's keys and values."""

    def __init__(self, config: ForeignConfig) -> None:
        super().__init__()
        self.to_k_ip = nn.Linear(config.token_dim, config.inner_dim, bias=config.bias)
        self.to_v_ip = nn.Linear(config.token_dim, config.inner_dim, bias=config.bias)


class ForeignAdapter(ImagePromptAdapter):
    """InstantX's or XLabs' weights for FLUX.1.

    Attributes:
        config: The convention, and the sizes that the file's tensors told.
    """

    config: ForeignConfig

    def __init__(self, config: ForeignConfig) -> None:
        super().__init__()
        self.config = config
        self.image_proj = ImageTokens(config)
        self.ip_adapter = nn.ModuleList(BlockPair(config) for _ in range(config.blocks))

    @property
    def encoder(self) -> str:
        """See `Convention.encoder`."""
        return self.config.convention.encoder

    @property
    def encoder_output(self) -> EncoderOutput:
        """See `Convention.encoder_output`."""
        return self.config.convention.encoder_output

    @property
    def levels(self) -> int:
        """One: the encoder's last output alone."""
        return 1

    @property
    def branches(self) -> dict[str, Rows]:
        """Rows that the weights were published to serve, as arguments of `BlockBranches`."""
        convention = self.config.convention
        return {"double": convention.double_rows, "single": convention.single_rows or "image"}

    @property
    def token_maker(self) -> nn.Module:
        """The projection to tokens."""
        return self.image_proj

    def tap(self, output: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The encoder's one vector, see `encode`."""
        return output.to(self.image_proj.norm.weight)

    def fuse(
        self, features: Float[Tensor, "b d"], granularity: Granularity | None = None
    ) -> FusedTokens:
        """What `encode` returns, and coefficients "b 1" of one: there is a single level."""
        self.check_granularity(granularity)
        tokens = self.encode(features)
        return FusedTokens(tokens, tokens.new_ones(tokens.shape[0], 1))

    def encode(self, embeds: Float[Tensor, "b d"]) -> Float[Tensor, "b n d_tok"]:
        """Projects the image encoder's pooled output to reference tokens.

        Args:
            embeds: What `config.convention` names: SigLIP's `pooler_output` for InstantX, CLIP's
                `image_embeds` (with its projection) for XLabs.

        Raises:
            ValueError: They are of another encoder.
        """
        if embeds.shape[-1] != self.config.embed_dim:
            convention = self.config.convention
            raise ValueError(
                f"{self.config.name} projects {self.config.embed_dim} numbers, the "
                f"{convention.encoder_output} of {convention.encoder}; got {embeds.shape[-1]}."
            )
        return self.image_proj(embeds.to(self.image_proj.norm.weight))

    def project(self, tokens: Float[Tensor, "b n d_tok"]) -> ImagePrompt:
        """Projects tokens to every block's K and V: one subject, scale 1, no mask."""
        convention = self.config.convention
        keys, values = zip(*(self._pair(block, tokens) for block in self.ip_adapter), strict=True)
        return ImagePrompt(
            keys=keys,
            values=values,
            scale=torch.ones(1, 1, 1, device=tokens.device),
            query_rope=convention.query_rope,
            insertion=convention.insertion,
        )

    def _pair(self, block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """K, normalised where the convention says so, and V: "b 1 h m d" each."""
        heads = (-1, self.config.head_dim)
        key, value = (
            projected(tokens).unflatten(-1, heads) for projected in (block.to_k_ip, block.to_v_ip)
        )
        eps = self.config.convention.key_norm_eps
        if eps is not None:
            key = F.rms_norm(key, key.shape[-1:], eps=eps)
        return key.transpose(1, 2).unsqueeze(1), value.transpose(1, 2).unsqueeze(1)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        head_dim: int = HEAD_DIM,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> ForeignAdapter:
        """Reads a published checkpoint, a safetensors file or a pickle of plain tensors.

        Args:
            path: The file.
            head_dim: Width of a head of the base; no file says it, and FLUX.1's is 128.
            dtype: Precision to hold the weights in; `None` keeps the file's.
            device: Where to put them.

        Raises:
            ValueError: It cannot be read, or is no such checkpoint.
        """
        tensors = read_tensors(Path(path))
        try:
            config = recognise({name: tuple(t.shape) for name, t in tensors.items()}, head_dim)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if config is None:
            raise ValueError(
                f"{path} holds no image-prompt adapter of InstantX or XLabs, as its tensors' names "
                "tell; one of dynaip's own is given as its folder."
            )
        if config.inner_dim % head_dim:
            raise ValueError(
                f"{path} has keys {config.inner_dim} wide, which heads of {head_dim} do not "
                "divide; give the base's head_dim."
            )
        with torch.device("meta"):
            adapter = cls(config)
        adapter.load_state_dict({rename(n): t for n, t in tensors.items()}, assign=True)
        return adapter.requires_grad_(False).to(device=device, dtype=dtype)


def read_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a file, nested names joined by dots.

    A pickle is read with torch's unpickler that makes nothing but tensors and plain containers.

    Args:
        path: The file; whatever does not end in `.safetensors` is taken for a pickle.
        device: Where to put them; `"meta"` reads names and shapes alone.

    Raises:
        ValueError: It is missing, damaged, or a pickle that holds more than plain tensors.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; check the path.")
    if path.suffix != ".safetensors":
        return dict(_flatten(path, _unpickle(path, device)))
    return storage.read(path, device)[0]


def convert(source: Path, target: Path) -> None:
    """Writes a pickle's tensors as safetensors, under names that `ForeignAdapter` reads.

    Raises:
        ValueError: The source cannot be read, or is no checkpoint that dynaip knows.
        OSError: The target cannot be written.
    """
    tensors = read_tensors(source)
    if recognise({name: tuple(tensor.shape) for name, tensor in tensors.items()}) is None:
        raise ValueError(f"{source} holds no image-prompt adapter; nothing was written.")
    # Tensors of a pickle may share or stride their storage; safetensors' do neither. One by one,
    # so that the file is not held twice.
    for name in tensors:
        tensors[name] = tensors[name].clone(memory_format=torch.contiguous_format)
    metadata = {"format": "pt"}
    storage.replace(target, lambda partial: save_file(tensors, partial, metadata=metadata))


def _unpickle(path: Path, device: str) -> object:
    with path.open("rb") as file:
        try:
            return torch.load(file, map_location=device, weights_only=True)
        except _UNREADABLE as error:
            raise ValueError(
                f"{path} is not a pickle of plain tensors, or is damaged, and was not opened; get "
                "the weights as safetensors from someone you trust."
            ) from error


def _flatten(path: Path, value: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(path, inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        raise ValueError(
            f"{path} holds more than plain tensors ({prefix or 'its root'} is a "
            f"{type(value).__name__}); get the weights as safetensors."
        )
