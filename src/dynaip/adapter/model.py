"""The adapter: features to tokens to every block's keys and values, and its files."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dynaip.adapter import storage
from dynaip.adapter.config import Branches, DynaIPConfig
from dynaip.adapter.convention import EncoderOutput
from dynaip.adapter.features import null_features, tap_features
from dynaip.adapter.fusion import FusedTokens, Granularity, build_fusion
from dynaip.adapter.projection import BlockProjection
from dynaip.adapter.prompt import ImagePrompt

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import PreTrainedModel

    from dynaip.pipeline.flux import PersonalPipeline

__all__ = ["DynaIPAdapter", "DynaIPConfig", "ImagePromptAdapter"]


class ImagePromptAdapter(nn.Module, abc.ABC):
    """What a pipeline reads subjects with: our own adapters, and other people's.

    Attributes:
        config: What the weights depend on, of a class of its own for each kind of adapter; the
            width of the reference tokens is its `token_dim`.
        encode: From what it reads of the image encoder to tokens, in each kind's own way; `fuse` is
            what all of them share.
    """

    config: Any
    encode: Any

    @property
    @abc.abstractmethod
    def encoder(self) -> str:
        """The frozen image encoder, as a hub name or a folder."""

    @property
    @abc.abstractmethod
    def encoder_output(self) -> EncoderOutput:
        """Which of the encoder's outputs is read."""

    @property
    @abc.abstractmethod
    def levels(self) -> int:
        """How many levels its tokens are weighed of; of one there is nothing to weigh."""

    @property
    @abc.abstractmethod
    def branches(self) -> Mapping[str, Branches]:
        """Rows that attend unless a call says otherwise, as arguments of `BlockBranches`."""

    @property
    @abc.abstractmethod
    def token_maker(self) -> nn.Module:
        """The part of it that makes tokens, which its cards depend on."""

    @abc.abstractmethod
    def tap(self, output: Any) -> Tensor:
        """What it looks at of the encoder's `encoder_output`, in its own precision.

        Raises:
            ValueError: The encoder is another one.
        """

    @abc.abstractmethod
    def fuse(self, features: Tensor, granularity: Granularity | None = None) -> FusedTokens:
        """Reference tokens of what `tap` returned, and the coefficients "b levels" of these.

        Raises:
            ValueError: The features or the granularity do not fit.
        """

    @abc.abstractmethod
    def project(self, tokens: Float[Tensor, "b n d"]) -> ImagePrompt:
        """Projects tokens to every block's K and V, once for all steps: one subject, scale 1."""

    def check_granularity(self, granularity: Granularity | None) -> None:
        """Refuses weights where there is but one level.

        Raises:
            ValueError: Some were given, and would have no effect.
        """
        if granularity is not None and self.levels == 1:
            raise ValueError(
                "This adapter reads one output of its image encoder, so there are no levels whose "
                "granularity could be set; leave it out."
            )

    def attach(
        self,
        pipe: DiffusionPipeline,
        *,
        image_encoder: PreTrainedModel | None = None,
        offload: bool = False,
    ) -> PersonalPipeline:
        """A FLUX pipeline that also takes `subjects=[...]`; see `PersonalPipeline`.

        Args:
            pipe: The pipeline.
            image_encoder: What reads the references; by default the pipeline's own where it has
                one of this kind, else `encoder` is loaded when the first picture is read.
            offload: Keep the adapter's weights on the CPU but while references are projected.

        Raises:
            ValueError: The adapter is for another base, or the encoder of another kind.
        """
        # Called, not imported above: the adapter loads without diffusers.
        from dynaip.pipeline.flux import PersonalPipeline

        return PersonalPipeline(pipe, self, image_encoder, offload=offload)


