"""The probe: a small network that reads every factor of a picture at once.

It sees pixels only, never a feature of the model it judges, and it is as good as its accuracy on
renders says: whatever is measured with it is printed beside that ceiling.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dynaip.pipeline.provenance import write_whole

FORMAT = 2
ATTENTION_HEAD_WIDTH = 32


class ProbeError(ValueError):
    """A probe's folder cannot be read, or does not fit what it is asked to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """A probe's shape.

    Attributes:
        values: Possible answers of each factor; one head per factor.
        size: Picture height and width in pixels.
        widths: Channels of the convolutions. Every even one (0, 2, ...) halves the picture.
        layers: Of self-attention, over the places and a question for each factor. With 0 each
            factor's head looks at one weighting of the places: another kind of probe, for a second
            opinion.
    """

    values: Mapping[str, tuple[str, ...]]
    size: int = 64
    widths: tuple[int, ...] = (32, 64, 96, 128, 192)
    layers: int = 3

    def __post_init__(self) -> None:
        """Refuses what makes no probe.

        Raises:
            ProbeError: The picture cannot be halved so often, there are fewer layers than none, or
                the last width is no multiple of its attention heads.
        """
        halvings = len(self.widths[::2])
        if self.size % 2**halvings:
            raise ProbeError(
                f"A probe of {len(self.widths)} convolutions halves its picture {halvings} times, "
                f"and {self.size} pixels cannot be; choose a multiple of {2**halvings}."
            )
        if self.layers < 0:
            raise ProbeError(f"A probe has 0 or more layers of self-attention, not {self.layers}.")
        if self.layers and self.widths[-1] % self.attention_heads:
            raise ProbeError(
                f"{self.attention_heads} heads of attention cannot share a width of "
                f"{self.widths[-1]}; choose a multiple of {ATTENTION_HEAD_WIDTH}."
            )

    @property
    def attention_heads(self) -> int:
        """Heads of each layer of self-attention."""
        return max(self.widths[-1] // ATTENTION_HEAD_WIDTH, 1)

    @property
    def side(self) -> int:
        """Rows and columns of the grid of places."""
        return self.size // 2 ** len(self.widths[::2])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ProbeConfig:
        """Inverse of `to_dict`.

        Raises:
            ProbeError: Another format, or fields that this version does not know.
        """
        given = dict(fields)
        if given.pop("format", None) != FORMAT:
            raise ProbeError(
                f"The probe's config.json is not of format {FORMAT}; "
                "train it again with `dynaip evaluate train-probe`."
            )
        try:
            values = {name: tuple(options) for name, options in given.pop("values").items()}
            return cls(values=values, widths=tuple(given.pop("widths")), **given)
        except (TypeError, KeyError, AttributeError) as error:
            raise ProbeError(f"The probe's config.json has wrong fields ({error}).") from error


class Probe(nn.Module):
    """One trunk of convolutions; each factor looks where it learns to look.

    Args:
        config: Its shape.
    """

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = nn.Sequential(*_convolutions(config.widths))
        width, factors = config.widths[-1], len(config.values)
        self.place = nn.Parameter(torch.zeros(config.side**2, width))
        if config.layers:
            self.questions = nn.Parameter(0.02 * torch.randn(factors, width))
            self.looking = _self_attention(width, config.attention_heads, config.layers)
        else:
            self.gaze = nn.Linear(width, factors)
        self.heads = nn.ModuleList(nn.Linear(width, len(v)) for v in config.values.values())

    def forward(self, pictures: Float[Tensor, "b 3 y x"]) -> dict[str, Float[Tensor, "b v"]]:
        """Logits of every factor's values for pictures in [-1, 1]."""
        grid = rearrange(self.trunk(pictures), "b d y x -> b (y x) d") + self.place
        if self.config.layers:
            asked = torch.cat([self.questions.expand(len(grid), -1, -1), grid], dim=1)
            seen = self.looking(asked)[:, : len(self.questions)]
        else:
            seen = torch.einsum("b n k, b n d -> b k d", self.gaze(grid).softmax(1), grid)
        return {
            name: head(features)
            for name, head, features in zip(
                self.config.values, self.heads, seen.unbind(1), strict=True
            )
        }

    @torch.inference_mode()
    def read(
        self, pictures: UInt8[np.ndarray, "b y x 3"], batch_size: int = 256
    ) -> dict[str, Int[np.ndarray, " b"]]:
        """The most likely value of each factor, as an index into `config.values[factor]`.

        Raises:
            ProbeError: The pictures are not of the size that the probe was trained at.
        """
        if pictures.shape[1:3] != (self.config.size, self.config.size):
            raise ProbeError(
                f"This probe reads pictures of {self.config.size}x{self.config.size} pixels, got "
                f"{pictures.shape[2]}x{pictures.shape[1]}; train one with "
                f"`dynaip evaluate train-probe --size {pictures.shape[1]}`."
            )
        self.eval()
        answers: dict[str, list[np.ndarray]] = {name: [] for name in self.config.values}
        for start in range(0, len(pictures), batch_size):
            logits = self(as_tensor(pictures[start : start + batch_size]))
            for name, scores in logits.items():
                answers[name].append(scores.argmax(1).numpy())
        return {name: np.concatenate(parts) for name, parts in answers.items()}

    @torch.inference_mode()
    def energy(
        self, pictures: UInt8[np.ndarray, "b y x 3"], batch_size: int = 256
    ) -> Float[np.ndarray, " b"]:
        """How strange a picture looks: free energy of the heads' logits, averaged over factors."""
        self.eval()
        parts = []
        for start in range(0, len(pictures), batch_size):
            logits = self(as_tensor(pictures[start : start + batch_size])).values()
            parts.append(-torch.stack([scores.logsumexp(1) for scores in logits]).mean(0))
        return torch.cat(parts).numpy()

    def save_pretrained(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors` (16 bit), each whole or not at all."""
        save_instrument(self, self.config.to_dict(), folder)

    @classmethod
    def from_pretrained(cls, folder: Path) -> Probe:
        """Reads what `save_pretrained` wrote, into 32 bit, in evaluation mode.

        Raises:
            ProbeError: No probe there, or its files are broken or do not fit each other.
        """
        try:
            config = ProbeConfig.from_dict(json.loads((folder / "config.json").read_text()))
            weights = load_file(folder / "model.safetensors")
            probe = cls(config)
            probe.load_state_dict(weights)
        except FileNotFoundError as error:
            raise ProbeError(
                f"There is no probe in {folder}; train one with `dynaip evaluate train-probe`."
            ) from error
        except (json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise ProbeError(f"The probe in {folder} is broken ({error}).") from error
        return probe.eval()


def save_instrument(network: nn.Module, config: Mapping[str, Any], folder: Path) -> None:
    """Writes a network's `config.json` and 16-bit `model.safetensors`, each whole or not at all."""
    weights = {name: _half(tensor) for name, tensor in network.state_dict().items()}
    write_whole(folder / "model.safetensors", save(weights))
    write_whole(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def as_tensor(pictures: UInt8[np.ndarray, "b y x 3"]) -> Float[Tensor, "b 3 y x"]:
    """Pictures of 0 to 255 as the probe and the autoencoder take them: in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures))
    return rearrange(pixels, "b y x c -> b c y x").float() / 127.5 - 1


def as_pictures(pixels: Float[Tensor, "b 3 y x"]) -> UInt8[np.ndarray, "b y x 3"]:
    """Inverse of `as_tensor`, rounding and clipping."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(rearrange(scaled, "b c y x -> b y x c").numpy())


def _convolutions(widths: tuple[int, ...]) -> Iterator[nn.Module]:
    before = 3
    for index, width in enumerate(widths):
        yield nn.Conv2d(before, width, 3, stride=2 - index % 2, padding=1, bias=False)
        yield nn.BatchNorm2d(width)
        yield nn.SiLU()
        before = width


def _self_attention(width: int, heads: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        width,
        heads,
        4 * width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(
        layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
    )


def _half(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor
