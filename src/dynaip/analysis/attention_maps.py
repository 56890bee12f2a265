"""Attention maps of both branches (Figure 15): what looks at the reference, and at what in it.

Made of the queries and keys of the very passes that make a picture, on every FLUX base alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dynaip.adapter.config import Branches, DynaIPConfig
from dynaip.adapter.prompt import BlockPrompt, ImagePrompt
from dynaip.hosts.flow import add_noise, encode_pictures, shift_sigma, time_shift
from dynaip.hosts.flux import Attachment
from dynaip.hosts.vision import stack_pictures
from dynaip.pipeline.flux import PersonalPipeline
from dynaip.pipeline.subject import Grid, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Means over heads, blocks and passes.

    Attributes:
        reference: For the rows of each branch, `"text"` and `"image"`, the share of their attention
            that each patch of the reference gets; several views of a subject lie side by side on
            the axis v. What the class token gets is left out, so a map sums to less than 1.
        picture: How loud each subject is in each place of the picture: root mean square of its
            cross-attention, mask and scale included.
        words: The same for each text row, as far as text rows attend or would.
    """

    reference: Mapping[Branches, Float[np.ndarray, "b s v y x"]]
    picture: Float[np.ndarray, "b s rows columns"]
    words: Float[np.ndarray, "b s n_text"]


class AttentionRecord:
    """Sums up attention while pictures are made; see `record_attention`.

    Args:
        side: Patches along a side of a reference: the image encoder's `image_size // patch_size`,
            336 // 14 = 24 for FLUX's.
        blocks: Blocks to look at, double then single; `None` is all.
        class_token: Whether a class token stands before each view's patches.
    """

    def __init__(
        self, side: int, *, blocks: Collection[int] | None = None, class_token: bool = True
    ) -> None:
        self.side, self.blocks, self.class_token = side, blocks, class_token
        self._sums: dict[str, Tensor] = {}
        self._seen = 0

    @torch.no_grad()
    def __call__(self, index: int, query: Tensor, block: BlockPrompt, text: int) -> None:
        """Adds what one block does in one pass."""
        if self.blocks is not None and index not in self.blocks:
            return
        image = query.shape[1] - text
        parts = [
            _look(query, block.key[:, subject], block.value[:, subject], text)
            for subject in range(block.key.shape[1])
        ]
        seen = {name: torch.stack([part[name] for part in parts], dim=1) for name in parts[0]}
        weight = block.image_weight.float().expand(-1, -1, image)
        seen["picture"] = seen["picture"] * weight
        seen["words"] = seen["words"] * block.text_weight.float()
        for name, value in seen.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._seen += 1

    def maps(self, grid: Grid | None = None) -> AttentionMaps:
        """The means so far.

        Args:
            grid: Rows and columns of image tokens; not needed for square pictures.

        Raises:
            ValueError: Nothing was recorded, or the picture or its references have another number
                of tokens.
        """
        if not self._seen:
            raise ValueError(
                "No block attended to a reference; make a picture with a subject, in the blocks "
                "that you ask for, while attention is recorded."
            )
        means = {name: (total / self._seen).cpu().numpy() for name, total in self._sums.items()}
        rows, columns = grid or (math.isqrt(means["picture"].shape[-1]),) * 2
        if rows * columns != means["picture"].shape[-1]:
            raise ValueError(
                f"The picture has {means['picture'].shape[-1]} tokens, which are not {rows} x "
                f"{columns}; give its rows and columns as `grid`."
            )
        picture = rearrange(means["picture"], "b s (y x) -> b s y x", y=rows)
        return AttentionMaps(
            reference={
                "text": self._patches(means["text"]),
                "image": self._patches(means["image"]),
            },
            picture=picture,
            words=means["words"],
        )

    def _patches(self, shares: Float[np.ndarray, "b s m"]) -> Float[np.ndarray, "b s v y x"]:
        """Tokens of a reference on the grids of its views."""
        front, count = int(self.class_token), shares.shape[-1]
        view = front + self.side**2
        if count % view:
            raise ValueError(
                f"The references have {count} tokens, which are not views of {view}; give the "
                "patches along a side of the image encoder's picture as `side`."
            )
        patches = rearrange(shares, "b s (v m) -> b s v m", m=view)[..., front:]
        return rearrange(patches, "b s v (y x) -> b s v y x", y=self.side)


