"""Subject cards: a reference as the adapter's experts see it, without picture or image encoder.

A card of the experts' outputs can still be weighed by hand; a fused one is a third of its size.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from dynaip.adapter import storage
from dynaip.adapter.fusion import FusedTokens, Granularity, MixtureFusion, weigh
from dynaip.adapter.model import ImagePromptAdapter

FORMAT = "dynaip-card"
VERSION = "1"
DIGEST = "fusion_sha256"
# Older cards call it so, as pictures call the hash of an adapter's file.
FORMER_DIGEST = "adapter_sha256"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SubjectCard:
    """One subject, encoded by one adapter. Axes: l level, b views, n tokens, d width.

    Attributes:
        tokens: The experts' outputs, "l b n d", or the fused tokens, "1 b n d".
        coefficients: The weights of the levels, "b l": the router's, or those that fused it.
        fusion_sha256: Whose experts they are, see the function of that name.
    """

    tokens: Float[Tensor, "l b n d"]
    coefficients: Float[Tensor, "b levels"]
    fusion_sha256: str

    @property
    def fused(self) -> bool:
        """Whether the levels are one already."""
        return self.tokens.shape[0] == 1

    def fuse(self, granularity: Granularity | None = None) -> FusedTokens:
        """Equation 8 on the card: what `DynaIPAdapter.encode` would return for the picture.

        Args:
            granularity: Weights (low, mid, high) by hand; `None` takes the card's own.

        Raises:
            ValueError: The card is fused and cannot be weighed anew, or the weights are none.
        """
        if not self.fused:
            return weigh(self.tokens, self.coefficients, granularity)
        if granularity is not None:
            raise ValueError(
                "This card is fused, so its granularity is fixed; encode the picture without "
                "--fused to weigh it anew."
            )
        return FusedTokens(self.tokens[0], self.coefficients)

    def check(self, adapter: ImagePromptAdapter) -> None:
        """Refuses another adapter.

        Raises:
            ValueError: The card was made with other experts.
        """
        if self.fusion_sha256 != fusion_sha256(adapter):
            raise ValueError(
                "This card was encoded with another adapter, whose experts speak another "
                "language, or with this one in fp16; encode the picture again (`dynaip encode`)."
            )

    def to(self, tensor: Tensor) -> SubjectCard:
        """Tokens with the precision of `tensor`, where it is."""
        return dataclasses.replace(
            self,
            tokens=self.tokens.to(tensor),
            coefficients=self.coefficients.to(tensor.device),
        )

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, whole or not at all.

        Raises:
            OSError: It cannot be written; what was there before still is.
        """
        tensors = {
            name: getattr(self, name).detach().cpu().contiguous()
            for name in ("tokens", "coefficients")
        }
        metadata = {"format": FORMAT, "version": VERSION, DIGEST: self.fusion_sha256}
        storage.replace(Path(path), lambda partial: save_file(tensors, partial, metadata))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> SubjectCard:
        """Reads a card.

        Raises:
            ValueError: The file is missing, truncated, or no card of this version.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"There is no card at {path}; check the path.")
        tensors, metadata = storage.read(path)
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
            raise ValueError(
                f"{path} is no subject card that this dynaip reads; make one with `dynaip encode`."
            )
        _check_tensors(path, tensors)
        digest = metadata.get(DIGEST, metadata.get(FORMER_DIGEST, ""))
        return SubjectCard(**tensors, fusion_sha256=digest)


def encode_card(
    adapter: ImagePromptAdapter,
    features: Float[Tensor, "l b n d"] | Float[Tensor, "b d"],
    granularity: Granularity | None = None,
    *,
    fused: bool = False,
) -> SubjectCard:
    """Makes the card of one subject.

    Args:
        adapter: Whose experts speak.
        features: What `adapter.tap` returned for its pictures, one or several views.
        granularity: For a fused card: weights by hand.
        fused: Keep the fused tokens alone, which is all that there is of a single level.

    Raises:
        ValueError: The adapter's fusion has no experts to keep apart, or granularity is given for
            a card that leaves it open.
    """
    digest = fusion_sha256(adapter)
    if fused or adapter.levels == 1:
        made = adapter.fuse(features, granularity)
        return SubjectCard(
            tokens=made.tokens[None], coefficients=made.coefficients, fusion_sha256=digest
        )
    if granularity is not None:
        raise ValueError(
            "A card of the experts leaves granularity open; give it where the card is used, or "
            "make a fused card."
        )
    if not isinstance(adapter.fusion, MixtureFusion):
        raise ValueError(
            f"An adapter with the fusion {adapter.config.fusion!r} has no experts to weigh; make "
            "a fused card."
        )
    tokens, coefficients = adapter.fusion.apart(features)
    if not adapter.config.class_token:
        tokens = tokens[:, :, 1:]
    return SubjectCard(tokens=tokens, coefficients=coefficients, fusion_sha256=digest)


def fusion_sha256(adapter: ImagePromptAdapter) -> str:
    """SHA-256 of the weights that make tokens, rounded to bf16.

    The same adapter has the same in fp32 and in bf16; in fp16, which rounds in other places, it has
    one of its own.
    """
    state = adapter.token_maker.state_dict()
    return storage.digest({name: t.detach().cpu().bfloat16() for name, t in state.items()})


def _check_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    tokens, coefficients = tensors.get("tokens"), tensors.get("coefficients")
    fits = (
        tensors.keys() == {"tokens", "coefficients"}
        and tokens is not None
        and coefficients is not None
        and (tokens.ndim, coefficients.ndim) == (4, 2)
        and tokens.shape[1] == coefficients.shape[0]
        and tokens.shape[0] in (1, coefficients.shape[1])
        and all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    )
    if not fits:
        raise ValueError(f"{path} is a damaged card; encode the picture again.")
