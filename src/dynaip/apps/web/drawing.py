"""One picture at a time on a loaded model: previews on the way, settings at the end."""

from __future__ import annotations

import copy
import dataclasses
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from dynaip.adapter.attention import resolve_overlap
from dynaip.analysis.attention_maps import picture_attention
from dynaip.apps.web.order import Order, OrderError
from dynaip.apps.web.takes import Take
from dynaip.pictures import decode_picture, read_reference
from dynaip.pipeline import provenance
from dynaip.pipeline.arguments import default_arguments, default_guidance
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.placing import resolve_places
from dynaip.pipeline.subject import Subject, token_mask

if TYPE_CHECKING:
    from PIL import Image

# Previews may take this share of the time.
PREVIEW_SHARE = 0.2
# Pixels of a reference as the page shows it: on white, square, whole.
SEEN = 160


class Stopped(Exception):
    """The picture at work is not wanted any more."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A finished picture.

    Attributes:
        take: What was asked.
        settings: What it was made with.
        png: The file, settings and notices inside.
        seconds: How long it took.
        key: Its name, not to be guessed.
    """

    take: Take
    settings: provenance.Settings
    png: bytes
    seconds: float
    key: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def picture(self) -> Image.Image:
        """Its pixels."""
        return decode_picture(self.png)


