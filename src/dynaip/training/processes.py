"""What processes that train together agree on: bad samples, losses, and when to stop."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


def on_any(accelerator: Accelerator, flag: bool) -> bool:
    """Whether it is so on any process; all of them must ask, and get the same answer."""
    if accelerator.num_processes == 1:
        return flag
    flags = accelerator.reduce(torch.tensor(float(flag), device=accelerator.device))
    return bool(flags)


def first_said(words: str | None) -> str:
    """What the first process has to say that has anything to; all of them must ask."""
    return next(said for said in gather_object([words]) if said is not None)
