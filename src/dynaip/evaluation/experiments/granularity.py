"""Manual coefficients: each level alone, and a grid of mixtures (Sections B.4 and B.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dynaip.adapter.choices import LEVELS
from dynaip.evaluation.ablation import Seen, kept_columns
from dynaip.evaluation.experiments.laboratory import Laboratory, Row, about_adapter
from dynaip.evaluation.generation import Use
from dynaip.evaluation.statistics import cluster_bootstrap, difference_statistic
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.granularity import isotonic_slope, slope_statistic
from dynaip.evaluation.truth.preservation import TIERS

# Weights in thirds: the three levels alone, six mixtures of two, and all alike.
PARTS = 3


def run(laboratory: Laboratory) -> Iterator[Row]:
    """The router's own choice, then every mixture of low, mid and high in thirds; their slopes."""
    uses = {"router": Use()}
    for low in range(PARTS + 1):
        for mid in range(PARTS + 1 - low):
            parts = (low, mid, PARTS - low - mid)
            weights = (low / PARTS, mid / PARTS, (PARTS - low - mid) / PARTS)
            uses["/".join(str(part) for part in parts)] = Use(granularity=weights)
    made: list[Seen] = []
    about: Row = {}
    for row, seen in laboratory.seen_rows(laboratory.first, uses):
        made.append(seen)
        about = about_adapter(row)
        yield row
    _, *manual = made
    weights = [use.granularity for use in uses.values() if use.granularity]
    yield from ({**about, **row} for row in _slopes(laboratory, manual, weights))


def _slopes(
    laboratory: Laboratory, made: Sequence[Seen], weights: Sequence[tuple[float, float, float]]
) -> Iterator[Row]:
    """How each tier that can be measured rises with each level; nothing without such a tier."""
    kept = [kept_columns(seen, laboratory.own_bench) for seen in made]
    tiers = [tier for tier in TIERS if f"cp_{tier}" in kept[0]]
    if not tiers:
        return
    clusters = made[0].reading.clusters
    columns = {t: np.concatenate([way[f"cp_{t}"][0] for way in kept], axis=1) for t in tiers}
    of_levels = dict(zip(LEVELS, zip(*weights, strict=True), strict=True))
    slope = {
        (tier, level): slope_statistic(of_level, kept[0][f"cp_{tier}"][1])
        for tier in tiers
        for level, of_level in of_levels.items()
    }
    row: Row = {"name": "slopes", "isotonic": {}, "slopes": {}}
    for tier in tiers:
        each = (way[f"cp_{tier}"] for way in kept)
        scores = [float(score(part.sum(0, keepdims=True))[0]) for part, score in each]
        row["isotonic"][tier] = {
            level: jsonable(isotonic_slope(of_level, scores))
            for level, of_level in of_levels.items()
        }
        row["slopes"][tier] = {
            level: jsonable(cluster_bootstrap(columns[tier], clusters, slope[tier, level]))
            for level in LEVELS
        }
    if {"coarse", "fine"} <= set(tiers):
        both = np.concatenate([columns["fine"], columns["coarse"]], axis=1)
        more = difference_statistic(
            slope["fine", "low"], slope["coarse", "low"], columns["fine"].shape[1]
        )
        row["low_on_fine_less_coarse"] = jsonable(cluster_bootstrap(both, clusters, more))
    yield row