class Pencil:
    """Draws with one pipeline; not for two threads at a time.

    Args:
        personal: The pipeline with its adapter.
        origin: How it is called.
        previews: Whether it looks ahead. Where the model is offloaded, each look would move the
            transformer away and back.
    """

    def __init__(
        self, personal: PersonalPipeline, origin: provenance.Origin, previews: bool = True
    ) -> None:
        self.personal, self.origin, self.previews = personal, origin, previews
        # A tokenizer keeps its last call's padding; the pipeline's may be at work meanwhile.
        self._counter = copy.deepcopy(personal.pipe.tokenizer_2)

    @property
    def reference_size(self) -> int:
        """See `PersonalPipeline.reference_size`."""
        return self.personal.reference_size

    @property
    def guidance(self) -> float:
        """Where an order does not say."""
        return default_guidance(self.personal.pipe)

    @property
    def token(self) -> int:
        """Pixels of a token's side."""
        return 2 * self.personal.pipe.vae_scale_factor

    def size(self, height: int | None, width: int | None) -> tuple[int, int]:
        """In pixels, rounded down to whole tokens; the model's own where not given."""
        own, token = default_arguments(self.personal.pipe), self.token
        sides = height or own["height"], width or own["width"]
        height, width = (max(side // token, 1) * token for side in sides)
        return height, width

    def counted_tokens(self, prompt: str) -> int | None:
        """How many tokens of a prompt count, where they do not all; also while one is drawn."""
        most = default_arguments(self.personal.pipe)["max_sequence_length"]
        tokens = self._counter(prompt, verbose=False).input_ids
        return most if len(tokens) > most else None

    def draw(self, take: Take, on_step: Callable[[Image.Image | None], Any]) -> Made:
        """Makes a picture.

        Args:
            take: The picture.
            on_step: Called after each step, with a preview now and then; raises `Stopped` to stop.

        Raises:
            ValueError: A reference or mask does not fit.
        """
        order, start = take.order, time.monotonic()
        guidance = default_guidance(self.personal.pipe, order.guidance)
        order = dataclasses.replace(order, guidance=guidance)
        height, width = self.size(order.height, order.width)
        preview = Preview(self.personal.pipe, height, width)

        def advance(_: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> Any:
            on_step(preview.after(step, tensors["latents"]) if self.previews else None)
            return tensors

        try:
            images, coefficients = self.personal(
                order.prompt,
                subjects=[each.subject for each in order.cast],
                branches=order.branches,
                overlap=order.overlap,
                num_inference_steps=order.steps,
                guidance_scale=order.guidance,
                image_guidance_scale=order.image_guidance,
                height=height,
                width=width,
                generator=torch.Generator().manual_seed(order.seed),
                callback_on_step_end=advance,
                return_dict=False,
            )
        finally:
            # One that is stopped would leave an offloaded model's parts on the device.
            self.personal.pipe.maybe_free_model_hooks()
        settings = self._describe(order, images[0], coefficients)
        png = provenance.encode_picture(images[0], settings)
        return Made(take=take, settings=settings, png=png, seconds=time.monotonic() - start)

    def route(self, subject: Subject) -> tuple[list[float], Image.Image]:
        """What the router gives low, mid and high of a reference, and how the encoder sees it."""
        subject = dataclasses.replace(subject, granularity=None, mask=None, phrase=None)
        weights = self.personal.encode([subject]).coefficients[0, 0].tolist()
        return weights, read_reference(subject.views[0], SEEN)  # pyright: ignore[reportArgumentType]

    def masks(self, order: Order) -> np.ndarray:
        """The masks that the blocks use, overlap decided, "s rows columns"."""
        rows, columns = (side // self.token for side in self.size(order.height, order.width))
        places = resolve_places([each.subject.mask for each in order.cast])
        try:
            flat = [
                np.ones(rows * columns, np.float32)
                if place is None
                else token_mask(place, (rows, columns))
                for place in places
            ]
        except ValueError as error:
            raise OrderError(str(error), "subjects") from error
        masks = resolve_overlap(torch.from_numpy(np.stack(flat))[None], order.overlap)
        return rearrange(masks[0].numpy(), "s (y x) -> s y x", y=rows)

    def attention(self, made: Made) -> np.ndarray:
        """Where each subject was used in a finished picture, "s rows columns".

        How loud it is in each token (see `AttentionMaps.picture`), 1 being its own mean over the
        tokens where it is.
        """
        order = made.take.order
        maps = picture_attention(
            self.personal,
            made.picture,
            order.prompt,
            [each.subject for each in order.cast],
            branches=order.branches,
            seed=order.seed,
        )
        loud = maps.picture[0]
        present = (loud > 0).sum((1, 2), keepdims=True).clip(1)
        return loud / (loud.sum((1, 2), keepdims=True) / present).clip(1e-12)

    def _describe(
        self, order: Order, picture: Image.Image, coefficients: Tensor
    ) -> provenance.Settings:
        records = [
            provenance.record_subject(
                each.subject, weights, name=each.name, sha256=each.sha256, mask=each.place
            )
            for each, weights in zip(order.cast, coefficients[0].tolist(), strict=True)
        ]
        return self.origin.describe(
            picture,
            records,
            prompt=order.prompt,
            seed=order.seed,
            steps=order.steps,
            guidance=order.guidance,
            image_guidance=order.image_guidance,
            branches=order.branches,
            overlap=order.overlap,
        )


class Preview:
    """Looks ahead: the clean picture that the last step points to, decoded by the autoencoder.

    Two neighbours on the path x_σ give its velocity, v = Δx / Δσ, and with it x_0 = x_σ - σ v.

    Args:
        pipe: The pipeline at work.
        height, width: Of the picture, in pixels.
    """

    def __init__(self, pipe: Any, height: int, width: int) -> None:
        self.pipe, self.height, self.width = pipe, height, width
        self._before: Tensor | None = None
        self._cost, self._last = 0.0, time.monotonic()

    @torch.no_grad()
    def after(self, step: int, latents: Tensor) -> Image.Image | None:
        """A preview after this step; nothing after the first, or where it would cost too much."""
        before, self._before = self._before, latents
        now = time.monotonic()
        if before is None or (now - self._last) * PREVIEW_SHARE < self._cost:
            return None
        sigmas = self.pipe.scheduler.sigmas
        sigma, sigma_before = float(sigmas[step + 1]), float(sigmas[step])
        clean = latents - sigma * (latents - before) / (sigma - sigma_before)
        pixels = self._decode(clean.to(latents.dtype))
        self._last = time.monotonic()
        self._cost = self._last - now
        return pixels

    def _decode(self, latents: Tensor) -> Image.Image:
        pipe = self.pipe
        config = pipe.vae.config
        factor = pipe.vae_scale_factor
        unpacked = pipe._unpack_latents(latents, self.height, self.width, factor)
        unpacked = unpacked / config.scaling_factor + config.shift_factor
        decoded = pipe.vae.decode(unpacked.to(pipe.vae.dtype), return_dict=False)[0]
        return pipe.image_processor.postprocess(decoded, output_type="pil")[0]
