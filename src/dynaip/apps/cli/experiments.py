"""`dynaip evaluate experiment` and `evidence`: the paper's claims, tried on the miniature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dynaip.apps.cli.drawing import progress_bar
from dynaip.apps.cli.loading import (
    PROBES,
    Guidance,
    load_model,
    miniature_folder,
    named_folders,
)
from dynaip.bundle import INTRA, VARIANTS, shipped_adapters, shipped_intra, shipped_variants

if TYPE_CHECKING:
    from diffusers import FluxPipeline
    from rich.progress import Progress, TaskID

    from dynaip.evaluation.experiments.laboratory import PerSubject

ROWS = Path("out/evidence")


def experiment(
    names: Annotated[
        list[str],
        typer.Argument(
            help="table, ablation, seeds, methods, branches, denoising, intra, details, strength, "
            "granularity, router, layers, several; or all."
        ),
    ],
    adapters: Annotated[
        list[str],
        typer.Option(
            "--adapter",
            help="NAME=FOLDER, repeat for each; the first is the method's. Else the model's own.",
        ),
    ] = [],  # noqa: B006
    variants: Annotated[
        list[str],
        typer.Option(
            "--variant",
            help="Likewise, for the ablation: adapters that were trained alike.",
        ),
    ] = [],  # noqa: B006
    intra: Annotated[
        Path | None,
        typer.Option(help="Folder of the adapter after its stage 1. Else the model's own."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a pipeline trained on Toyland; else the bundle.")
    ] = None,
    probe: Annotated[Path, typer.Option(help="Folder of the probe.")] = PROBES / "first",
    detector: Annotated[
        Path, typer.Option(help="Folder of the detector, for several subjects.")
    ] = PROBES / "detector",
    count: Annotated[int, typer.Option(min=2, help="Held-out subjects, a picture each.")] = 128,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option(min=0, help="Of subjects, prompts and noise.")] = 0,
    fit_steps: Annotated[
        int, typer.Option(min=1, help="Steps of methods that are trained per subject.")
    ] = 200,
    out: Annotated[Path, typer.Option(help="Folder of rows and pictures.")] = ROWS,
) -> None:
    """Try the paper's claims; every row names the checkpoints that it is about.

    References disagree with their prompts in everything that the prompt is about. Stopped, the same
    command goes on: pictures are kept, and rows are a function of them.
    """
    import dynaip
    from dynaip.analysis.attention_maps import picture_attention
    from dynaip.evaluation.detector import Detector
    from dynaip.evaluation.evidence import write_rows
    from dynaip.evaluation.experiments import EXPERIMENTS, Laboratory
    from dynaip.evaluation.experiments.seeds import check_trained_again
    from dynaip.evaluation.generation import hash_weights
    from dynaip.evaluation.probe import Probe
    from dynaip.pipeline.arguments import default_guidance

    everything = names == ["all"]
    chosen = list(EXPERIMENTS) if everything else names
    if unknown := [name for name in chosen if name not in EXPERIMENTS]:
        raise ValueError(
            f"There is no experiment {unknown[0]!r}; choose from {', '.join(EXPERIMENTS)}, or all."
        )
    folder = model or miniature_folder()
    folders = named_folders("--adapter", adapters) or shipped_adapters(folder)
    alike = named_folders("--variant", variants) or shipped_variants(folder)
    if intra is not None and not intra.is_dir():
        raise ValueError(f"There is no adapter in {intra}; check --intra.")
    after = intra or shipped_intra(folder)
    if everything:
        chosen = _possible(chosen, alike, after)
    elif "ablation" in chosen and not alike:
        raise ValueError(
            f"There are no adapters in {folder / VARIANTS} for the ablation; train some with "
            "`dynaip train --recipe miniature-ablation --variant NAME` and give each as --variant "
            "NAME=FOLDER, the method's first."
        )
    if "intra" in chosen and after is None:
        raise ValueError(
            f"There is no adapter in {folder / INTRA}; give the one that stage 1 of a training "
            "left, as --intra runs/adapter/stage1/export/adapter."
        )
    if "seeds" in chosen:
        check_trained_again(alike)
    if not folders:
        raise ValueError(f"There is no adapter in {folder}; give one as --adapter NAME=FOLDER.")
    reader = Probe.from_pretrained(probe)
    marks = {"dynaip": dynaip.__version__, "probe": hash_weights(probe), "seed": seed}
    finder, found_by = None, {}
    if "several" in chosen:
        finder = Detector.from_pretrained(detector)
        found_by = {"several": {"detector": hash_weights(detector)}}
    pipe = load_model(str(folder))
    methods = _methods(pipe, fit_steps) if "methods" in chosen else ()
    with progress_bar() as progress:
        laboratory = Laboratory(
            pipe=pipe,
            model=folder,
            adapters=folders,
            variants=alike,
            intra=after,
            probe=reader,
            look=picture_attention,
            finder=finder,
            methods=methods,
            folder=out / "pictures",
            count=count,
            seed=seed,
            steps=steps,
            guidance=default_guidance(pipe, guidance),
            progress=_Bar(progress),
        )
        for name in chosen:
            about = {**marks, **found_by.get(name, {})}
            rows = [{"experiment": name, **row, **about} for row in EXPERIMENTS[name](laboratory)]
            write_rows(rows, out / f"{name}.jsonl")
            progress.console.print(f"{len(rows)} rows are in {out / f'{name}.jsonl'}.")


def _possible(names: Sequence[str], variants: Mapping[str, Path], intra: Path | None) -> list[str]:
    """The experiments less those that there are no adapters for, which is told."""
    from dynaip.evaluation.experiments.seeds import trained_again

    lacking = {
        "ablation": not variants,
        "seeds": not trained_again(variants),
        "intra": intra is None,
    }
    left_out = [name for name, lacks in lacking.items() if lacks]
    if left_out:
        words = ", ".join(left_out)
        typer.echo(f"Left out, for there are no adapters for them: {words}.", err=True)
    return [name for name in names if name not in left_out]


# Learning rates that suit what is trained: all weights, low-rank changes, one word.
RATES = {"dreambooth": 5e-5, "dreambooth-lora": 5e-4, "textual-inversion": 1e-2}


def _methods(pipe: FluxPipeline, steps: int) -> tuple[PerSubject, ...]:
    """DreamBooth, its LoRA and Textual Inversion, on the laboratory's base."""
    import dataclasses

    from dynaip.evaluation.experiments.laboratory import PerSubject
    from dynaip.training.per_subject import METHODS, WORD, SubjectFit, View, fit_subject

    def method(fit: SubjectFit) -> PerSubject:
        return PerSubject(
            name=fit.method,
            word=WORD,
            settings={"fit": dataclasses.asdict(fit)},
            fit=lambda views, others, folder: fit_subject(
                pipe, fit, [View(*each) for each in views], folder, [View(*o) for o in others]
            ),
        )

    return tuple(
        method(SubjectFit(method=name, steps=steps, learning_rate=RATES[name])) for name in METHODS
    )