@contextlib.contextmanager
def record_attention(
    attachment: Attachment,
    *,
    side: int,
    blocks: Collection[int] | None = None,
    class_token: bool = True,
) -> Iterator[AttentionRecord]:
    """Records attention maps of all pictures made while the context lasts; off otherwise.

        with record_attention(personal.attachment, side=24) as record:
            personal(prompt, subjects=[subject])
        maps = record.maps()

    Args:
        attachment: Of the transformer that makes them.
        side: See `AttentionRecord`; 24 with FLUX's encoder, CLIP ViT-L/14 at 336 pixels.
        blocks: See `AttentionRecord`.
        class_token: See `AttentionRecord`; it is `adapter.config.class_token`.
    """
    record = AttentionRecord(side, blocks=blocks, class_token=class_token)
    with attachment.watch(record):
        yield record


def picture_attention(
    personal: PersonalPipeline,
    picture: Image.Image,
    prompt: str,
    subjects: Sequence[Subject],
    *,
    noise: float = 0.5,
    branches: Branches | None = None,
    seed: int = 0,
) -> AttentionMaps:
    """Attention maps of a finished picture: one pass over it, with noise, as if it were being made.

    Args:
        personal: A text-to-image pipeline with an adapter.
        picture: The picture; its sides are rounded down to whole tokens.
        prompt: What it was made with.
        subjects: Whom it shows.
        noise: Share of noise, between 0 and 1, before the sampler's time shift.
        branches: Rows that attend in this pass, see `PersonalPipeline.__call__`; the maps show both
            branches' queries either way.
        seed: Of the noise.

    Raises:
        ValueError: There is no subject, `noise` is out of range, a phrase is not in the prompt, or
            the adapter's tokens are no patches (InstantX's, XLabs').
    """
    if not subjects:
        raise ValueError("Attention maps need a subject; give the picture's subjects.")
    if not 0 < noise < 1:
        raise ValueError(f"noise lies between 0 and 1; got {noise}.")
    pipe = personal.pipe
    token = 2 * pipe.vae_scale_factor
    columns, rows = (side // token for side in picture.size)
    size = (columns * token, rows * token)
    pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    device = pipe._execution_device
    clean = encode_pictures(pipe.vae, stack_pictures([pixels]).to(device))
    random = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    sigma = shift_sigma(torch.tensor([noise]), time_shift(pipe.scheduler, clean.shape[1]))
    latents = add_noise(clean, random, sigma.to(device)).to(pipe.transformer.dtype)
    config = personal.adapter.config
    if not isinstance(config, DynaIPConfig):
        raise ValueError(
            f"The tokens of {config.name} are no patches of a picture; maps need a DynaIP adapter."
        )
    class_token = config.class_token
    shown = personal.encode(subjects, (rows, columns), prompt=prompt)
    side = _side(shown.prompt, subjects, class_token)
    with record_attention(personal.attachment, side=side, class_token=class_token) as record:
        personal(
            prompt,
            subjects=shown,
            branches=branches,
            latents=latents,
            sigmas=[noise],
            num_inference_steps=1,
            width=size[0],
            height=size[1],
            output_type="latent",
        )
    return record.maps((rows, columns))


def _look(query: Tensor, key: Tensor, value: Tensor, text: int) -> dict[str, Tensor]:
    """One subject in one block: what both branches look at, and how much comes of it."""
    logits = torch.einsum(
        "bnhd,chmd->bhnm", query.float(), key.float().expand(len(query), -1, -1, -1)
    )
    shares = (logits / math.sqrt(query.shape[-1])).softmax(-1)
    value = value.float().expand(len(query), -1, -1, -1)
    loudness = torch.einsum("bhnm,bhmd->bnhd", shares, value).square().mean((2, 3)).sqrt()
    over_heads = shares.mean(1)
    return {
        "text": over_heads[:, :text].mean(1),
        "image": over_heads[:, text:].mean(1),
        "words": loudness[:, :text],
        "picture": loudness[:, text:],
    }


def _side(prompt: ImagePrompt, subjects: Sequence[Subject], class_token: bool) -> int:
    """Patches along a side of a view; `side_by_side` repeats views where subjects differ."""
    views = math.lcm(*(len(subject.views) for subject in subjects))
    return math.isqrt(prompt.keys[0].shape[3] // views - class_token)
