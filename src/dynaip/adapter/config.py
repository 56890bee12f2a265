"""What an adapter is: every choice that its weights depend on, written into `config.json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from dynaip.recipes import check_types

FORMAT = "dynaip-adapter"
VERSION = 1

Fusion = Literal["moe", "add", "concat", "low", "mid", "high"]
FUSIONS: tuple[Fusion, ...] = ("moe", "add", "concat", "low", "mid", "high")
Branches = Literal["image", "text", "both"]
BRANCHES: tuple[Branches, ...] = ("image", "text", "both")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynaIPConfig:
    """The adapter's shape and conventions. The defaults are those for FLUX.1-dev.

    Attributes:
        encoder: The frozen image encoder, as a hub name or a folder; a note for whoever loads it.
        encoder_dim: Width of its hidden states.
        layers: Tapped entries of its hidden states, shallow to deep (Section B.1).
        class_token: Whether the class token is also a reference token. The router sees it anyway.
        token_dim: Width of the reference tokens C.
        fusion: `"moe"` (Section 4.2), or a rival: `"add"`, `"concat"`, `"low"`, `"mid"`, `"high"`.
        router_dim: Hidden width of the router.
        double_blocks: Double-stream blocks of the base.
        single_blocks: Single-stream blocks of the base.
        heads: Attention heads of the base.
        head_dim: Width of a head.
        key_norm: RMSNorm without parameters on K, per head.
        norm_eps: Its epsilon.
        key_std: Standard deviation of K's initial weights; V's are zero.
        query_rope: Take queries after the rotary embedding. K has no position, so the default is
            before; a deviation from the words of Equation 1.
        expert_drop: Probability of dropping an expert in training (Section B.1).
        train_branches: Rows that attend to the reference in training (Equations 4, 5).
        branches: Rows that attend at inference (Equations 2, 3).
    """

    encoder: str = "openai/clip-vit-large-patch14-336"
    encoder_dim: int = 1024
    layers: tuple[int, ...] = (10, 17, 24)
    class_token: bool = True
    token_dim: int = 4096
    fusion: Fusion = "moe"
    router_dim: int = 1024
    double_blocks: int = 19
    single_blocks: int = 38
    heads: int = 24
    head_dim: int = 128
    key_norm: bool = True
    norm_eps: float = 1e-5
    key_std: float = 0.02
    query_rope: bool = False
    expert_drop: float = 0.05
    train_branches: Branches = "both"
    branches: Branches = "image"

    def __post_init__(self) -> None:
        """Refuses shapes that cannot be built.

        Raises:
            ValueError: A value is out of range.
        """
        sizes = ("encoder_dim", "token_dim", "router_dim", "heads", "head_dim")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1; got {getattr(self, name)}.")
        if min(self.double_blocks, self.single_blocks) < 0 or self.blocks < 1:
            raise ValueError("An adapter needs at least one block of the base.")
        if not self.layers or min(self.layers) < 0 or list(self.layers) != sorted(self.layers):
            raise ValueError(
                f"layers names hidden states from shallow to deep, such as [10, 17, 24]; got "
                f"{list(self.layers)}."
            )
        if not 0 <= self.expert_drop < 1:
            raise ValueError(f"expert_drop is a probability below 1; got {self.expert_drop}.")

    @property
    def blocks(self) -> int:
        """Blocks of the base, double then single."""
        return self.double_blocks + self.single_blocks

    @property
    def inner_dim(self) -> int:
        """Width of the base."""
        return self.heads * self.head_dim

    @classmethod
    def flux_dev(cls) -> DynaIPConfig:
        """The paper's adapter: 57 blocks of FLUX.1-dev, about 1.45 B parameters."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """JSON values, with the format's name and version."""
        values = dataclasses.asdict(self)
        return {"format": FORMAT, "version": VERSION, **values, "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DynaIPConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: Another format or version, an unknown key, a missing one, or a bad value.
        """
        if values.get("format") != FORMAT:
            raise ValueError(
                f"This is no config of a DynaIP adapter: its format is {values.get('format')!r}, "
                f"not {FORMAT!r}."
            )
        if values.get("version") != VERSION:
            raise ValueError(
                f"This adapter has format version {values.get('version')!r}, and this dynaip reads "
                f"version {VERSION}; install the release that wrote it."
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        given = {key: value for key, value in values.items() if key not in ("format", "version")}
        if unknown := sorted(given.keys() - fields):
            raise ValueError(
                f"The adapter's config has keys that this dynaip does not know: "
                f"{', '.join(unknown)}; it was written by a newer release, or edited."
            )
        if missing := sorted(fields - given.keys()):
            raise ValueError(f"The adapter's config lacks: {', '.join(missing)}.")
        if isinstance(given["layers"], list):
            given["layers"] = tuple(given["layers"])
        check_types(cls, given, "the adapter's config")
        return cls(**given)

    def to_json(self) -> str:
        """The text of `config.json`."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DynaIPConfig:
        """Reads the text of `config.json`.

        Raises:
            ValueError: It is no JSON object, or not such a config.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The adapter's config is not JSON ({error}).") from error
        if not isinstance(values, dict):
            raise ValueError("The adapter's config is not a JSON object.")
        return cls.from_dict(values)
