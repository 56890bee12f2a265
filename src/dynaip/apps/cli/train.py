"""`dynaip train`: the adapter's two stages, on the miniature or on FLUX."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from dynaip.apps.cli.loading import Steps, quiet_libraries


def train(
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")] = (
        "miniature"
    ),
    stage: Annotated[int, typer.Option(min=1, max=2, help="1 intra-pair, 2 cross-pair.")] = 1,
    runs: Annotated[Path, typer.Option(help="Folder of the run folders.")] = Path("runs/adapter"),
    model: Annotated[str | None, typer.Option(help="The base, instead of the recipe's.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Adapter to start from; stage 2 takes stage 1's.")
    ] = None,
    steps: Steps = None,
    variant: Annotated[
        str,
        typer.Option(
            help="An ablation: full, add, concat, low, mid, high, image-branch, ip-adapter, early, "
            "late, layer-4, ..."
        ),
    ] = "full",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, pairs and noise.")] = 0,
) -> None:
    """Train an adapter, or go on where it stopped; `accelerate launch -m dynaip` works too."""
    import dataclasses

    quiet_libraries()
    import torch

    from dynaip.evaluation.generation import hash_base, hash_weights
    from dynaip.numerics import process_state
    from dynaip.pipeline.flux import load
    from dynaip.training import recipe as recipes
    from dynaip.training.loop import train as run
    from dynaip.training.loop import with_precision

    values = recipes.with_variant(recipes.load_recipe(recipe), variant, seed)
    cache = runs / "cache"
    if (variant, seed) != ("full", 0):
        runs = runs / (variant if not seed else f"{variant}-seed{seed}")
    config = recipes.stage_config(values, stage)
    if steps is not None:
        config = dataclasses.replace(config, steps=steps)
    if stage == 2 and start is None:
        start = runs / "stage1" / "export" / "adapter"
        if not start.is_dir():
            raise ValueError(
                f"Stage 2 starts from stage 1's adapter, and there is none at {start}; train "
                "stage 1 first, or give --start."
            )
    pairs = recipes.check_stage(values, stage, start)
    base = model or values["model"]
    # A stage's own table is in the run's config, where some of it may change.
    told = {key: value for key, value in values.items() if key not in ("stage1", "stage2")}
    pairing = values[f"stage{stage}"]["pairing"]
    identity: dict[str, Any] = {"stage": stage, "pairing": pairing, "recipe": told, "base": base}
    # A run does not go on over another base, or from another start, or with other pairs, of the
    # same name.
    if Path(base).is_dir():
        identity["base"] = hash_base(Path(base))
    if start is not None:
        identity["start"] = hash_weights(start)
    if pairs is not None:
        identity["pairs"] = pairs
    folder = runs / f"stage{stage}"
    device = cast(torch.device, process_state().device)
    config = with_precision(config, folder, device)
    # Nothing casts where the training has no autocast.
    dtype = torch.float32 if config.precision == "no" else None
    task = recipes.build_task(values, stage, load(base, dtype=dtype, device=device), start, cache)
    export = run(
        task,
        config,
        folder,
        identity=identity,
        on_log=lambda row: _tell(row, len(task.adapter.config.layers)),
    )
    typer.echo(f"Stage {stage}: the adapter is in {export / 'adapter'}.")


def _tell(row: dict[str, Any], levels: int) -> None:
    """Answers *is the reference used?* in words, whenever it has been measured.

    Args:
        row: Of the log.
        levels: Among which the router divides its weight.
    """
    if "loss_right" not in row:
        return
    answer = "no telling from one sample"
    if "used" in row:
        answer = "yes" if row["used"] > 0.01 else "not yet"
    losses = [
        f"{name} {row[f'loss_{name}']:.4f}"
        for name in ("right", "wrong", "null")
        if f"loss_{name}" in row
    ]
    typer.echo(
        f"step {row['step']}: loss {row['loss']:.4f}; is the reference used? {answer}: "
        f"{', '.join(losses)}; cross-attention / own attention {row['attention_ratio']:.3f}; "
        f"router entropy {row['router_entropy']:.3f} of {math.log(levels):.3f}"
    )
