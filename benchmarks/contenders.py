"""Everything that is timed: one denoising step, with something attached or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from benchmarks import stock
from benchmarks.bases import Size
from dynaip.adapter.model import DynaIPAdapter
from dynaip.adapter.prompt import ImagePrompt
from dynaip.hosts.flux import attach

BASE = "base"
COMPILED = "compiled "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to make a step.

    Attributes:
        name: What the table calls it; a compiled one is compared with the compiled base.
        attached: Makes the context in which `step` runs, outside of the measured time.
        step: What is measured.
    """

    name: str
    attached: Callable[[], contextlib.AbstractContextManager[Any]]
    step: Callable[[], Any]

    @property
    def compiled(self) -> bool:
        """Whether it runs compiled blocks."""
        return self.name.startswith(COMPILED)

    @property
    def base(self) -> str:
        """What it is compared with."""
        return COMPILED + BASE if self.compiled else BASE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """A base, an adapter and a reference, from which contenders are made."""

    size: Size
    transformer: FluxTransformer2DModel
    adapter: DynaIPAdapter
    inputs: dict[str, Any]
    tokens: Tensor

    def step(self, **changes: Any) -> Tensor:
        """One pass."""
        with torch.inference_mode():
            return self.transformer(**self.inputs, **changes, return_dict=False)[0]

    @torch.no_grad()
    def prompt(self, subjects: int, share: float) -> ImagePrompt:
        """Subjects side by side on a share of the picture; one on all of it has no mask."""
        one = self.adapter.project(self.tokens)
        prompt = ImagePrompt.join([one] * subjects)
        if subjects == 1 and share == 1:
            return prompt
        columns = torch.arange(self.size.columns, device=self.tokens.device)
        place = (columns + 0.5) / self.size.columns / share * subjects
        stripes = torch.stack([place.floor() == subject for subject in range(subjects)])
        mask = stripes[:, None].expand(-1, self.size.rows, -1).flatten(1)
        return prompt.with_mask(mask.to(prompt.scale))


def name_subjects(subjects: int, share: float) -> str:
    """The table's name for a number of subjects on a share of the picture."""
    return f"N={subjects}, {'full' if share == 1 else 'half'} cover"


def eager(bench: Bench, numbers: Sequence[int]) -> list[Contender]:
    """The base, ours, and diffusers' own."""
    base = Contender(name=BASE, attached=contextlib.nullcontext, step=bench.step)
    return [
        base,
        *(ours(bench, n, share) for n in numbers for share in (1.0, 0.5)),
        uncached(bench),
        stock_adapter(bench),
        *(equal_work(bench, n) for n in numbers),
    ]


def compiled(bench: Bench, numbers: Sequence[int]) -> list[Contender]:
    """The same base with compiled blocks, and ours on it."""
    base = Contender(name=COMPILED + BASE, attached=contextlib.nullcontext, step=bench.step)
    return [base, *(ours(bench, n, share, COMPILED) for n in numbers for share in (1.0, 0.5))]


def ours(bench: Bench, subjects: int, share: float, prefix: str = "") -> Contender:
    """K and V projected once, before the step."""
    prompt = bench.prompt(subjects, share)
    return Contender(
        name=prefix + name_subjects(subjects, share),
        attached=lambda: attach(bench.transformer, prompt),
        step=bench.step,
    )


def uncached(bench: Bench) -> Contender:
    """One subject, projected anew in every step."""
    attachments = []

    @contextlib.contextmanager
    def attached() -> Any:
        with attach(bench.transformer) as attachment:
            attachments[:] = [attachment]
            yield

    def step() -> Tensor:
        with torch.inference_mode():
            attachments[0].set_prompt(bench.adapter.project(bench.tokens))
        return bench.step()

    return Contender(name="N=1, full cover, uncached", attached=attached, step=step)


def stock_adapter(bench: Bench) -> Contender:
    """What `load_ip_adapter` puts there: double blocks, four tokens."""
    few = bench.tokens[:, : stock.STOCK_TOKENS]
    return _diffusers(bench, "diffusers' IP-Adapter", [few], widened=False)


def equal_work(bench: Bench, subjects: int) -> Contender:
    """The processor of diffusers in all blocks with whole references."""
    name = f"diffusers' processor, equal work, N={subjects}"
    return _diffusers(bench, name, [bench.tokens] * subjects, widened=True)


def _diffusers(bench: Bench, name: str, tokens: list[Tensor], *, widened: bool) -> Contender:
    processors = stock.build_processors(
        bench.transformer,
        bench.size.text_dim,
        bench.size.text,
        references=len(tokens),
        widened=widened,
    )
    return Contender(
        name=name,
        attached=lambda: stock.attached(bench.transformer, processors),
        step=lambda: bench.step(joint_attention_kwargs={"ip_hidden_states": tokens}),
    )
