"""`dynaip demo`: what DynaIP does, on one contact sheet, with the miniature.

The subjects are the first that the seed gives out of Toyland's test split; none is chosen.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from dynaip.apps.cli.drawing import progress_bar
from dynaip.apps.cli.loading import Guidance, adapter_location, load_adapter, load_model
from dynaip.apps.cli.sheet import Row, contact_sheet

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from dynaip.pipeline.flux import PersonalPipeline

# What a prompt names: nothing of the subject's looks but what it is.
NAMED = ("category", "scene", "posture")
REFERENCE_PIXELS = 128


class Case(NamedTuple):
    """A reference and what is asked of it."""

    reference: Image.Image
    prompt: str
    seed: int
    spec: dict[str, Any]


class Column(NamedTuple):
    """One way of making the picture."""

    name: str
    scale: float
    branches: str
    granularity: tuple[float, float, float] | None = None
    image_guidance: float = 1.0


COLUMNS = (
    Column("no reference", 0.0, "image"),
    Column("DDS on\n(image rows)", 1.0, "image"),
    Column("DDS on, image\nguidance 3", 1.0, "image", image_guidance=3.0),
    Column("DDS off\n(both)", 1.0, "both"),
    Column("low level\nonly", 1.0, "image", (1.0, 0.0, 0.0)),
    Column("mid level\nonly", 1.0, "image", (0.0, 1.0, 0.0)),
    Column("high level\nonly", 1.0, "image", (0.0, 0.0, 1.0)),
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    subjects: Annotated[int, typer.Option(min=1, max=32, help="Rows of the sheet.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Gives the subjects, prompts and noise.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Guidance = None,
    model: Annotated[
        str | None, typer.Option(help="A bundle trained on Toyland; else the miniature.")
    ] = None,
) -> None:
    """Draw a contact sheet: held-out subjects in prompted scenes, with and without DDS and such."""
    from dynaip.pipeline.arguments import default_guidance

    _check_ours(out, subjects)
    out.mkdir(parents=True, exist_ok=True)
    adapter = load_adapter(adapter_location(None, model))
    pipe = load_model(model)
    cases = draw_cases(subjects, seed)
    guidance = default_guidance(pipe, guidance)
    settings = {"steps": steps, "guidance": guidance}
    # The references first: they are there to play with, also where the sheet is not waited for.
    _write_references(out, cases, settings)
    with adapter.to(pipe.device, pipe.dtype).attach(pipe) as personal:
        columns, coefficients = _draw(personal, cases, steps, guidance)
    titles = ("reference", *(column.name for column in COLUMNS))
    rows = [
        Row(case.prompt, [case.reference, *pictures])
        for case, pictures in zip(cases, zip(*columns, strict=True), strict=True)
    ]
    sheet = contact_sheet(titles, rows)
    path = _write_sheet(out, sheet, cases, coefficients, settings)
    _report(path, cases, coefficients)


def draw_cases(count: int, seed: int) -> list[Case]:
    """The first `count` subjects of the test split under this seed, each with a prompt.

    The reference shows the subject in one posture, light and size; the prompt asks for others.
    """
    import numpy as np
    from PIL import Image

    from dynaip.miniature import toyland

    cases = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        spec = toyland.sample_spec(rng, subjects=1, split="test")
        prompt = toyland.caption(toyland.vary(spec, rng), rng, NAMED)
        reference = Image.fromarray(toyland.segment(spec, 0, REFERENCE_PIXELS))
        cases.append(Case(reference, prompt, seed * 1000 + index, spec.to_dict()))
    return cases


def _draw(
    personal: PersonalPipeline, cases: Sequence[Case], steps: int, guidance: float
) -> tuple[list[list[Image.Image]], Tensor]:
    """A list of pictures for each column, from the same noise; and the router's coefficients."""
    import torch

    from dynaip.pipeline.subject import Subject

    columns, coefficients = [], torch.zeros(0)
    with progress_bar() as progress:
        task = progress.add_task("Drawing", total=len(COLUMNS) * steps)

        def advance(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            progress.advance(task)
            return tensors

        for column in COLUMNS:
            images, chosen = personal(
                [case.prompt for case in cases],
                subjects=[
                    [Subject(case.reference, scale=column.scale, granularity=column.granularity)]
                    for case in cases
                ],
                branches=column.branches,  # pyright: ignore[reportArgumentType]
                num_inference_steps=steps,
                guidance_scale=guidance,
                image_guidance_scale=column.image_guidance,
                generator=[torch.Generator().manual_seed(case.seed) for case in cases],
                callback_on_step_end=advance,
                return_dict=False,
            )
            columns.append(images)
            if column.granularity is None:
                coefficients = chosen[:, 0]
    return columns, coefficients


def _write_references(out: Path, cases: Sequence[Case], settings: dict[str, Any]) -> None:
    """Writes the references as files to play with, and that they are ours."""
    from dynaip.pipeline.provenance import write_png

    facts, _, *references = _files(out, len(cases))
    _write_facts(facts, cases, [None] * len(cases), settings)
    for case, reference in zip(cases, references, strict=True):
        write_png(case.reference, reference)


def _write_sheet(
    out: Path,
    sheet: Image.Image,
    cases: Sequence[Case],
    coefficients: Tensor,
    settings: dict[str, Any],
) -> Path:
    """Writes the sheet, and what is on it."""
    from dynaip.pipeline.provenance import write_png

    facts, path, *_ = _files(out, len(cases))
    _write_facts(facts, cases, coefficients.tolist(), settings)
    write_png(sheet, path, generated=True)
    return path


def _write_facts(
    path: Path,
    cases: Sequence[Case],
    coefficients: Sequence[Sequence[float] | None],
    settings: dict[str, Any],
) -> None:
    """Writes what the sheet shows; without coefficients before it is drawn."""
    from dynaip.pipeline.provenance import installed_versions, write_whole

    rows = [
        {"prompt": case.prompt, "seed": case.seed, "router": weights, "spec": case.spec}
        for case, weights in zip(cases, coefficients, strict=True)
    ]
    told = {**settings, "versions": installed_versions()}
    # Those of a longer sheet are still there.
    told["references"] = max(len(cases), _count_before(path.parent) or 0)
    write_whole(path, json.dumps({**told, "rows": rows}, indent=2).encode() + b"\n")


def _files(out: Path, rows: int) -> list[Path]:
    """What a sheet of so many rows is written to: its facts, itself, and its references."""
    references = [out / "references" / f"{index}.png" for index in range(1, rows + 1)]
    return [out / "demo.json", out / "demo.png", *references]


def _check_ours(out: Path, rows: int) -> None:
    """Raises where something would be written over that is not of an earlier sheet."""
    before = _count_before(out)
    ours = [] if before is None else _files(out, before)
    for path in _files(out, rows):
        if path.exists() and path not in ours:
            raise ValueError(
                f"{path} is there already, and dynaip did not make it; give another folder as "
                "--out."
            )


def _count_before(out: Path) -> int | None:
    """How many references earlier sheets wrote there; nothing where there is no such sheet."""
    try:
        facts = json.loads((out / "demo.json").read_text())
        made = "dynaip" in facts["versions"]
        return int(facts.get("references", len(facts["rows"]))) if made else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _report(path: Path, cases: Sequence[Case], coefficients: Tensor) -> None:
    console = Console()
    table = Table("", "prompt", "low", "mid", "high", box=None)
    for index, (case, weights) in enumerate(zip(cases, coefficients.tolist(), strict=True), 1):
        table.add_row(str(index), case.prompt, *(f"{weight:.2f}" for weight in weights))
    console.print(
        f"Made {path}: {len(cases)} Toyland subjects that were held out of training, each"
    )
    console.print("from one reference picture in a prompted scene, without the reference, with it")
    console.print(
        "(Dynamic Decoupling on, with image guidance, and off), and at three granularities. The "
        "router's weights:"
    )
    console.print(table)
    reference = path.parent / "references" / "1.png"
    # `make demo` leaves the environment that it made inactive.
    command = "dynaip" if shutil.which("dynaip") else sys.argv[0]
    console.print("Try your own prompt:", highlight=False)
    console.print(
        f'  {command} generate --reference {reference} --prompt "{cases[0].prompt}"',
        highlight=False,
        soft_wrap=True,
    )
