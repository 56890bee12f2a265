"""The conditioning as one frozen value: projecting once and passing it on *is* the cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynaip.adapter.attention import Overlap, resolve_overlap
from dynaip.adapter.choices import check_window
from dynaip.adapter.convention import Insertion
from dynaip.adapter.grouping import Cover, can_pack, cover_rows


class BlockPrompt(NamedTuple):
    """What one block needs.

    Attributes:
        key: "c s h m d", normalised.
        value: "c s h m d".
        image_weight: λ_i · M_i for the image rows, "w s n" or "w s 1".
        text_weight: λ_i for the text rows, "w s 1", or λ_i · T_i, "w s t", see `ImagePrompt`.
        query_rope: Whether queries are taken after the rotary embedding.
        insertion: Where the block adds it, see `ImagePrompt`.
        cover: The image rows that attend to each subject; `None` is all of them to all.
    """

    key: Tensor
    value: Tensor
    image_weight: Tensor
    text_weight: Tensor
    query_rope: bool
    insertion: Insertion
    cover: Cover | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImagePrompt:
    """Every block's keys and values for the reference subjects, with their scales and masks.

    The batch is 1 (the same references for every sample) or the samples' own.

    Attributes:
        keys: One tensor per block, "b s h m d", normalised as the adapter does.
        values: One tensor per block, "b s h m d".
        scale: λ per subject, "b s l": one for all blocks (l = 1), or one for each.
        mask: Per subject over the packed image rows, "b s n", 0 to 1; `None` is everywhere.
        overlap: What happens where masks meet, see `resolve_overlap`.
        text_mask: T, per subject over the t text rows, "b s t", 0 to 1; `None` is all of them.
            Where text rows attend at all, it chooses those that attend to a subject, as `mask`
            does in the picture. Not in the paper. Its batch may be larger than that of the keys,
            which all prompts then share.
        window: Per subject the shares of the denoising steps at which it comes in and goes, "b s 2"
            on the CPU; `None` is from first to last.
        query_rope: Whether queries are taken after the rotary embedding.
        insertion: `"pre_out"`, before the block's output projection, is DynaIP's place.
            `"post_ff"` is XLabs': the image rows of double blocks alone, after the feed-forward,
            so keys and values are those of the double blocks.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    scale: Float[Tensor, "#b s l"]
    mask: Float[Tensor, "#b s n"] | None = None
    overlap: Overlap = "sum"
    text_mask: Float[Tensor, "#b s t"] | None = None
    window: Float[Tensor, "#b s 2"] | None = None
    query_rope: bool = False
    insertion: Insertion = "pre_out"

    @property
    def batch(self) -> int:
        """Samples this prompt tells apart; 1 serves any number."""
        return max(self._own_batch, 1 if self.text_mask is None else len(self.text_mask))

    @property
    def subjects(self) -> int:
        """Number of subjects; 0 is the base model itself."""
        return self.keys[0].shape[1] if self.keys else 0

    @property
    def blocks(self) -> int:
        """Number of blocks with keys and values."""
        return len(self.keys)

    @functools.cached_property
    def _places(self) -> Float[Tensor, "#b s n"] | None:
        """Everybody's share of each image row, their overlap decided; `None` is all of it."""
        if self.mask is not None:
            return resolve_overlap(self.mask, self.overlap)
        if self.overlap == "sum":
            return None
        return resolve_overlap(self.scale.new_ones(1, self.subjects, 1), self.overlap)

    @functools.cached_property
    def cover(self) -> Cover | None:
        """The image rows of each subject, where there are masks."""
        if self._places is None or self._places.shape[-1] == 1:
            return None
        return cover_rows(self._places, can_pack(self.keys[0]))

    def block(self, index: int) -> BlockPrompt:
        """The part of block `index`."""
        scale = self.scale[..., index if self.scale.shape[-1] > 1 else 0, None]
        # Always laid out alike, however the scale was given: strides are part of what is compiled.
        scale = scale.clone(memory_format=torch.contiguous_format)
        image = scale if self._places is None else scale * self._places
        text = scale if self.text_mask is None else scale * self.text_mask
        key, value = self.keys[index], self.values[index]
        return BlockPrompt(key, value, image, text, self.query_rope, self.insertion, self.cover)

    def with_scale(self, scale: float | Sequence[float] | Tensor) -> ImagePrompt:
        """The same references with other weights λ.

        Args:
            scale: A number for all subjects; or one per subject, "s"; or "s l", one per subject and
                block; or "b s l", with l = 1 or the number of blocks.

        Raises:
            ValueError: The numbers do not match subjects or blocks, or are not finite.
        """
        given = torch.as_tensor(scale, dtype=self.scale.dtype, device=self.scale.device)
        if not torch.isfinite(given).all():
            raise ValueError("A scale is not a finite number; give one that is, such as 1.0.")
        if given.ndim == 0:
            given = given.expand(self.subjects)
        if given.ndim == 1:
            given = given[:, None]
        if given.ndim == 2:
            given = given[None]
        batch, subjects, blocks = given.shape
        if subjects != self.subjects or blocks not in (1, self.blocks):
            raise ValueError(
                f"Scales for {subjects} subject(s) and {blocks} block(s) were given, but this "
                f"prompt has {self.subjects} subject(s) and {self.blocks} blocks; give one number "
                "a subject, or one for each of its blocks."
            )
        if batch not in (1, self.batch):
            raise ValueError(
                f"Scales for {batch} samples were given, but this prompt holds {self.batch}."
            )
        return dataclasses.replace(self, scale=given)

    def with_mask(
        self, mask: Float[Tensor, "s n"] | Float[Tensor, "b s n"] | None, overlap: Overlap = "sum"
    ) -> ImagePrompt:
        """The same references, each only where its mask says.

        Args:
            mask: One row per subject over the packed image tokens (row-major, `height / 16` by
                `width / 16` on FLUX), 0 to 1, soft edges allowed; `None` removes the masks.
            overlap: See `resolve_overlap`.

        Raises:
            ValueError: The masks do not match the subjects, or leave the range from 0 to 1.
        """
        if mask is None:
            return dataclasses.replace(self, mask=None, overlap=overlap)
        mask = self._checked(mask, self._own_batch)
        resolve_overlap(mask[..., :1], overlap)
        return dataclasses.replace(self, mask=mask, overlap=overlap)

    def with_text_mask(
        self, mask: Float[Tensor, "s t"] | Float[Tensor, "b s t"] | None
    ) -> ImagePrompt:
        """The same references, each only to the text rows that its mask says.

        Args:
            mask: One row per subject over T5's tokens of the prompt, padding included, 0 to 1;
                `None` removes the masks.

        Raises:
            ValueError: The masks do not match the subjects or samples, or leave the range from 0
                to 1.
        """
        if mask is not None:
            samples = self._own_batch if self._own_batch > 1 else len(mask)
            mask = self._checked(mask, samples)
        return dataclasses.replace(self, text_mask=mask)

    @property
    def _own_batch(self) -> int:
        """Samples that have keys of their own."""
        return self.keys[0].shape[0] if self.keys else 1

    def _checked(self, mask: Tensor, samples: int) -> Float[Tensor, "b s _"]:
        """Masks, one for each subject, on the device and in the precision of `scale`."""
        mask = mask[None] if mask.ndim == 2 else mask
        mask = mask.to(self.scale)
        if mask.shape[1] != self.subjects:
            raise ValueError(
                f"{mask.shape[1]} mask(s) were given for {self.subjects} subject(s); give one "
                "each, all ones where a subject may be anywhere."
            )
        if mask.shape[0] not in (1, samples):
            raise ValueError(
                f"Masks for {mask.shape[0]} samples were given, but this prompt holds "
                f"{samples}; use `expand` first."
            )
        if not ((mask >= 0) & (mask <= 1)).all():
            raise ValueError("Masks hold numbers from 0 to 1; divide by 255 if they are bytes.")
        return mask

    def with_window(self, start: float, end: float) -> ImagePrompt:
        """The same references, from one share of the denoising steps to another.

        Args:
            start: Share of the steps that run before they come in, from 0.
            end: Share of the steps after which they are gone, up to 1.

        Raises:
            ValueError: The shares are not 0 <= start < end <= 1.
        """
        check_window(start, end)
        window = torch.tensor([[[start, end]]], device="cpu").expand(1, self.subjects, 2)
        return dataclasses.replace(self, window=window)

    def active(self, position: float) -> Bool[Tensor, "#b s"] | None:
        """Who is there when a share `position` of the steps is done; `None` is everybody, always.

        The comparison is made on the CPU, so asking never waits for the device.
        """
        if self.window is None:
            return None
        return (self.window[..., 0] <= position) & (position < self.window[..., 1])

    def only(self, active: Bool[Tensor, "#b s"]) -> ImagePrompt:
        """The same references with some of them off: same shapes, other numbers.

        One that is off has no say in `overlap` either.
        """
        on = active.to(self.scale)[..., None]
        mask = self.mask
        if mask is None and self.overlap != "sum":
            mask = torch.ones_like(on)
        return dataclasses.replace(
            self, scale=self.scale * on, mask=None if mask is None else mask * on
        )

    def beside(self, picture: int, appended: int) -> ImagePrompt:
        """For image rows of which the last ones are not the picture's, as Kontext's are: off there.

        Args:
            picture: The picture's own rows, which the masks cover.
            appended: Rows after them.
        """
        mask = self.scale.new_ones(1, 1, 1) if self.mask is None else self.mask
        mask = mask.expand(-1, self.subjects, picture)
        return dataclasses.replace(self, mask=torch.nn.functional.pad(mask, (0, appended)))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ImagePrompt:
        """Keys and values on another device or in another precision; weights keep theirs."""
        return dataclasses.replace(
            self,
            keys=tuple(key.to(device=device, dtype=dtype) for key in self.keys),
            values=tuple(value.to(device=device, dtype=dtype) for value in self.values),
            scale=self.scale.to(device=device),
            mask=None if self.mask is None else self.mask.to(device=device),
            text_mask=None if self.text_mask is None else self.text_mask.to(device=device),
        )

    def repeat_interleave(self, times: int) -> ImagePrompt:
        """Each sample `times` over, in the order of diffusers' `num_images_per_prompt`."""
        each = self.expand(self.batch)
        return each._map_batch(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def expand(self, batch: int) -> ImagePrompt:
        """A prompt of batch 1 for `batch` samples, without copying; else unchanged."""
        return self._map_batch(lambda t: t.expand(batch, *t.shape[1:]) if t.shape[0] == 1 else t)

    def _map_batch(self, change: Callable[[Tensor], Tensor]) -> ImagePrompt:
        return dataclasses.replace(
            self,
            keys=tuple(map(change, self.keys)),
            values=tuple(map(change, self.values)),
            scale=change(self.scale),
            mask=None if self.mask is None else change(self.mask),
            text_mask=None if self.text_mask is None else change(self.text_mask),
            window=None if self.window is None else change(self.window),
        )

    @staticmethod
    def empty() -> ImagePrompt:
        """No subject at all: attached, it leaves the base as it is, bit for bit."""
        return ImagePrompt(keys=(), values=(), scale=torch.ones(1, 0, 1))

    @staticmethod
    def join(prompts: Sequence[ImagePrompt]) -> ImagePrompt:
        """Several subjects in one picture (Equation 9): prompts side by side on the subject axis.

        Masks and scales stay with their subjects; a subject without a mask may be anywhere, one
        without a text mask be seen by every text row.

        Raises:
            ValueError: The prompts come from different adapters or encoders, or differ in batch,
                overlap or mask size.
        """
        prompts = [prompt for prompt in prompts if prompt.subjects]
        if not prompts:
            return ImagePrompt.empty()
        return _concatenate(prompts, axis=1)

    @staticmethod
    def stack(prompts: Sequence[ImagePrompt]) -> ImagePrompt:
        """Several samples in one batch, each with its own references, in the given order.

        Raises:
            ValueError: There is none, or they differ in subjects, blocks, overlap or mask size.
        """
        if not prompts:
            raise ValueError("There is no prompt to stack; give one for every sample.")
        if len({prompt.subjects for prompt in prompts}) > 1:
            raise ValueError(
                "The samples of one batch need equally many subjects; make them in separate calls."
            )
        return _concatenate([prompt.expand(prompt.batch) for prompt in prompts], axis=0)


def _concatenate(prompts: Sequence[ImagePrompt], axis: int) -> ImagePrompt:
    first = prompts[0]
    if len(prompts) == 1:
        return first
    if len({(p.overlap, p.query_rope, p.insertion, p.blocks) for p in prompts}) > 1:
        raise ValueError(
            "These prompts differ in blocks, overlap, or convention of query or insertion; make "
            "all of them with one adapter, and choose the overlap once."
        )
    if len({p.keys[0].shape[2:] for p in prompts if p.keys}) > 1:
        raise ValueError(
            "These prompts differ in tokens or heads; encode all references with one encoder."
        )
    if axis == 1:
        prompts = _match_batches(prompts)
    blocks = range(first.blocks)
    return dataclasses.replace(
        first,
        keys=tuple(_by_token([p.keys[i] for p in prompts], axis) for i in blocks),
        values=tuple(_by_token([p.values[i] for p in prompts], axis) for i in blocks),
        scale=torch.cat(_match_scales(prompts), dim=axis),
        mask=_join_masks([(p, p.mask) for p in prompts], axis, "image"),
        text_mask=_join_masks([(p, p.text_mask) for p in prompts], axis, "text"),
        window=_join_windows(prompts, axis),
    )


def _by_token(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Concatenates "b s h m d" so that it lies in memory token by token, as projections do."""
    return torch.cat([part.transpose(2, 3) for part in parts], dim=axis).transpose(2, 3)


def _match_batches(prompts: Sequence[ImagePrompt]) -> list[ImagePrompt]:
    batch = max(prompt.batch for prompt in prompts)
    if any(prompt.batch not in (1, batch) for prompt in prompts):
        raise ValueError(
            "These prompts are for batches of different sizes; every subject needs one reference "
            "for all samples, or one for each."
        )
    return [prompt.expand(batch) for prompt in prompts]


def _match_scales(prompts: Sequence[ImagePrompt]) -> list[Tensor]:
    blocks = max(prompt.scale.shape[-1] for prompt in prompts)
    return [prompt.scale.expand(prompt.batch, -1, blocks) for prompt in prompts]


def _join_windows(prompts: Sequence[ImagePrompt], axis: int) -> Tensor | None:
    if all(prompt.window is None for prompt in prompts):
        return None
    always = torch.tensor([[[0.0, 1.0]]], device="cpu")
    windows = [always if prompt.window is None else prompt.window for prompt in prompts]
    return torch.cat(
        [w.expand(p.batch, p.subjects, 2) for w, p in zip(windows, prompts, strict=True)], dim=axis
    )


def _join_masks(
    masks: Sequence[tuple[ImagePrompt, Tensor | None]], axis: int, rows: str
) -> Tensor | None:
    """Prompts' masks over image or text rows; without one, a prompt's subjects are everywhere."""
    sizes = {mask.shape[-1] for _, mask in masks if mask is not None}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise ValueError(
            f"Masks of different sizes ({', '.join(map(str, sorted(sizes)))} {rows} tokens) cannot "
            "be joined; make all of them for one picture and one prompt's length."
        )
    (size,) = sizes
    full = [(p, p.scale.new_ones(1, 1, 1) if mask is None else mask) for p, mask in masks]
    return torch.cat([mask.expand(p.batch, p.subjects, size) for p, mask in full], dim=axis)
