"""DDS against lambda: is decoupling more than turning the reference down (Section 4.1)?

And past the paper: is image guidance more than turning it up?
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dynaip.evaluation.ablation import Bench, Seen, followed_columns, kept_columns, tested
from dynaip.evaluation.experiments.laboratory import Laboratory, Row, about_adapter
from dynaip.evaluation.generation import OWN_WORDS, Use
from dynaip.evaluation.miniature import PROMPTED
from dynaip.evaluation.statistics import Columns, cluster_bootstrap, compare
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.granularity import frontier_statistic

SCALES = (0.25, 0.5, 1.0, 1.5)
# At 1 the pictures are those at lambda 1.
GUIDANCES = (1.0, 2.0, 3.0, 5.0)
BOTH = Use(branches="both")
# Each from the base on, with as many points, for a frontier takes the best; the first is the
# paper's.
SWEEPS: Mapping[str, Mapping[float, Use]] = {
    **{
        name: {scale: dataclasses.replace(way, scale=scale) for scale in SCALES}
        for name, way in (("image", Use()), ("both", BOTH), ("own words", OWN_WORDS))
    },
    **{
        name: {number: dataclasses.replace(way, image_guidance=number) for number in GUIDANCES}
        for name, way in (("guided", Use()), ("both guided", BOTH))
    },
}


def run(laboratory: Laboratory) -> Iterator[Row]:
    """CP and PF over lambda from 0 (the base) to 1.5, or over image guidance; their areas."""
    yield laboratory.base_row()
    sweeps: dict[str, list[Seen]] = {}
    about: Row = {}
    for name, ways in SWEEPS.items():
        uses = {f"{name}, {number:g}": use for number, use in ways.items()}
        sweeps[name] = []
        for row, seen in laboratory.seen_rows(laboratory.first, uses):
            sweeps[name].append(seen)
            about = about_adapter(row)
            yield row
    yield from ({**about, **row} for row in _areas(laboratory, sweeps))


def _areas(laboratory: Laboratory, sweeps: Mapping[str, Sequence[Seen]]) -> Iterator[Row]:
    """The areas under the frontiers; nothing where CP or PF cannot be measured."""
    bench, base = laboratory.own_bench, laboratory.base_seen
    kept = kept_columns(base, bench)
    if "cp" not in kept or not any(map(bench.reads, PROMPTED)):
        return
    clusters, before = base.reading.clusters, followed_columns(base, bench)
    _, preserved = kept["cp"]
    (points,) = {len(sweep) for sweep in sweeps.values()}
    area = frontier_statistic(points, preserved)
    first, *others = {
        name: np.concatenate([before, *(_point(seen, bench) for seen in sweep)], axis=1)
        for name, sweep in sweeps.items()
    }.items()
    yield {
        "name": "areas",
        "areas": jsonable(
            {name: cluster_bootstrap(each, clusters, area) for name, each in (first, *others)}
        ),
        "image_less": {
            name: tested(compare(first[1], each, clusters, area)) for name, each in others
        },
    }


def _point(seen: Seen, bench: Bench) -> Columns:
    """The columns of CP, then those of PF."""
    columns, _ = kept_columns(seen, bench)["cp"]
    return np.concatenate([columns, followed_columns(seen, bench)], axis=1)