class _Bar:
    """One bar that names the set of pictures that is being made."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def __call__(self, name: str, total: int, done: int) -> None:
        for other in [each for each in self.bars if each != name]:
            self.progress.remove_task(self.bars.pop(other))
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        task = self.progress.tasks[self.progress.task_ids.index(self.bars[name])]
        # The next set of pictures of the same name begins when the one before is there.
        if task.finished or task.total != total:
            self.progress.reset(self.bars[name], total=total)
        self.progress.advance(self.bars[name], done)


def evidence(
    rows: Annotated[Path, typer.Option(help="Folder that `experiment` wrote.")] = ROWS,
    out: Annotated[Path, typer.Option(help="Folder of the page and its figures.")] = Path(
        "docs/evidence"
    ),
) -> None:
    """Write the page of evidence: rows, tables and figures of each experiment that has been run.

    Rows of others that lie in the page's folder stay in it, if they are about the same base.
    """
    from dynaip.analysis.evidence_figures import draw_evidence
    from dynaip.evaluation.evidence import read_rows, with_kept, write_evidence
    from dynaip.evaluation.experiments import EXPERIMENTS

    run = read_rows(rows)
    found = with_kept(run, out)
    if kept := [name for name in found if name not in run]:
        typer.echo(f"Kept as they were in {out}: {', '.join(kept)}.", err=True)
    there = [name for name in EXPERIMENTS if (out / f"{name}.jsonl").is_file()]
    if others := [name for name in there if name not in found]:
        words = ", ".join(others)
        typer.echo(f"Left out, for another base or probe made them: {words} in {out}.", err=True)
    figures = draw_evidence(found, out)
    page = write_evidence(found, figures, out)
    Console().print(f"{len(found)} experiments: {page}.", soft_wrap=True)
