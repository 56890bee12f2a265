"""`dynaip bench`: make a benchmark's manifest, and answer it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynaip.adapter.choices import OVERLAPS
from dynaip.adapter.config import BRANCHES
from dynaip.apps.cli.drawing import progress_bar
from dynaip.apps.cli.loading import (
    PROBES,
    Adapter,
    Guidance,
    ImageGuidance,
    Model,
    Offload,
    adapter_location,
    load_adapter,
    load_model,
    miniature_folder,
    one_of,
    quiet_libraries,
)
from dynaip.apps.cli.scoring import likeness_rows, truth_rows

if TYPE_CHECKING:
    from diffusers import FluxPipeline

    from dynaip.evaluation.benchmarks.dynaip_bench import BenchSettings
    from dynaip.evaluation.benchmarks.manifest import Manifest
    from dynaip.evaluation.benchmarks.results import Results

app = typer.Typer(no_args_is_help=True, help="Benchmarks: manifests, and pictures for them.")

Out = Annotated[Path, typer.Option(help="The manifest to write.")]
Pairs = Annotated[int, typer.Option(min=0, help="Tuples of two subjects.")]
Triples = Annotated[int, typer.Option(min=0, help="Tuples of three subjects.")]
Prompts = Annotated[int, typer.Option(min=1, max=6, help="Prompts for each tuple.")]
Pictures = Annotated[int, typer.Option(min=1, help="Pictures for each prompt.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draw and of the pictures.")]
ModeOption = Annotated[str, typer.Option(help="Wording: verbatim (the paper's) or grammatical.")]
OverlapOption = Annotated[str, typer.Option(help="Where boxes meet: sum, normalise, priority.")]


@app.command("dynaip")
def dynaip_bench(
    pools: Annotated[Path, typer.Option(help="Folder with a folder of subjects per data type.")],
    out: Out = Path("out/dynaip-bench/manifest.jsonl"),
    pairs: Pairs = 107,
    triples: Triples = 41,
    prompts: Prompts = 6,
    pictures: Pictures = 1,
    mode: ModeOption = "verbatim",
    equal_nouns: Annotated[
        bool, typer.Option(help="Let two subjects of a tuple share their noun.")
    ] = False,
    boxes: Annotated[bool, typer.Option(help="Preset boxes for the subjects.")] = True,
    overlap: OverlapOption = "sum",
    seed: Seed = 0,
) -> None:
    """Draw a DynaIP-Bench (Table 3) from your own subjects: 148 tuples x 6 prompts = 888."""
    from dynaip.evaluation.benchmarks.dynaip_bench import build_manifest, read_pools

    settings = _settings(pairs, triples, prompts, pictures, mode, overlap, seed, equal_nouns, boxes)
    _write(build_manifest(read_pools(pools), settings), out)


@app.command()
def toyland(
    out: Out = Path("out/toyland-bench/manifest.jsonl"),
    each: Annotated[int, typer.Option(min=1, help="Held-out subjects of each data type.")] = 18,
    pairs: Pairs = 107,
    triples: Triples = 41,
    prompts: Prompts = 6,
    pictures: Pictures = 1,
    mode: ModeOption = "grammatical",
    overlap: OverlapOption = "sum",
    seed: Seed = 0,
    size: Annotated[int, typer.Option(min=16, help="Side of a reference in pixels.")] = 64,
) -> None:
    """Draw a DynaIP-Bench whose subjects are rendered, with the truth about each."""
    from dynaip.evaluation.benchmarks.dynaip_bench import KINDS, build_manifest
    from dynaip.evaluation.benchmarks.toyland import render_pools

    settings = _settings(pairs, triples, prompts, pictures, mode, overlap, seed)
    with progress_bar() as progress:
        bar = progress.add_task("Rendering subjects", total=each * len(KINDS))
        pools = render_pools(
            out.parent / "references",
            each=each,
            seed=seed,
            size=size,
            on_subject=lambda: progress.advance(bar),
        )
    _write(build_manifest(pools, settings, "toyland-bench"), out)


@app.command("dreambenchpp")
def dreambenchpp(
    data: Annotated[Path, typer.Option(help="A checkout of DreamBench++, pictures downloaded.")],
    out: Out = Path("out/dreambenchpp/manifest.jsonl"),
    seed: Seed = 0,
) -> None:
    """Read DreamBench++: 150 subjects x 9 prompts = 1350."""
    from dynaip.evaluation.benchmarks.dreambenchpp import read_dreambenchpp

    _write(read_dreambenchpp(data, seed=seed), out)


@app.command()
def dreambooth(
    data: Annotated[Path, typer.Option(help="A checkout of DreamBooth's data set.")],
    out: Out = Path("out/dreambooth/manifest.jsonl"),
    pictures: Pictures = 4,
    seed: Seed = 0,
) -> None:
    """Read DreamBooth's data set: 30 subjects x 25 prompts = 750."""
    from dynaip.evaluation.benchmarks.dreambooth import read_dreambooth

    _write(read_dreambooth(data, pictures=pictures, seed=seed), out)


