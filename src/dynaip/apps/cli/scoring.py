"""How `dynaip bench score` gets its rows: models loaded, bars drawn, gaps told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dynaip.apps.cli.loading import quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.progress import Progress

    from dynaip.evaluation.benchmarks.results import Results
    from dynaip.evaluation.scores import ScoreRow


def likeness_rows(
    results: Results, metric: str, model: str | None, progress: Progress
) -> Iterable[ScoreRow]:
    """Rows of "clip", "dino" or "offline", made as they are read; `model` may name another one.

    Raises:
        ValueError: There is no such model here, and none can be downloaded.
    """
    import itertools

    quiet_libraries()
    from dynaip.evaluation import metrics

    named = {} if model is None else {"model": model}
    passes = 2 if metric == "clip" else 1
    bar = progress.add_task("Scoring", total=passes * len(results.pictures()))

    def advance() -> None:
        progress.advance(bar)

    makers = {"clip": metrics.ClipEmbedder, "dino": metrics.DinoEmbedder}
    try:
        embedder: Any = makers.get(metric, metrics.ColourAndEdges)(**named)
    except OSError as error:
        raise ValueError(
            f"The model of --metric {metric} cannot be had ({str(error).splitlines()[0]}); give "
            "its folder as --model, or use --metric offline."
        ) from error
    rows = metrics.score_likeness(results, embedder, advance)
    if metric == "clip":
        return itertools.chain(rows, metrics.score_prompts(results, embedder, advance))
    return rows


def truth_rows(
    results: Results, folder: Path, least: float | None, progress: Progress
) -> Iterable[ScoreRow]:
    """Rows of a rendered benchmark, by the probe in `folder`; says what it cannot tell.

    Args:
        results: Pictures of a rendered benchmark.
        folder: The probe's.
        least: Share of perfect answers in which it must be right; the usual one by default.
        progress: Shows bars.

    Raises:
        ValueError: There is no such probe, or no picture yet.
    """
    from dynaip.evaluation.benchmarks.truth import measure_ceilings, score_truth
    from dynaip.evaluation.figures import MEASURABLE
    from dynaip.evaluation.generation import hash_weights
    from dynaip.evaluation.probe import Probe
    from dynaip.pictures import open_picture

    probe = Probe.from_pretrained(folder)
    pictures = results.pictures()
    if not pictures:
        raise ValueError(f"{results.folder} has no pictures yet; run `dynaip bench run` first.")
    bar = progress.add_task("What the probe can see", total=len(results.manifest.cases))
    size = max(open_picture(pictures[0].path).size)
    least = MEASURABLE if least is None else least
    ceilings = measure_ceilings(results.manifest, probe, size, least, lambda: progress.advance(bar))
    if ceilings.left_out:
        progress.console.print(
            f"Left out, as the probe is right about it in less than {least:.0%} of perfect "
            "answers; here in what share of them:",
            _share_table(ceilings.left_out),
        )
    bar = progress.add_task("Scoring", total=len(pictures))
    scorer = f"probe:{hash_weights(folder)}"
    return score_truth(results, probe, scorer, ceilings, lambda: progress.advance(bar))


def _share_table(shares: Mapping[tuple[str, str], float]) -> Table:
    """A row for each way of being seen, a column for each factor."""
    from dynaip.evaluation.factors import CONCEPT_FACTORS, PICTURE_FACTORS

    order = (*CONCEPT_FACTORS, *PICTURE_FACTORS)
    factors = sorted({factor for factor, _ in shares}, key=order.index)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column(no_wrap=True)
    for factor in factors:
        table.add_column(factor.replace("_", " "), vertical="bottom")
    for seen in sorted({seen for _, seen in shares}):
        known = [shares.get((factor, seen)) for factor in factors]
        table.add_row(seen, *("" if share is None else f"{share:.3f}" for share in known))
    return table
