"""`dynaip miniature`: render the world, train the small FLUX, put the bundle together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dynaip.apps.cli.loading import Steps, named_folders, one_of

app = typer.Typer(no_args_is_help=True, help="The miniature: Toyland and a small FLUX of it.")

Runs = Annotated[Path, typer.Option(help="Folder of the run folders, one per stage.")]
Recipe = Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")]


@app.command()
def render(
    folder: Annotated[Path, typer.Argument(help="Folder to write, an imagefolder with masks.")],
    count: Annotated[int, typer.Option("--count", "-n", help="How many pictures.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 0,
    split: Annotated[str, typer.Option(help="train or test (held-out subjects only).")] = "train",
    size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 64,
    subjects: Annotated[int, typer.Option(help="Subjects in each picture, 1 to 3.")] = 1,
) -> None:
    """Write pictures of Toyland with captions, masks and their specs in metadata.jsonl."""
    from rich.console import Console
    from rich.progress import track

    from dynaip.miniature.toyland.imagefolder import write_imagefolder

    written = write_imagefolder(folder, count, seed=seed, split=split, size=size, subjects=subjects)
    for _ in track(written, "Drawing", total=count, console=Console(stderr=True), transient=True):
        pass
    Console().print(f"{count} pictures are in {folder}.")


@app.command()
def sheet(
    target: Annotated[Path, typer.Argument(help="PNG file to write.")],
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 4,
    size: Annotated[int, typer.Option(help="Height and width of each picture.")] = 96,
) -> None:
    """Draw Toyland on one page: all categories, the same subject again and again, pairs."""
    from rich.console import Console

    from dynaip.miniature.toyland.imagefolder import world_sheet

    world_sheet(size=size, seed=seed).save(target)
    Console().print(f"The sheet is {target}.")


@app.command()
def train(
    stage: Annotated[
        str,
        typer.Option(help="vae, encoder, image_tower, text_tower, base, guidance; or all."),
    ],
    recipe: Recipe = "64px",
    runs: Runs = Path("runs/miniature"),
    steps: Steps = None,
    start: Annotated[
        Path | None, typer.Option(help="Transformer that stage base goes on from.")
    ] = None,
) -> None:
    """Train a stage, or go on where it stopped; `accelerate launch -m dynaip` works too."""
    from rich.console import Console

    from dynaip.evaluation.generation import hash_weights
    from dynaip.miniature.recipe import READS, STAGES, build_task, load_recipe
    from dynaip.training.config import TrainingConfig
    from dynaip.training.loop import train as run

    values = load_recipe(recipe)
    chosen = one_of("--stage", stage, (*STAGES, "all"))
    more = {} if steps is None else {"steps": steps}
    # All of them first: the last stage's turn comes hours after the first one's.
    configs = {
        name: TrainingConfig.from_dict(
            values["train"].get(name, {}) | more, f"the table train.{name}"
        )
        for name in (STAGES if chosen == "all" else (chosen,))
    }
    told = {key: value for key, value in values.items() if key != "train"}
    if start is not None:
        told["start"] = hash_weights(start)
    for name, config in configs.items():
        task = build_task(name, values, runs, start)
        # A run does not go on over other stages that were trained anew.
        exports = {each: hash_weights(runs / each / "export") for each in READS[name]}
        identity = {"stage": name, **told, "exports": exports}
        export = run(task, config, runs / name, identity=identity)
        Console().print(f"Stage {name}: the weights are in {export}.")


def _check_exports(runs: Path) -> None:
    """Refuses exports that do not go together: of a stage that read others than there are now.

    Each stage's run says which it read; exports that come out of a bundle have no run.
    """
    from dynaip.evaluation.generation import hash_weights
    from dynaip.miniature.recipe import STAGES

    exports = {stage: runs / stage / "export" for stage in STAGES}
    now = {stage: hash_weights(path) for stage, path in exports.items() if path.is_dir()}
    for stage in now:
        run = runs / stage / "run.json"
        read = json.loads(run.read_text()).get("exports", {}) if run.is_file() else {}
        if anew := [each for each in read if each in now and read[each] != now[each]]:
            raise ValueError(
                f"Stage {stage} was trained over another {' and '.join(anew)} than is in {runs} "
                f"now; delete {runs / stage} and run `dynaip miniature train --stage {stage}`."
            )


@app.command()
def bundle(
    target: Annotated[Path, typer.Option(help="Folder to write.")] = Path("models/miniature"),
    recipe: Recipe = "64px",
    runs: Runs = Path("runs/miniature"),
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter trained on it, to go with it.")
    ] = None,
    variants: Annotated[
        list[str],
        typer.Option("--variant", help="NAME=FOLDER, repeat: an ablation's adapter, to go along."),
    ] = [],  # noqa: B006
    intra: Annotated[
        Path | None, typer.Option(help="Folder of the adapter after stage 1, to go along.")
    ] = None,
) -> None:
    """Put the trained stages together into a folder that FluxPipeline opens, in 16 bit."""
    from rich.console import Console

    from dynaip.miniature import recipe as recipes

    others = named_folders("--variant", variants)
    _check_exports(runs)
    values = recipes.load_recipe(recipe)
    recipes.bundle(values, runs, target, adapter=adapter, variants=others, intra=intra)
    Console().print(f"The miniature is in {target}.")


@app.command()
def unbundle(
    source: Annotated[Path, typer.Argument(help="Bundle to take apart.")] = Path(
        "models/miniature"
    ),
    runs: Runs = Path("runs/miniature"),
) -> None:
    """Write a bundle's parts as the stages' exports, to train on from them."""
    from rich.console import Console

    from dynaip.miniature import recipe as recipes

    recipes.unbundle(source, runs)
    Console().print(
        f"The stages' exports are in {runs}. Go on with: dynaip miniature train --stage base "
        f"--start {source / 'transformer'}"
    )