@app.command("import")
def import_(
    samples: Annotated[Path, typer.Argument(help="A method's samples in DreamBench++'s layout.")],
    manifest: Annotated[Path, typer.Option(help="DreamBench++'s manifest.")],
    out: Annotated[Path, typer.Option(help="Result folder.")],
    name: Annotated[str, typer.Option(help="What tables call the method.")],
) -> None:
    """Take over another method's pictures of DreamBench++, to be scored like ours."""
    from dynaip.evaluation.benchmarks.dreambenchpp import import_samples
    from dynaip.evaluation.benchmarks.manifest import read_manifest

    asked = read_manifest(manifest)
    with progress_bar() as progress:
        bar = progress.add_task("Copying", total=sum(len(case.seeds) for case in asked.cases))
        results = import_samples(samples, asked, out, name, lambda: progress.advance(bar))
    _tell_pictures(results)


@app.command()
def baseline(
    name: Annotated[
        str, typer.Argument(help="copy (of the reference), real (photograph), perfect.")
    ],
    manifest: Annotated[Path, typer.Option(help="What is asked.")],
    out: Annotated[Path, typer.Option(help="Result folder.")],
) -> None:
    """Answer with the reference, another photograph, or what Toyland knows: ends of the scale."""
    from dynaip.evaluation.benchmarks.baselines import make_baseline
    from dynaip.evaluation.benchmarks.manifest import read_manifest

    asked = read_manifest(manifest)
    with progress_bar() as progress:
        bar = progress.add_task("Writing", total=sum(len(case.seeds) for case in asked.cases))
        results = make_baseline(name, asked, out, lambda: progress.advance(bar))
    _tell_pictures(results)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Result folder.")],
    metric: Annotated[
        str, typer.Option(help="clip, dino, offline (no download), or truth (Toyland's).")
    ] = "offline",
    model: Annotated[
        str | None,
        typer.Option(help="The metric's model, a folder or hub id; for truth the probe's folder."),
    ] = None,
    least_ceiling: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Truth: share of perfect answers the probe must read right; else 0.9.",
        ),
    ] = None,
) -> None:
    """Score a method's pictures: likeness, whole and inside each mask, or what is true of them."""
    from dynaip.evaluation.benchmarks.results import Results
    from dynaip.evaluation.scores import append_scores

    one_of("--metric", metric, ("clip", "dino", "offline", "truth"))
    if model is not None and metric == "offline":
        raise ValueError("--metric offline has no model; leave --model out.")
    if least_ceiling is not None and metric != "truth":
        raise ValueError("--least-ceiling is for --metric truth; leave it out.")
    results = Results.open(folder)
    with progress_bar() as progress:
        if metric == "truth":
            probe = Path(model or PROBES / "first")
            rows = truth_rows(results, probe, least_ceiling, progress)
        else:
            rows = likeness_rows(results, metric, model, progress)
        path = results.scores_path(metric)
        written = append_scores(path, rows)
    if missing := len(results.missing()):
        typer.echo(f"{missing} pictures of the manifest are missing, and have no scores.", err=True)
    typer.echo(f"{written} scores were added to {path}.")


