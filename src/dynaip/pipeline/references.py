"""Reference pictures and cards to the adapter's tokens."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPVisionModel, PreTrainedModel

from dynaip.adapter.card import SubjectCard, encode_card
from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.convention import EncoderOutput
from dynaip.adapter.fusion import FusedTokens
from dynaip.adapter.model import ImagePromptAdapter
from dynaip.hosts.vision import TOWERS, encode_references, has_output, stack_pictures
from dynaip.pictures import read_reference
from dynaip.pipeline.subject import Subject

# What diffusers and transformers raise over a model's files.
UNREADABLE = (OSError, ValueError, SafetensorError)


class ReferenceReader:
    """Reads subjects with an image encoder and an adapter.

    Attributes:
        adapter: The adapter.
        offload: Whether its weights, and those of an encoder that is loaded here, stay on the CPU
            but while `on_device` lasts.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        adapter: ImagePromptAdapter,
        image_encoder: PreTrainedModel | None,
        offload: bool,
    ) -> None:
        self._pipe, self.adapter, self.offload = pipe, adapter, offload
        self._image_encoder = _choose_encoder(pipe, adapter, image_encoder)
        self._offloaded: list[nn.Module] = [adapter]
        if offload:
            adapter.to("cpu")

    @property
    def size(self) -> int:
        """See `PersonalPipeline.reference_size`."""
        if self._image_encoder is not None:
            return cast(int, self._image_encoder.config.image_size)
        name = self.adapter.encoder
        config: Any = TOWERS[self.adapter.encoder_output].config_class
        try:
            return cast(int, config.from_pretrained(name).image_size)
        except UNREADABLE as error:
            raise ValueError(
                f"The adapter's image encoder {name} cannot be had; download it, or check the "
                "connection."
            ) from error

    @contextlib.contextmanager
    def on_device(self) -> Iterator[None]:
        """What is offloaded where the pipeline computes, if it is not left where it is."""
        if not self.offload:
            yield
            return
        for module in self._offloaded:
            module.to(execution_device(self._pipe))
        try:
            yield
        finally:
            for module in self._offloaded:
                module.to("cpu")

    def fuse(self, subject: Subject) -> FusedTokens:
        """Tokens and coefficients of every view of a subject: "v n d" and "v l".

        Raises:
            ValueError: A view cannot be used, or they do not go together, or the adapter has no
                granularity to set.
        """
        self.adapter.check_granularity(subject.granularity)
        weight = next(self.adapter.parameters())
        parts = []
        for view in subject.views:
            if isinstance(view, SubjectCard):
                view.check(self.adapter)
                parts.append(view.to(weight).fuse(subject.granularity))
            else:
                parts.append(self.adapter.fuse(self._features([view]), subject.granularity))
        if len({part.tokens.shape[1:] for part in parts}) > 1:
            raise ValueError("These views differ in tokens; encode all of them with one encoder.")
        return FusedTokens(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.coefficients for part in parts]),
        )

    def card(self, subject: Subject, *, fused: bool) -> SubjectCard:
        """A subject's pictures as the adapter sees them, see `PersonalPipeline.encode_card`."""
        if any(isinstance(view, SubjectCard) for view in subject.views):
            raise ValueError("The reference is a card already; give a picture.")
        features = self._features(cast(Any, subject.views))
        return encode_card(self.adapter, features, subject.granularity, fused=fused)

    def _features(self, pictures: Sequence[Any]) -> Tensor:
        encoder = self._encoder()
        references = [read_reference(picture, self.size) for picture in pictures]
        output = self.adapter.encoder_output
        return self.adapter.tap(encode_references(encoder, stack_pictures(references), output))

    def _encoder(self) -> PreTrainedModel:
        if self._image_encoder is None:
            weight = next(self.adapter.parameters())
            name, output = self.adapter.encoder, self.adapter.encoder_output
            self._image_encoder = _load_encoder(name, output, weight)
            self._offloaded.append(self._image_encoder)
        return self._image_encoder


def _choose_encoder(
    pipe: DiffusionPipeline, adapter: ImagePromptAdapter, given: PreTrainedModel | None
) -> PreTrainedModel | None:
    """The encoder given, or the pipeline's own where the adapter can read it; else none yet."""
    output = adapter.encoder_output
    if given is not None:
        if not has_output(given, output):
            raise ValueError(
                f"image_encoder is a {type(given).__name__}, and this adapter reads the {output} "
                f"of a {TOWERS[output].__name__}, {adapter.encoder}; give that, or leave it out."
            )
        return given
    own = getattr(pipe, "image_encoder", None)
    return own if own is not None and has_output(own, output) else None


def load_image_encoder(config: DynaIPConfig, like: Tensor) -> CLIPVisionModel:
    """The image encoder that an adapter's config names, which FLUX pipelines do not have.

    Args:
        config: The adapter's.
        like: Has the precision and device that it is loaded in.

    Raises:
        ValueError: It is neither a folder here nor to be had from the hub.
    """
    return cast(CLIPVisionModel, _load_encoder(config.encoder, "hidden_states", like))


def _load_encoder(name: str, output: EncoderOutput, like: Tensor) -> PreTrainedModel:
    try:
        encoder = TOWERS[output].from_pretrained(name, dtype=like.dtype)
    except UNREADABLE as error:
        raise ValueError(
            f"The adapter's image encoder {name} cannot be loaded; download it, or give one as "
            "`image_encoder`."
        ) from error
    return cast(Any, encoder).to(like.device).eval()


def execution_device(pipe: DiffusionPipeline) -> torch.device:
    """Where the pipeline computes, also when its parts wait elsewhere."""
    return pipe._execution_device


def side_by_side(tokens: Sequence[Float[Tensor, "_ n d"]]) -> list[Float[Tensor, "1 m d"]]:
    """Views of a subject in one softmax; all subjects with equally many tokens.

    A subject with fewer views is repeated: a softmax over every token k times is the softmax over
    each of them once.
    """
    views = math.lcm(*(each.shape[0] for each in tokens))
    return [each.reshape(1, -1, each.shape[-1]).repeat(1, views // len(each), 1) for each in tokens]
