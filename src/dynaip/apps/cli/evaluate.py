"""`dynaip evaluate`: train the probe, measure the miniature."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import FluxPipeline
    from rich.console import Console
    from rich.progress import Progress

    from dynaip.evaluation.figures import Figure
    from dynaip.evaluation.suite import Systems

app = typer.Typer(no_args_is_help=True, help="Measure pictures against what they should show.")

Model = Annotated[Path, typer.Option(help="Folder of the miniature's pipeline.")]
BUNDLE = Path("models/miniature")


@app.command("train-probe")
def train_probe(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = BUNDLE / "probe",
    autoencoder: Annotated[
        Path | None, typer.Option(help="Folder of the autoencoder whose traces it should know.")
    ] = None,
    renders: Annotated[int, typer.Option(help="Pictures to render and learn from.")] = 80_000,
    size: Annotated[int, typer.Option(help="Picture side in pixels.")] = 64,
    seed: Annotated[int, typer.Option(help="Another seed gives another probe.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that render.")] = 1,
) -> None:
    """Train the network that reads every factor of a picture, on Toyland's renders."""
    from rich.console import Console

    from dynaip.evaluation.factors import probed_values
    from dynaip.evaluation.probe import ProbeConfig
    from dynaip.evaluation.probe_training import ProbeTraining
    from dynaip.evaluation.probe_training import train_probe as train
    from dynaip.miniature.autoencoder import PatchAutoencoder

    training = ProbeTraining(renders=renders, seed=seed, workers=workers)
    vae = None if autoencoder is None else PatchAutoencoder.from_pretrained(autoencoder)
    with _progress() as progress:
        bar = progress.add_task("training the probe", total=training.steps)
        probe = train(
            ProbeConfig(values=probed_values(), size=size),
            training,
            vae,
            on_step=lambda step, loss: progress.update(
                bar, completed=step, description=f"training the probe, loss {loss:.3f}"
            ),
        )
    probe.save_pretrained(out)
    Console().print(f"The probe is in {out}.")


@app.command()
def miniature(
    model: Model = BUNDLE,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of the adapter; by default the model's own.")
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="Folder of the probe; by default the model's own.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Pictures of each kind.")] = 512,
    steps: Annotated[int, typer.Option(min=1, help="Sampling steps.")] = 20,
    guidance: Annotated[float, typer.Option(help="Guidance scale.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of subjects, prompts and noise.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a call.")] = 32,
    out: Annotated[Path, typer.Option(help="Folder of pictures and report.")] = Path(
        "out/evaluation"
    ),
) -> None:
    """Measure the miniature on held-out subjects; stopped, the same command goes on."""
    from rich.console import Console

    import dynaip
    from dynaip.evaluation.generation import hash_weights
    from dynaip.evaluation.probe import Probe
    from dynaip.evaluation.report import write_report
    from dynaip.evaluation.suite import Suite
    from dynaip.pipeline.flux import load

    reader = Probe.from_pretrained(probe or model / "probe")
    adapter = adapter or _own_adapter(model)
    pipe = load(model)
    with _progress() as progress:
        bars = {}

        def advance(stage: str, total: int, done: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.advance(bars[stage], done)

        suite = Suite(
            probe=reader,
            autoencoder=pipe.vae,
            folder=out,
            count=count,
            batch_size=batch,
            seed=seed,
            progress=advance,
        )
        systems = _systems(pipe, model, adapter, steps, guidance)
        figures = suite.run(systems)
        bar = progress.add_task("seconds and memory", total=1)
        figures += _cost_figures(systems, model, adapter, steps, guidance, out)
        progress.advance(bar)
    provenance = {
        "dynaip": dynaip.__version__,
        "base": hash_weights(model / "transformer"),
        "adapter": hash_weights(adapter) if adapter else None,
        "probe": hash_weights(probe or model / "probe"),
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "subjects": count,
    }
    write_report(figures, provenance, out)
    console = Console()
    _print_tables(console, figures)
    console.print(f"The rows are in {out / 'figures.jsonl'}, the page in {out / 'figures.md'}.")


def _own_adapter(model: Path) -> Path | None:
    return model / "adapter" if (model / "adapter" / "config.json").is_file() else None


def _systems(
    pipe: FluxPipeline, model: Path, adapter: Path | None, steps: int, guidance: float
) -> Systems:
    """The base by itself, and with the adapter on image rows and on all rows."""
    from dynaip.adapter.model import DynaIPAdapter
    from dynaip.evaluation.generation import FluxGenerator, PersonalGenerator, hash_weights
    from dynaip.evaluation.suite import BOTH, DECOUPLED, Systems

    weights = hash_weights(model / "transformer")
    base = FluxGenerator(pipe, weights=weights, steps=steps, guidance=guidance)
    if adapter is None:
        return Systems(base=base)
    personal = DynaIPAdapter.from_pretrained(adapter).attach(pipe)
    ways = {
        group: PersonalGenerator(
            personal,
            weights=(weights, hash_weights(adapter)),
            branches=branches,
            steps=steps,
            guidance=guidance,
        )
        for group, branches in ((DECOUPLED, "image"), (BOTH, "both"))
    }
    size = pipe.image_encoder.config.image_size
    return Systems(base=base, adapters=ways, reference_size=size)


def _cost_figures(
    systems: Systems, model: Path, adapter: Path | None, steps: int, guidance: float, out: Path
) -> list[Figure]:
    """Seconds a picture once loaded, and seconds and memory of `dynaip generate`."""
    from PIL import Image

    from dynaip.evaluation.cost import cost_figures
    from dynaip.evaluation.miniature import adapter_trials

    (trial,) = adapter_trials(1)
    request = trial.request(systems.reference_size)
    generator = next(iter(systems.adapters.values()), systems.base)
    command = [sys.executable, "-m", "dynaip", "generate", "--model", str(model)]
    command += ["--prompt", request.prompt, "--steps", str(steps), "--guidance", str(guidance)]
    command += ["--seed", "0", "--out", str(out / "cost.png")]
    if adapter is not None and request.reference is not None:
        reference = out / "cost-reference.png"
        Image.fromarray(request.reference).save(reference)
        command += ["--adapter", str(adapter), "--reference", str(reference)]
    return cost_figures(lambda: generator([request]), command)


def _print_tables(console: Console, figures: Sequence[Figure]) -> None:
    """One table per group of figures."""
    from itertools import groupby

    from rich.table import Table

    from dynaip.evaluation.report import COLUMNS, cells

    for group, members in groupby(figures, key=lambda figure: figure.group):
        table = Table(*COLUMNS, title=group, title_justify="left")
        for figure in members:
            table.add_row(*cells(figure))
        console.print(table)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
