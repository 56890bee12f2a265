"""Manual coefficients: each level alone, and a grid of mixtures (Sections B.4 and B.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from dynaip.evaluation.ablation import Seen, kept_columns
from dynaip.evaluation.experiments.laboratory import Laboratory, Row, about_adapter
from dynaip.evaluation.generation import Use
from dynaip.evaluation.statistics import Statistic, cluster_bootstrap
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.granularity import slope_statistic
from dynaip.evaluation.truth.preservation import TIERS

LEVELS = ("low", "mid", "high")
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
    slope = {
        (tier, level): slope_statistic(of_level, kept[0][f"cp_{tier}"][1])
        for tier in tiers
        for level, of_level in zip(LEVELS, zip(*weights, strict=True), strict=True)
    }
    row: Row = {
        "name": "slopes",
        "slopes": {
            tier: {
                level: jsonable(cluster_bootstrap(columns[tier], clusters, slope[tier, level]))
                for level in LEVELS
            }
            for tier in tiers
        },
    }
    if {"coarse", "fine"} <= set(tiers):
        both = np.concatenate([columns["fine"], columns["coarse"]], axis=1)
        parting = columns["fine"].shape[1]
        more = _less(slope["fine", "low"], slope["coarse", "low"], parting)
        row["low_on_fine_less_coarse"] = jsonable(cluster_bootstrap(both, clusters, more))
    yield row


def _less(first: Statistic, second: Statistic, parting: int) -> Statistic:
    """One statistic less another, of sums that lie side by side."""

    def difference(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        return first(sums[:, :parting]) - second(sums[:, parting:])

    return difference
