"""DynaIP in diffusers' `FluxTransformer2DModel`: its sites, our processors, on and off again.

The processors hold no weights. They go into the slots that diffusers has for them, and the
objects that were there come back on `detach`. Two facts of the installed diffusers shape the rest:
single blocks do not tell their processor where the text ends, and `joint_attention_kwargs` reach
a processor only under names in its signature. So a hook on the transformer adds the text length
to them. They are arguments of the blocks, so a block that gradient checkpointing runs again sees
what it saw before; and a pass without that argument is the base's own.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from dynaip.adapter.config import Branches
from dynaip.adapter.prompt import BlockPrompt, ImagePrompt
from dynaip.hosts import checks
from dynaip.hosts.passes import Passes
from dynaip.hosts.processor import (
    PINNED,
    TEXT_LENGTH,
    BlockNorms,
    FluxImagePromptProcessor,
    Watcher,
)
from dynaip.hosts.regions import Region, RegionalPrompts
from dynaip.hosts.sites import BlockBranches, find_sites


def attach(
    transformer: FluxTransformer2DModel,
    prompt: ImagePrompt | None = None,
    *,
    branches: Branches | BlockBranches = "image",
) -> Attachment:
    """Puts processors into every site of an unmodified transformer.

    Args:
        transformer: The base; neither its weights nor its `state_dict` change.
        prompt: What to attend to; `None` is the base, bit for bit.
        branches: Rows that attend: `"image"` (Equations 2 and 3, inference), `"both"` (4 and 5,
            training) or `"text"`; `BlockBranches` tells double and single blocks apart.

    Returns:
        The attachment, also a context manager that detaches.

    Raises:
        ValueError: Something else sits in the slots, or the prompt is for another base. The
            transformer is then as it was.
    """
    return Attachment(transformer, prompt, branches)


class Attachment:
    """Our processors in a transformer, and what they attend to.

    The unconditional pass of true classifier-free guidance sees no reference, unless
    `set_prompt` gives it one of its own. Rows that a pipeline appends to the picture's (Kontext's
    context, told by its ids) see none at all.

    Attributes:
        transformer: The base.
        sites: Where the processors sit.
        passes: Which pass runs, see `Passes`; it has to follow the scheduler for prompts with a
            window, and for true guidance in pipelines other than `FluxPipeline`.
    """

    def __init__(
        self,
        transformer: FluxTransformer2DModel,
        prompt: ImagePrompt | None,
        branches: Branches | BlockBranches,
    ) -> None:
        transformer = getattr(transformer, "_orig_mod", transformer)
        self.transformer = transformer
        self.sites = find_sites(transformer)
        self._modules: list[Any] = [transformer.get_submodule(site.name) for site in self.sites]
        self._originals = [module.processor for module in self._modules]
        checks.check_free(self._originals)
        checks.check_undivided(transformer)
        self._processors = [FluxImagePromptProcessor(site.index) for site in self.sites]
        self.passes = Passes()
        self._prompt: ImagePrompt | None = None
        self._negative: ImagePrompt | None = None
        self._regions: RegionalPrompts | None = None
        self._region: Region | None = None
        self._made_regions: dict[tuple[int, int], Region] = {}
        self._detached = False
        self._forget()
        self.branches = branches
        self.set_prompt(prompt)
        for module, ours, theirs in zip(
            self._modules, self._processors, self._originals, strict=True
        ):
            _copy_backend(theirs, ours)
            module.set_processor(ours)
        self._hook = transformer.register_forward_pre_hook(self._announce, with_kwargs=True)
        # The public way in which pipelines say which pass runs; the instance's attribute hides the
        # class's method until `detach` deletes it.
        self._cache_context = transformer.cache_context
        transformer.cache_context = self._watch_context

    @property
    def prompt(self) -> ImagePrompt | None:
        """What the processors attend to."""
        return self._prompt

    def set_prompt(self, prompt: ImagePrompt | None, negative: ImagePrompt | None = None) -> None:
        """Attends to another prompt from the next pass on; `None`, or no subjects: the base.

        Args:
            prompt: For the conditional pass, or the only one.
            negative: For the unconditional pass of true classifier-free guidance.

        Raises:
            ValueError: A prompt was projected for another base, or the adapter is detached.
        """
        prompt, negative = (
            given if given is not None and given.subjects else None for given in (prompt, negative)
        )
        for given in (prompt, negative):
            if given is not None:
                checks.check_attached(self._detached)
                checks.check_prompt(given, self.sites)
                checks.check_rows(given, self._branches)
        self._prompt, self._negative = prompt, negative
        self._forget()
        self._load(prompt, None, 0)

    def set_regions(self, regions: RegionalPrompts | None) -> None:
        """Gives places prompts of their own from the next pass on; `None` is the prompt alone.

        The unconditional pass has none. `passes` has to follow the scheduler.

        Raises:
            ValueError: The adapter is detached.
        """
        if regions is not None:
            checks.check_attached(self._detached)
        self._regions = regions
        self._made_regions = {}
        self._load_region(None)

    def _load_region(self, region: Region | None) -> None:
        if region is not self._region:
            for processor in self._processors:
                processor.region = region
            self._region = region

    def _forget(self) -> None:
        """Drops what was made for the passes of the prompts before."""
        self._loaded: tuple[Any, ...] | None = None
        self._made: dict[tuple[Any, ...], list[BlockPrompt | None]] = {}
        self._ids: Tensor | None = None
        self._picture = self._appended = 0

    def _load(self, prompt: ImagePrompt | None, active: Tensor | None, appended: int) -> None:
        """Gives every processor its part of a prompt as this pass has it.

        Between passes and in tensors of unchanged shape, so that nothing compiles again.
        """
        who = None if active is None else tuple(active.flatten().tolist())
        key = (id(prompt), who, self._picture if appended else None, appended)
        if key == self._loaded:
            return
        if key not in self._made:
            self._made[key] = self._blocks(prompt, active, appended)
        for processor, block in zip(self._processors, self._made[key], strict=True):
            processor.block = block
        self._loaded = key

    def _blocks(
        self, prompt: ImagePrompt | None, active: Tensor | None, appended: int
    ) -> list[BlockPrompt | None]:
        if prompt is None:
            return [None] * len(self.sites)
        if active is not None:
            prompt = prompt.only(active)
        if appended:
            prompt = prompt.beside(self._picture, appended)
        held = range(prompt.blocks)
        return [prompt.block(site.index) if site.index in held else None for site in self.sites]

    @property
    def branches(self) -> BlockBranches:
        """Rows that attend, by kind of block; may be set between passes."""
        return self._branches

    @branches.setter
    def branches(self, branches: Branches | BlockBranches) -> None:
        if not isinstance(branches, BlockBranches):
            branches = BlockBranches(double=branches, single=branches)
        for prompt in (self._prompt, self._negative):
            if prompt is not None:
                checks.check_rows(prompt, branches)
        self._branches = branches
        for site, processor in zip(self.sites, self._processors, strict=True):
            processor.rows = branches.rows(site)

    @contextlib.contextmanager
    def record(self) -> Iterator[dict[int, BlockNorms]]:
        """Collects every block's norms while the context lasts; off otherwise, at no cost.

        Yields:
            Norms by the block's index, those of the latest pass with a reference.
        """
        norms: dict[int, BlockNorms] = {}
        for processor in self._processors:
            processor.recorder = norms.__setitem__
        try:
            yield norms
        finally:
            for processor in self._processors:
                processor.recorder = None

    @contextlib.contextmanager
    def watch(self, watcher: Watcher) -> Iterator[None]:
        """Shows a function what every block's cross-attention is made of while the context lasts.

        Args:
            watcher: Called in every block that attends to a reference, also with the queries of
                rows that do not; see `Watcher`.
        """
        for processor in self._processors:
            processor.watcher = watcher
        try:
            yield
        finally:
            for processor in self._processors:
                processor.watcher = None

    def detach(self) -> None:
        """Puts the same processor objects back. A second call does nothing.

        Raises:
            ValueError: Someone else has replaced our processors since; nothing is changed then.
        """
        if self._detached:
            return
        current = [module.processor for module in self._modules]
        if any(ours is not now for ours, now in zip(self._processors, current, strict=True)):
            raise ValueError(
                "Other attention processors were put over this adapter's; take those off first, "
                "then detach."
            )
        for module, ours, theirs in zip(
            self._modules, self._processors, self._originals, strict=True
        ):
            _copy_backend(ours, theirs)
            module.set_processor(theirs)
        self._hook.remove()
        del self.transformer.cache_context
        self._detached = True

    def __enter__(self) -> Attachment:
        """Nothing more: attaching is done."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detaches."""
        self.detach()

    @contextlib.contextmanager
    def _watch_context(self, name: str, **details: Any) -> Iterator[None]:
        self.passes.name = name
        try:
            with self._cache_context(name, **details):
                yield
        finally:
            self.passes.name = None

    def _announce(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Adds the text length to the arguments of every block, unless the pass is the base's."""
        unconditional = self.passes.unconditional()
        prompt = self._negative if unconditional else self._prompt
        regions = None if unconditional else self._regions
        if regions is not None and self.passes.done() >= regions.steps:
            regions = None
        if regions is None:
            self._load_region(None)
            if prompt is None:
                return None
        checks.check_undivided(self.transformer)
        if args:
            kwargs = {**dict(zip(_FORWARD_ARGUMENTS, args, strict=False)), **kwargs}
        if regions is not None:
            kwargs = self._with_regions(regions, kwargs)
        if prompt is not None:
            kwargs = self._with_prompt(prompt, kwargs)
        return (), kwargs

    def _with_regions(self, regions: RegionalPrompts, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The regions' text beside the prompt's, and their places to the processors."""
        image, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
        picture = image.shape[1] - self._count_appended(image, kwargs.get("img_ids"))
        checks.check_grid(regions.masks, picture)
        rows = (text.shape[1], image.shape[1])
        if rows not in self._made_regions:
            self._made_regions[rows] = regions.region(*rows)
        self._load_region(self._made_regions[rows])
        together = regions.beside(text)
        ids = F.pad(kwargs["txt_ids"], (0, 0, 0, together.shape[1] - text.shape[1]))
        return {**kwargs, "encoder_hidden_states": together, "txt_ids": ids}

    def _with_prompt(self, prompt: ImagePrompt, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The prompt to the processors, and to the blocks what lets them use it."""
        image, text = kwargs["hidden_states"], kwargs["encoder_hidden_states"]
        appended = self._count_appended(image, kwargs.get("img_ids"))
        checks.check_pass(prompt, image.shape[0], image.shape[1] - appended, text.shape[1])
        self._load(prompt, self._active(prompt), appended)
        joint = {**(kwargs.get("joint_attention_kwargs") or {}), TEXT_LENGTH: text.shape[1]}
        if self.transformer.gradient_checkpointing and torch.is_grad_enabled():
            # A checkpointed block runs again in the backward pass, when the processors may hold
            # the next prompt already; its arguments are those of the first run.
            joint[PINNED] = tuple(processor.block for processor in self._processors)
        return {**kwargs, "joint_attention_kwargs": joint}

    def _active(self, prompt: ImagePrompt) -> Tensor | None:
        """Who is there in this pass; `None` is everybody."""
        if prompt.window is None:
            return None
        position = self.passes.position()
        checks.check_window(prompt.window, self.passes.steps())
        return prompt.active(position)

    def _count_appended(self, image: Tensor, ids: Tensor | None) -> int:
        """Rows after the picture's own, such as Kontext's context, whose first id is another.

        A pipeline passes the same ids at every step; they are read, which waits for the device, at
        the first.
        """
        if ids is not None and ids is not self._ids:
            kinds = ids.reshape(-1, image.shape[1], 3)[0, :, 0]
            self._ids, self._picture = ids, int((kinds == kinds[0]).sum())
            self._appended = image.shape[1] - self._picture
        return self._appended if ids is not None else 0


_FORWARD_ARGUMENTS = tuple(inspect.signature(FluxTransformer2DModel.forward).parameters)[1:]


def _copy_backend(source: Any, target: Any) -> None:
    """Keeps an attention backend that was chosen before, or meanwhile."""
    target._attention_backend = source._attention_backend
    target._parallel_config = source._parallel_config
