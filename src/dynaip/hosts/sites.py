"""Where an adapter adds to diffusers' `FluxTransformer2DModel`, and which rows it reaches."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from diffusers import FluxTransformer2DModel

from dynaip.adapter.config import BRANCHES, Branches, DynaIPConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """One attention of the base that an adapter adds to.

    Attributes:
        name: Its module's name in the transformer.
        kind: The block's kind.
        index: Its place in the adapter: double blocks, then single blocks.
        heads: Its heads.
        head_dim: Width of a head.
        last: Whether the block is the last one, whose text rows nothing reads.
    """

    name: str
    kind: Literal["double", "single"]
    index: int
    heads: int
    head_dim: int
    last: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockBranches:
    """Rows that attend to the reference, for double and single blocks apart.

    Attributes:
        double: `"image"`, `"text"` or `"both"`.
        single: The same for single blocks.
    """

    double: Branches
    single: Branches

    def __post_init__(self) -> None:
        """Refuses other words.

        Raises:
            ValueError: A value is none of the three.
        """
        for branch in (self.double, self.single):
            if branch not in BRANCHES:
                raise ValueError(f"branches is one of {', '.join(BRANCHES)}; got {branch!r}.")

    @property
    def has_text(self) -> bool:
        """Whether text rows attend anywhere."""
        return {self.double, self.single} != {"image"}

    def rows(self, site: Site) -> Branches | None:
        """Rows at a site. Nothing reads the last block's text rows, so they are left out."""
        branch = self.double if site.kind == "double" else self.single
        if not site.last:
            return branch
        return None if branch == "text" else "image"


def find_sites(transformer: FluxTransformer2DModel) -> tuple[Site, ...]:
    """Every attention of the base, in the adapter's order."""
    blocks = [f"transformer_blocks.{i}.attn" for i in range(_double(transformer))]
    singles = len(transformer.single_transformer_blocks)
    blocks += [f"single_transformer_blocks.{i}.attn" for i in range(singles)]
    sites = []
    for index, name in enumerate(blocks):
        attention: Any = transformer.get_submodule(name)
        sites.append(
            Site(
                name=name,
                kind="single" if name.startswith("single") else "double",
                index=index,
                heads=attention.heads,
                head_dim=attention.head_dim,
                last=index == len(blocks) - 1,
            )
        )
    return tuple(sites)


def _double(transformer: FluxTransformer2DModel) -> int:
    return len(transformer.transformer_blocks)


def check_base(transformer: FluxTransformer2DModel, config: DynaIPConfig) -> None:
    """Refuses an adapter that was made for another base.

    Raises:
        ValueError: Blocks, heads or widths differ.
    """
    sites = find_sites(transformer)
    found = (
        _double(transformer),
        len(sites) - _double(transformer),
        sites[0].heads,
        sites[0].head_dim,
    )
    wanted = (config.double_blocks, config.single_blocks, config.heads, config.head_dim)
    if found != wanted:
        text = "{} double and {} single blocks with {} heads of width {}"
        raise ValueError(
            f"This adapter is for a base of {text.format(*wanted)}, and this one has "
            f"{text.format(*found)}; use the base that the adapter was trained on."
        )
