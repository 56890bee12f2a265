"""Table 2 against ground truth: one row of measures for each way of making the same pictures.

Pictures wait in files that are named after what they depend on, and a row is a function of them, so
a run that was stopped goes on, and the same checkpoints give the same rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dynaip.evaluation.factors import labels
from dynaip.evaluation.figures import Reading
from dynaip.evaluation.generation import Generator, make_pictures
from dynaip.evaluation.miniature import PROMPTED, Trial, decoded, read, renders
from dynaip.evaluation.probe import Probe
from dynaip.evaluation.statistics import Interval
from dynaip.evaluation.truth.leakage import copy_paste_index, retention, specified_leak
from dynaip.evaluation.truth.preservation import preservation
from dynaip.evaluation.truth.references import CONFLICTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """What all ways of making pictures share.

    Attributes:
        trials: Of `conflict_trials`.
        probe: Reads the pictures.
        autoencoder: The base's; its round trip of the right picture is the ceiling.
        folder: Keeps the pictures.
        reference_size: Side of the references in pixels.
        batch_size: Pictures a call.
        on_pictures: Called with how many more are done.
    """

    trials: Sequence[Trial]
    probe: Probe
    autoencoder: nn.Module
    folder: Path
    reference_size: int = 64
    batch_size: int = 32
    on_pictures: Callable[[int], Any] | None = None

    def ceiling(self) -> Reading:
        """The probe on round-tripped renders."""
        size = self.probe.config.size
        return read(self.probe, self.trials, decoded(self.autoencoder, renders(self.trials, size)))

    def reading(self, name: str, generator: Generator) -> Reading:
        """The probe on a generator's pictures, of which the missing ones are made."""
        pictures = make_pictures(
            generator,
            [trial.request(self.reference_size) for trial in self.trials],
            self.folder / name,
            batch_size=self.batch_size,
            on_pictures=self.on_pictures,
        )
        return read(self.probe, self.trials, pictures)


def ablation_row(
    name: str, generator: Generator, made: Reading, base: Reading, ceiling: Reading, bench: Bench
) -> dict[str, Any]:
    """All measures of one way, as JSON values, beside what made the pictures.

    Args:
        name: Of the way.
        generator: Its identity names the checkpoint's hash and the settings.
        made: Of its pictures.
        base: Of the base's pictures, same prompts and seeds.
        ceiling: See `Bench.ceiling`.
        bench: What they share.
    """
    kept = preservation(made, ceiling)
    sources = _sources(bench)
    row: dict[str, Any] = {"name": name, **generator.identity, "pictures": len(bench.trials)}
    row["cp"] = _json(kept.overall)
    row["detail_gap"] = _json(kept.detail_gap)
    row |= {f"cp_{tier}": _json(score) for tier, score in kept.tiers.items()}
    row["factors"] = {
        factor: {**dataclasses.asdict(score), "measurable": score.measurable}
        for factor, score in kept.factors.items()
    }
    right, before = ({f: side.right(f) for f in PROMPTED} for side in (made, base))
    row["retention"] = _json(retention(right, before, made.clusters))
    row["leak"] = {
        factor: _json(
            specified_leak(
                made.answers[factor],
                sources.truths[factor],
                made.truths[factor],
                made.clusters,
                options=len(made.values[factor]),
                ceiling=float(ceiling.right(factor).mean()),
            )
        )
        for factor in PROMPTED
    }
    shown, given, wanted = (
        np.stack([side[factor] for factor in CONFLICTS], axis=1)
        for side in (made.answers, sources.truths, made.truths)
    )
    row["copy_paste"] = _json(copy_paste_index(shown, given, wanted, made.clusters))
    return row


def _sources(bench: Bench) -> Reading:
    """What is true of the pictures that references were cut from."""
    specs = [trial.source for trial in bench.trials if trial.source is not None]
    truths = labels(specs, bench.probe.config.values)
    names = np.arange(len(specs))
    return Reading(values=bench.probe.config.values, truths=truths, answers=truths, clusters=names)


def _json(interval: Interval) -> list[float | None]:
    """Value, low and high end; `null` for what was not measured."""
    return [float(part) if np.isfinite(part) else None for part in interval]
