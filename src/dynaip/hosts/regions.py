"""Regional prompting in FLUX: each place of the picture has a prompt of its own.

The method of InstantX's Regional-Prompting-FLUX, whose arguments are kept: the regions' text rows
stand beside the prompt's; image rows attend once to the prompt as always, and once under a mask to
their own region's text and picture; the two results are mixed by `base_ratio`, in all blocks of the
first `mask_inject_steps` steps. This mask is over text, not over references.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Region(NamedTuple):
    """What a block needs of the regions.

    Attributes:
        text: Text rows of the prompt itself.
        regional: Text rows of all regions, which come after them.
        allowed: Which of the regional and image rows attend to which, "n n".
        base_ratio: Share of the attention to the prompt itself, a number as a tensor.
    """

    text: int
    regional: int
    allowed: Tensor
    base_ratio: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RegionalPrompts:
    """Prompts with their places.

    Attributes:
        text: T5's tokens of every region's prompt, "r n d".
        masks: Each region's image rows, "r n_img".
        base_ratio: 1 is the prompt alone, 0 the regions alone.
        steps: Denoising steps that the regions take part in.
    """

    text: Float[Tensor, "r n d"]
    masks: Bool[Tensor, "r n_img"]
    base_ratio: float
    steps: int

    def beside(self, text: Tensor) -> Float[Tensor, "b n_all d"]:
        """The prompt's text rows, then those of all regions."""
        regions = self.text.to(text).flatten(0, 1)
        return torch.cat([text, regions.expand(text.shape[0], -1, -1)], dim=1)

    def region(self, text: int, image: int) -> Region:
        """For a pass with this many text rows of the prompt, and image rows.

        Image rows after the picture's, such as Kontext's context, see all and are seen by all.
        """
        regions, tokens = self.text.shape[:2]
        masks = F.pad(self.masks.float(), (0, image - self.masks.shape[1]))
        of_text = torch.eye(regions, device=masks.device).repeat_interleave(tokens, dim=1)
        rows = torch.cat([of_text, masks], dim=1)
        # What no region claims is one more place, without a text of its own.
        nowhere = rows.sum(0) == 0
        place = torch.arange(rows.shape[1], device=masks.device)
        context = place >= regions * tokens + self.masks.shape[1]
        allowed = (rows.T @ rows > 0) | nowhere[:, None] & nowhere | context[:, None] | context
        ratio = torch.tensor(self.base_ratio, device=masks.device)
        return Region(text, regions * tokens, allowed, ratio)


def attend_by_region(
    attend: Attention,
    query: Float[Tensor, "b n h d"],
    key: Float[Tensor, "b n h d"],
    value: Float[Tensor, "b n h d"],
    region: Region,
) -> Float[Tensor, "b n h d"]:
    """The block's own attention, once for the prompt and once by region, mixed on image rows.

    Args:
        attend: Attention of queries, keys and values under a mask or none.
        query: Of the prompt's text rows, the regions' text rows, the image rows.
        key: Of the same rows.
        value: Of the same rows.
        region: See `Region`.
    """
    text, after = region.text, region.text + region.regional
    prompt = [torch.cat([rows[:, :text], rows[:, after:]], dim=1) for rows in (query, key, value)]
    plain = attend(prompt[0], prompt[1], prompt[2], None)
    masked = attend(query[:, text:], key[:, text:], value[:, text:], region.allowed[None, None])
    own = masked[:, region.regional :]
    image = torch.lerp(own, plain[:, text:], region.base_ratio.to(own.dtype))
    return torch.cat([plain[:, :text], masked[:, : region.regional], image], dim=1)
