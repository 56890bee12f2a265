"""`dynaip evaluate`: train the probe, measure the miniature."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from dynaip.apps.cli.drawing import progress_bar
from dynaip.apps.cli.experiments import evidence, experiment
from dynaip.apps.cli.loading import PROBES, Guidance, load_adapter, load_model, miniature_folder
from dynaip.bundle import shipped_adapters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from diffusers import FluxPipeline
    from rich.progress import Progress, TaskID

    from dynaip.evaluation.detector import Detection
    from dynaip.evaluation.figures import Figure
    from dynaip.evaluation.suite import Systems
    from dynaip.miniature.autoencoder import PatchAutoencoder

# The state of a network that is being trained, beside what it will become.
STATE = "training.pt"

# What both instruments are trained with.
Traces = Annotated[
    Path | None,
    typer.Option("--autoencoder", help="Folder of the autoencoder whose traces it should know."),
]
Renders = Annotated[int, typer.Option(help="Pictures to render and learn from.")]
Epochs = Annotated[int, typer.Option(min=1, help="Times each picture is seen.")]
Side = Annotated[int, typer.Option(min=16, help="Picture side in pixels.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that render.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile first: a slower start, then faster.")
]

app = typer.Typer(no_args_is_help=True, help="Measure pictures against what they should show.")
app.command()(experiment)
app.command()(evidence)


@app.command("train-probe")
def train_probe(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = PROBES / "first",
    autoencoder: Traces = None,
    layers: Annotated[
        int,
        typer.Option(
            min=0, help="Of self-attention; 0 makes another kind of probe, for a second opinion."
        ),
    ] = 3,
    renders: Renders = 40_000,
    epochs: Epochs = 5,
    size: Side = 64,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another probe.")] = 0,
    workers: Workers = 1,
    compile: Compile = False,
) -> None:
    """Train the network that reads every factor of a picture, on Toyland's renders.

    Stopped, the same command goes on where it was.
    """
    from dynaip.evaluation.factors import probed_values
    from dynaip.evaluation.fitting import Checkpoint, Fitting
    from dynaip.evaluation.probe import ProbeConfig
    from dynaip.evaluation.probe_training import render_lessons
    from dynaip.evaluation.probe_training import train_probe as train
    from dynaip.miniature.autoencoder import PatchAutoencoder

    fitting = Fitting(renders=renders, epochs=epochs, seed=seed, workers=workers, compile=compile)
    vae = None if autoencoder is None else PatchAutoencoder.from_pretrained(autoencoder)
    config = ProbeConfig(values=probed_values(), size=size, layers=layers)
    with progress_bar() as progress:
        bar = progress.add_task("rendering", total=renders)
        lessons = render_lessons(config, fitting, lambda done: progress.advance(bar, done))
        probe = train(
            config,
            fitting,
            lessons,
            vae,
            on_step=_training_bar(progress, "training the probe", fitting.steps),
            checkpoint=Checkpoint(path=out / STATE),
        )
    probe.save_pretrained(out)
    Console().print(f"The probe is in {out}.")


@app.command("train-detector")
def train_detector(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = PROBES / "detector",
    autoencoder: Traces = None,
    renders: Renders = 20_000,
    epochs: Epochs = 4,
    size: Side = 64,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives another detector.")] = 0,
    workers: Workers = 1,
    compile: Compile = False,
) -> None:
    """Train the network that finds the subjects of a picture, whoever they are.

    Stopped, the same command goes on where it was.
    """
    from dynaip.evaluation.detector import DetectorConfig
    from dynaip.evaluation.detector import train_detector as train
    from dynaip.evaluation.fitting import Checkpoint, Fitting
    from dynaip.miniature.autoencoder import PatchAutoencoder

    fitting = Fitting(renders=renders, epochs=epochs, seed=seed, workers=workers, compile=compile)
    vae = None if autoencoder is None else PatchAutoencoder.from_pretrained(autoencoder)
    with progress_bar() as progress:
        bar = progress.add_task("rendering", total=renders)
        detector = train(
            DetectorConfig(size=size),
            fitting,
            vae,
            on_renders=lambda done: progress.advance(bar, done),
            on_step=_training_bar(progress, "training the detector", fitting.steps),
            checkpoint=Checkpoint(path=out / STATE),
        )
    detector.save_pretrained(out)
    Console().print(f"The detector is in {out}.")


@app.command()
def instruments(
    probes: Annotated[
        list[Path], typer.Option("--probe", help="Folder of a probe; the first one measures.")
    ] = [PROBES / "first"],  # noqa: B006
    autoencoder: Annotated[
        Path, typer.Option(help="Folder of the autoencoder for the round trip.")
    ] = Path("models/miniature/vae"),
    detector: Annotated[Path | None, typer.Option(help="Folder of the detector.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Held-out subjects, a render each.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="Of the renders.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows for a program.")] = False,
) -> None:
    """Print how well the probes and the detector read real renders: their ceilings."""
    from dynaip.evaluation.calibration import calibrate_probes, calibrate_strangeness
    from dynaip.evaluation.miniature import adapter_trials, base_trials, decoded, renders
    from dynaip.evaluation.probe import Probe
    from dynaip.miniature.autoencoder import PatchAutoencoder

    readers = {str(folder): Probe.from_pretrained(folder) for folder in probes}
    vae = PatchAutoencoder.from_pretrained(autoencoder)
    trials = adapter_trials(count, seed)
    size = readers[str(probes[0])].config.size
    oracle, others = (
        decoded(vae, renders(each, size)) for each in (trials, base_trials(count, seed))
    )
    rows = calibrate_probes(readers, trials, oracle)
    strange = {
        name: calibrate_strangeness(reader, oracle, others) for name, reader in readers.items()
    }
    found = None if detector is None else _detection(detector, vae, count, seed)
    if as_json:
        quality = {} if found is None else found._asdict()
        answer = {
            "factors": [row.to_row() for row in rows],
            "strange": {name: shares._asdict() for name, shares in strange.items()},
            "detector": quality,
        }
        typer.echo(json.dumps(answer))
        return
    # A folder's name takes a line for each of its parts, so that a terminal of 80 has room.
    names = [name.replace("/", "/\n") for name in readers]
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for name in ("factor", "chance", *names, "analytic", "probes\npart", "measurable"):
        table.add_column(name, vertical="bottom", overflow="fold")
    for row in rows:
        ceilings = [f"{row.ceilings[name]:.3f}" for name in readers]
        analytic = "" if row.analytic is None else f"{row.analytic:.3f}"
        verdict = "yes" if row.measurable else "no"
        table.add_row(
            row.factor,
            f"{row.chance:.3f}",
            *ceilings,
            analytic,
            f"{row.disagreement:.3f}",
            verdict,
        )
    Console().print(table)
    Console().print(
        f"\nStrange is what has more free energy than 99 % of the {count} renders above."
    )
    for name, shares in strange.items():
        Console().print(
            f"{name} calls {shares.renders:.3f} of {count} other renders strange, and "
            f"{shares.blends:.3f} of blends of two."
        )
    if found is not None:
        Console().print(
            f"The detector finds {found.recall:.3f} of the subjects; {found.precision:.3f} of what "
            f"it finds is one; {found.right_count:.3f} of the pictures have the right number."
        )


def _detection(folder: Path, vae: PatchAutoencoder, count: int, seed: int) -> Detection:
    """On round-tripped held-out renders of one to three subjects."""
    import numpy as np

    from dynaip.evaluation.detector import (
        Detector,
        detection_quality,
        draw_scene,
        visible_boxes,
    )
    from dynaip.evaluation.miniature import decoded
    from dynaip.miniature.toyland import render

    detector = Detector.from_pretrained(folder)
    drawn = [render(draw_scene(i, seed, "test"), detector.config.size) for i in range(count)]
    pictures = decoded(vae, np.stack([picture.image for picture in drawn]))
    return detection_quality(
        detector.find(pictures), [visible_boxes(picture.masks) for picture in drawn]
    )


def _training_bar(progress: Progress, name: str, steps: int) -> Callable[[int, float], None]:
    """A bar that shows the loss."""
    bar = progress.add_task(name, total=steps)
    return lambda step, loss: progress.update(
        bar, completed=step, description=f"{name}, loss {loss:.3f}"
    )


@app.command()
def miniature(
    model: Annotated[
        Path | None, typer.Option(help="Folder of a pipeline trained on Toyland; else the bundle.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of the adapter; else the model's own.")
    ] = None,
    probe: Annotated[Path, typer.Option(help="Folder of the probe.")] = PROBES / "first",
    count: Annotated[int, typer.Option(min=2, help="Held-out subjects, a picture each.")] = 512,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option(min=0, help="Of subjects, prompts and noise.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a call.")] = 32,
    out: Annotated[Path, typer.Option(help="Folder of pictures and report.")] = Path(
        "out/evaluation"
    ),
) -> None:
    """Measure the miniature on held-out subjects; stopped, the same command goes on."""
    import dynaip
    from dynaip.evaluation.generation import hash_weights
    from dynaip.evaluation.knowledge import knowledge_figures
    from dynaip.evaluation.miniature_report import write_report
    from dynaip.evaluation.probe import Probe
    from dynaip.evaluation.suite import Suite
    from dynaip.pipeline.arguments import default_guidance

    folder = model or miniature_folder()
    # A base that has none yet is measured by itself.
    adapter = adapter or shipped_adapters(folder).get("full")
    reader = Probe.from_pretrained(probe)
    pipe = load_model(str(folder))
    with progress_bar() as progress:
        suite = Suite(
            probe=reader,
            autoencoder=pipe.vae,
            folder=out,
            count=count,
            batch_size=batch,
            seed=seed,
            progress=_Bars(progress),
        )
        guidance = default_guidance(pipe, guidance)
        systems = _systems(pipe, folder, adapter, steps, guidance)
        figures = suite.run(systems)
        bar = progress.add_task("what the encoders know", total=4)
        figures += knowledge_figures(pipe, count, seed, lambda: progress.advance(bar))
        bar = progress.add_task("seconds and memory", total=1)
        figures += _cost(systems, folder, adapter, out)
        progress.advance(bar)
    provenance = {"dynaip": dynaip.__version__, **systems.base.identity}
    uses = {group: way.identity for group, way in systems.adapters.items()}
    if uses:
        provenance["adapter"] = next(iter(uses.values()))["adapter"]
    provenance |= {"probe": hash_weights(probe), "seed": seed}
    write_report(figures, provenance, uses, out)
    _print_tables(figures)
    pages = f"The rows are in {out / 'figures.jsonl'}, the page in {out / 'figures.md'}."
    Console().print(pages, soft_wrap=True)


def _systems(
    pipe: FluxPipeline, folder: Path, adapter: Path | None, steps: int, guidance: float
) -> Systems:
    """The base by itself, and with the adapter in its ways of being used."""
    from dynaip.evaluation.generation import (
        FluxGenerator,
        PersonalGenerator,
        hash_base,
        hash_weights,
    )
    from dynaip.evaluation.suite import WAYS, Systems

    weights = hash_base(folder)
    base = FluxGenerator(pipe, weights=weights, steps=steps, guidance=guidance)
    if adapter is None:
        return Systems(base=base)
    personal = load_adapter(str(adapter)).to(pipe.device, pipe.dtype).attach(pipe)
    ways = {
        group: PersonalGenerator(
            personal,
            weights=(weights, hash_weights(adapter)),
            use=use,
            steps=steps,
            guidance=guidance,
        )
        for group, use in WAYS.items()
    }
    size = cast(Any, pipe.image_encoder).config.image_size
    return Systems(base=base, adapters=ways, reference_size=size)


def _cost(systems: Systems, folder: Path, adapter: Path | None, out: Path) -> list[Figure]:
    """Seconds a picture once loaded, and seconds and memory of `dynaip generate`."""
    from PIL import Image

    from dynaip.evaluation.cost import cost_figures
    from dynaip.evaluation.miniature import adapter_trials

    (trial,) = adapter_trials(1)
    request = trial.request(systems.reference_size)
    command = [sys.executable, "-m", "dynaip", "generate", "--model", str(folder)]
    command += ["--prompt", request.prompt, "--seed", "0", "--out", str(out / "cost.png")]
    for setting in ("steps", "guidance"):
        command += [f"--{setting}", str(systems.base.identity[setting])]
    if adapter is not None:
        reference = out / "cost-reference.png"
        Image.fromarray(request.references[0]).save(reference)
        command += ["--adapter", str(adapter), "--reference", str(reference)]
    generator = next(iter(systems.adapters.values()), systems.base)
    return cost_figures(lambda: generator([request]), command)


def _print_tables(figures: Sequence[Figure]) -> None:
    """One table for each group of figures."""
    from dynaip.evaluation.miniature_report import SHORT_COLUMNS, cells

    console = Console()
    for group, members in groupby(figures, key=lambda figure: figure.group):
        table = Table(box=None, title=group, title_justify="left", padding=(0, 1, 0, 0))
        for name in SHORT_COLUMNS:
            # Names and verdicts are words, and may take two lines; numbers stay whole.
            table.add_column(name, no_wrap=name not in ("figure", ""))
        for figure in members:
            table.add_row(*cells(figure))
        console.print(table, "")


class _Bars:
    """A bar for each stage, added when the stage begins."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def __call__(self, stage: str, total: int, done: int) -> None:
        if stage not in self.bars:
            self.bars[stage] = self.progress.add_task(stage, total=total)
        self.progress.advance(self.bars[stage], done)