class DynaIPAdapter(ImagePromptAdapter):
    """DynaIP for one base: all the weights there are, none of them in the base.

    Axes: l level, b batch, s subject, n tokens, h heads, d width.

    Attributes:
        config: The adapter's shape and conventions.
    """

    config: DynaIPConfig

    def __init__(self, config: DynaIPConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion = build_fusion(
            config.fusion,
            levels=len(config.layers),
            input_dim=config.encoder_dim,
            token_dim=config.token_dim,
            router_dim=config.router_dim,
        )
        self.blocks = nn.ModuleList(
            BlockProjection(config.token_dim, config.inner_dim, config.key_std)
            for _ in range(config.blocks)
        )

    @property
    def encoder(self) -> str:
        """See `DynaIPConfig.encoder`."""
        return self.config.encoder

    @property
    def encoder_output(self) -> EncoderOutput:
        """All layers, of which `tap` takes some."""
        return "hidden_states"

    @property
    def levels(self) -> int:
        """Tapped layers of the encoder."""
        return len(self.config.layers)

    @property
    def branches(self) -> Mapping[str, Branches]:
        """What the config says, for double and single blocks alike."""
        return {"double": self.config.branches, "single": self.config.branches}

    @property
    def token_maker(self) -> nn.Module:
        """Experts and router."""
        return self.fusion

    def tap(self, output: Sequence[Float[Tensor, "b n d"]]) -> Float[Tensor, "l b n d"]:
        """The tapped layers of an encoder's whole `hidden_states`."""
        features = tap_features(output, self.config.layers)
        return features.to(next(self.parameters()))

    def fuse(
        self, features: Float[Tensor, "l b n d"], granularity: Granularity | None = None
    ) -> FusedTokens:
        """What `encode` makes of the tapped layers, all of its experts kept."""
        return self.encode(features, granularity)

    def encode(
        self,
        hidden_states: Float[Tensor, "l b n d"] | Sequence[Float[Tensor, "b n d"]],
        granularity: Granularity | None = None,
        *,
        keep: Bool[Tensor, "b l"] | None = None,
        drop: Bool[Tensor, " b"] | None = None,
    ) -> FusedTokens:
        """Fuses an encoder's hidden states into reference tokens (Section 4.2).

        Args:
            hidden_states: The tapped layers on a leading axis; or a transformers encoder's whole
                `hidden_states`, from which `config.layers` are taken.
            granularity: Weights (low, mid, high) by hand, non-negative, sum 1; for all samples, or
                "b l". `None` leaves them to the router.
            keep: Experts that a training sample keeps, at least one; the weights of these are
                renormalised.
            drop: Samples that get the null image instead.

        Returns:
            Tokens "b n token_dim" and the coefficients "b l" that made them.

        Raises:
            ValueError: Taps, widths or granularity do not fit this adapter.
        """
        if not isinstance(hidden_states, Tensor):
            hidden_states = self._tapped(hidden_states)
        levels, _, _, width = hidden_states.shape
        if (levels, width) != (len(self.config.layers), self.config.encoder_dim):
            raise ValueError(
                f"This adapter takes {len(self.config.layers)} levels of width "
                f"{self.config.encoder_dim} from {self.config.encoder}; got {levels} of {width}. "
                "Load the image encoder that it was trained with."
            )
        if granularity is not None and keep is not None:
            raise ValueError("Granularity by hand leaves no expert to drop; give one of the two.")
        if drop is not None:
            hidden_states = null_features(hidden_states, drop)
        fused = self.fusion(hidden_states, granularity, keep)
        if self.config.class_token:
            return fused
        return FusedTokens(fused.tokens[:, 1:], fused.coefficients)

    def _tapped(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Taps given as a sequence, or an encoder's whole output: told apart by their number."""
        if len(hidden_states) == len(self.config.layers):
            return torch.stack(tuple(hidden_states))
        return tap_features(hidden_states, self.config.layers)

    def project(self, tokens: Float[Tensor, "b n d"]) -> ImagePrompt:
        """Projects tokens to every block's K and V, once for all steps: one subject.

        Args:
            tokens: What `encode` returned; zeros are the exact "off".

        Returns:
            A prompt of one subject with scale 1 and no mask.

        Raises:
            ValueError: The tokens are of another adapter.
        """
        if tokens.shape[-1] != self.config.token_dim:
            raise ValueError(
                f"These tokens are {tokens.shape[-1]} wide, and this adapter's are "
                f"{self.config.token_dim}; encode the reference with this adapter."
            )
        eps = self.config.norm_eps if self.config.key_norm else None
        pairs = [block(tokens, self.config.head_dim, eps) for block in self.blocks]
        return ImagePrompt(
            keys=tuple(key.unsqueeze(1) for key, _ in pairs),
            values=tuple(value.unsqueeze(1) for _, value in pairs),
            scale=torch.ones(1, 1, 1, device=tokens.device),
            query_rope=self.config.query_rope,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors`, each whole or not at all.

        Raises:
            ValueError: A weight is not a finite number.
            OSError: The folder cannot be written; what it held before is still there.
        """
        storage.save(Path(folder), self.config, self.state_dict())

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> DynaIPAdapter:
        """Reads an adapter from a folder, or from a repository of the Hugging Face hub.

        Args:
            folder: A folder with `config.json` and `model.safetensors`, or a hub id `owner/name`.
            dtype: Precision to hold the weights in; `None` keeps the file's.
            device: Where to put them.

        Raises:
            ValueError: A file is missing, truncated, changed, or not of this format.
        """
        path = storage.locate(folder)
        config = storage.load_config(path)
        with torch.device("meta"):
            adapter = cls(config)
        shapes = {name: tuple(tensor.shape) for name, tensor in adapter.state_dict().items()}
        weights = storage.load_weights(path, shapes)
        adapter.load_state_dict(weights, assign=True)
        return adapter.to(device=device, dtype=dtype)
