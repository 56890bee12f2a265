"""From a job to pictures with their settings, one at a time, with a progress bar."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dynaip.apps.cli.loading import load_adapter, load_model, miniature_folder, progress_console

if TYPE_CHECKING:
    from diffusers import FluxPipeline
    from PIL import Image
    from torch import Tensor

    from dynaip.adapter.attention import Overlap
    from dynaip.adapter.config import Branches
    from dynaip.adapter.model import ImagePromptAdapter
    from dynaip.pipeline.provenance import RecordedBranches, Settings
    from dynaip.pipeline.subject import Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What one call of `dynaip generate` makes.

    Attributes:
        prompt, steps, overlap: As the options.
        guidance: As the option; nothing for the model's own.
        image_guidance: As the option; 1 where there are no references.
        branches: As the option; nothing for the rows that the adapter was made for.
        references: The files that each of `subjects` was read from.
        masks: As they were given, none or one for each or one for all; empty is everywhere.
        subjects: As many.
        seeds: One for each picture.
        size: Height and width, those that were given.
        model: A folder or hub id; nothing for the miniature.
        adapter: A folder, a hub id or a file; nothing where there are no references.
        offload: Whether the model's parts wait on the CPU.
    """

    prompt: str
    references: Sequence[Sequence[Path]]
    subjects: Sequence[Subject]
    branches: Branches | None
    masks: Sequence[str]
    overlap: Overlap
    seeds: Sequence[int]
    steps: int
    guidance: float | None
    image_guidance: float
    size: dict[str, int]
    model: str | None
    adapter: str | None
    offload: bool = False


# Between two lines of progress in a log.
SECONDS_A_LINE = 60.0

Draw = Callable[..., tuple["Image.Image", "Tensor | None"]]


def draw_pictures(job: Job) -> Generator[tuple[Image.Image, Settings], None, None]:
    """Makes the pictures one by one, so that a finished one survives whatever comes next.

    Raises:
        ValueError: The model or the adapter cannot be loaded, or do not fit each other.
    """
    import torch

    from dynaip.pipeline.arguments import default_guidance
    from dynaip.pipeline.flux import recorded_branches
    from dynaip.pipeline.phrases import have_phrases

    with contextlib.ExitStack() as stack:
        adapter = load_adapter(job.adapter) if job.adapter else None
        pipe = load_model(job.model, job.offload)
        job = dataclasses.replace(job, guidance=default_guidance(pipe, job.guidance))
        draw = _open(job, pipe, adapter, stack)
        phrased = have_phrases([job.subjects])
        describe = _describer(job, recorded_branches(adapter, phrased, job.branches))
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("Drawing", total=len(job.seeds) * job.steps)

        def advance(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            progress.advance(task)
            return tensors

        for seed in job.seeds:
            picture, coefficients = draw(
                job.prompt,
                num_inference_steps=job.steps,
                guidance_scale=job.guidance,
                generator=torch.Generator().manual_seed(seed),
                callback_on_step_end=advance,
                **job.size,
            )
            yield picture, describe(picture, seed, coefficients)


def _open(
    job: Job,
    pipe: FluxPipeline,
    adapter: ImagePromptAdapter | None,
    stack: contextlib.ExitStack,
) -> Draw:
    """Attaches the adapter; what it returns makes one picture."""
    _check_size(pipe, job.size)
    if adapter is None:
        return _plain(pipe)
    adapter = adapter.to(pipe.device, pipe.dtype)
    personal = stack.enter_context(adapter.attach(pipe, offload=job.offload))

    def draw(prompt: str, **arguments: Any) -> tuple[Image.Image, Tensor | None]:
        images, coefficients = personal(
            prompt,
            subjects=job.subjects,
            branches=job.branches,
            overlap=job.overlap,
            image_guidance_scale=job.image_guidance,
            return_dict=False,
            **arguments,
        )
        return images[0], coefficients

    return draw


def _check_size(pipe: FluxPipeline, size: Mapping[str, int]) -> None:
    token = 2 * pipe.vae_scale_factor
    for name, pixels in size.items():
        if pixels % token:
            lower = pixels // token * token
            near = f"{lower} or {lower + token}" if lower else f"{token}"
            raise ValueError(
                f"--{name} {pixels} is no multiple of the {token} pixels of a token of this model; "
                f"give {near}."
            )


def _plain(pipe: FluxPipeline) -> Draw:
    from dynaip.pipeline.arguments import default_arguments

    def draw(prompt: str, **arguments: Any) -> tuple[Image.Image, Tensor | None]:
        arguments = {**default_arguments(pipe), **arguments}
        return cast(Any, pipe)(prompt, **arguments).images[0], None

    return draw


def _describer(
    job: Job, branches: RecordedBranches
) -> Callable[[Image.Image, int, Tensor | None], Settings]:
    """Settings for each picture; what all of them share is found out once."""
    from dynaip.pipeline.provenance import Origin, record_subjects

    origin = Origin.read(job.model or miniature_folder(), job.adapter)
    masks = [*job.masks] or [""]
    masks *= len(job.references) // len(masks)
    record = record_subjects(job.references, job.subjects, masks)

    def describe(picture: Image.Image, seed: int, coefficients: Tensor | None) -> Settings:
        return origin.describe(
            picture,
            () if coefficients is None else record(coefficients[0].tolist()),
            prompt=job.prompt,
            seed=seed,
            steps=job.steps,
            guidance=job.guidance,
            image_guidance=job.image_guidance,
            branches=branches,
            overlap=job.overlap,
        )

    return describe


class _Progress(Progress):
    """A bar; where there is no terminal to draw it on, a line now and then."""

    said = 0.0
    silent = False

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See `Progress`."""
        super().advance(task_id, advance)
        self._say(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """See `Progress`."""
        super().update(task_id, **changes)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if self.disable and not self.silent and time.monotonic() - self.said >= SECONDS_A_LINE:
            self.said = time.monotonic()
            task = self._tasks[task_id]
            typer.echo(f"{task.description}: {task.completed:g} of {task.total:g}", err=True)


def progress_bar(shown: bool = True) -> Progress:
    """A bar on stderr that goes when it is done; in a log a line a minute. Or, not shown, neither.

    Work of less than a minute leaves no line.
    """
    progress = _Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=progress_console,
        transient=True,
        disable=not (shown and progress_console.is_terminal),
    )
    progress.said, progress.silent = time.monotonic(), not shown
    return progress