@app.command()
def run(
    manifest: Annotated[Path, typer.Argument(help="What is asked.")],
    out: Annotated[Path, typer.Option(help="Result folder.")],
    model: Model = None,
    adapter: Adapter = None,
    no_adapter: Annotated[
        bool, typer.Option("--no-adapter", help="The base by itself, from the prompt.")
    ] = False,
    name: Annotated[str, typer.Option(help="What tables call this method.")] = "DynaIP",
    branches: Annotated[
        str | None,
        typer.Option(
            help="Tokens that attend to the reference: image, text or both. Else both with "
            "--own-words, and what the adapter was made for without: of ours image (the paper's "
            "DDS), of others' what they published."
        ),
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="Where boxes meet; else as the manifest says.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=0, help="Strength of the references; else 1.")
    ] = None,
    boxes: Annotated[
        bool | None, typer.Option(help="Use the manifest's boxes as masks (default).")
    ] = None,
    own_words: Annotated[
        bool,
        typer.Option(
            "--own-words",
            help="A subject's name in the prompt attends to it, as with --phrase of `dynaip "
            "generate`; cases whose prompts do not say the names of all are drawn without.",
        ),
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Denoising steps.")] = 20,
    guidance: Guidance = None,
    image_guidance: ImageGuidance = 1.0,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the pictures; else the model's.")
    ] = None,
    shard: Annotated[str, typer.Option(help="i/n: only this part of the work.")] = "0/1",
    offload: Offload = False,
) -> None:
    """Make a manifest's pictures; stopped, the same command goes on.

    `accelerate launch -m dynaip bench run …` shares the work among its processes.
    """
    about = (adapter, branches, overlap, scale, boxes)
    guided = image_guidance != 1
    if no_adapter and (guided or own_words or any(value is not None for value in about)):
        raise ValueError(
            "--adapter, --branches, --overlap, --scale, --boxes, --own-words and --image-guidance "
            "are about references, which --no-adapter leaves out; give one or the other."
        )
    if own_words and branches == "image":
        raise ValueError("With --branches image no word sees a reference; leave out --own-words.")
    quiet_libraries()
    from dynaip.evaluation.benchmarks.manifest import read_manifest
    from dynaip.evaluation.benchmarks.results import Results
    from dynaip.evaluation.benchmarks.running import (
        FluxPainter,
        Way,
        in_shard,
        paint_missing,
        unnamed,
    )
    from dynaip.numerics import process_state
    from dynaip.pipeline.arguments import default_guidance

    asked = read_manifest(manifest)
    chosen = None if no_adapter else adapter_location(adapter, model)
    attended = None if branches is None else one_of("--branches", branches, BRANCHES)
    meeting = one_of("--overlap", overlap or asked.settings.get("overlap", "sum"), OVERLAPS)
    # Before the weights, which go where this says that the process is.
    state = process_state()
    index, count = _parse_shard(shard)
    part = (index * state.num_processes + state.process_index, count * state.num_processes)
    loaded = load_adapter(chosen) if chosen else None
    pipe = load_model(model, offload)
    way = Way(
        model=str(model or miniature_folder()),
        adapter=chosen,
        steps=steps,
        guidance=default_guidance(pipe, guidance),
        image_guidance=image_guidance,
        branches=attended,
        overlap=meeting,
        scale=1.0 if scale is None else scale,
        boxes=boxes is not False,
        own_words=own_words,
        size=size,
    )
    painter = pipe
    if loaded is not None:
        painter = loaded.to(pipe.device, pipe.dtype).attach(pipe, offload=offload)
    paint = FluxPainter(painter, way)
    without = unnamed(pipe, asked.cases) if own_words else {}
    note = _note_unnamed(without, len(asked.cases))
    results = Results.create(out, asked, way.method(name, loaded))
    if state.is_main_process:
        _tell_cut_prompts(pipe, asked)
        if note:
            typer.echo(note, err=True)
    wanted = in_shard(results, part)
    ready = sum(each.path.is_file() for each in wanted)
    if ready:
        typer.echo(f"{ready} of {len(wanted)} pictures are there already.", err=True)
    with progress_bar(state.is_local_main_process) as progress:
        bar = progress.add_task("Drawing", total=len(wanted), completed=ready)
        made = paint_missing(
            results,
            paint,
            shard=part,
            on_picture=lambda each: progress.advance(bar),
        )
    who = f"Process {state.process_index}: " if state.num_processes > 1 else ""
    typer.echo(f"{who}{made} pictures made, {ready} were there; they are in {out / 'pictures'}.")


def _tell_cut_prompts(pipe: FluxPipeline, manifest: Manifest) -> None:
    from dynaip.evaluation.benchmarks.running import cut_prompts

    if cut := cut_prompts(pipe, manifest.cases):
        typer.echo(
            f"{len(cut)} of {len(manifest.cases)} prompts are longer than this model reads, which "
            f"does not see their ends: the first is of case {cut[0].id}.",
            err=True,
        )


def _note_unnamed(without: dict[str, str], count: int) -> str:
    """What is said of cases without own words; nothing where there are none."""
    if not without:
        return ""
    case, reason = next(iter(without.items()))
    if len(without) == count:
        raise ValueError(
            f"No prompt names all its subjects, so leave --own-words out; of case {case}: {reason}"
        )
    return f"{len(without)} of {count} cases are drawn without own words; of case {case}: {reason}"


def _tell_pictures(results: Results) -> None:
    missing = len(results.missing())
    note = f", and {missing} are missing" if missing else ""
    there = len(results.pictures())
    typer.echo(f"{there} pictures are in {results.folder / 'pictures'}{note}.")


def _settings(
    pairs: int,
    triples: int,
    prompts: int,
    pictures: int,
    mode: str,
    overlap: str,
    seed: int,
    equal_nouns: bool = False,
    boxes: bool = True,
) -> BenchSettings:
    from dynaip.evaluation.benchmarks.dynaip_bench import BenchSettings

    return BenchSettings(
        pairs=pairs,
        triples=triples,
        prompts=prompts,
        pictures=pictures,
        mode=one_of("--mode", mode, ("verbatim", "grammatical")),
        overlap=overlap,
        seed=seed,
        equal_nouns=equal_nouns,
        boxes=boxes,
    )


def _write(manifest: Manifest, out: Path) -> None:
    from dynaip.evaluation.benchmarks.manifest import write_manifest

    write_manifest(manifest, out)
    count = sum(len(case.seeds) for case in manifest.cases)
    there, whole = (manifest.settings.get(key) for key in ("subjects", "of"))
    part = f" of {there} of {whole} subjects" if there != whole else ""
    typer.echo(f"{len(manifest.cases)} cases{part}, {count} pictures to make: {out}.")


def _parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f"--shard is i/n with 0 <= i < n, such as 0/4; got {text!r}.")
    return int(index), int(count)
