"""DDS against lambda: is decoupling more than turning the reference down (Section 4.1)?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from dynaip.evaluation.ablation import Bench, Seen, followed_columns, kept_columns, tested
from dynaip.evaluation.experiments.laboratory import Laboratory, Row, about_adapter
from dynaip.evaluation.experiments.table import WAYS
from dynaip.evaluation.miniature import PROMPTED
from dynaip.evaluation.statistics import Columns, cluster_bootstrap, compare
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.granularity import frontier_statistic

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def run(laboratory: Laboratory) -> Iterator[Row]:
    """CP and PF over lambda from 0 (the base) to 1.5, for each of the `WAYS`; their areas."""
    yield laboratory.base_row()
    sweeps: list[list[Seen]] = []
    about: Row = {}
    for name, way in WAYS.items():
        uses = {f"{name}, {scale:g}": dataclasses.replace(way, scale=scale) for scale in SCALES}
        sweeps.append([])
        for row, seen in laboratory.seen_rows(laboratory.first, uses):
            sweeps[-1].append(seen)
            about = about_adapter(row)
            yield row
    yield from ({**about, **row} for row in _areas(laboratory, sweeps))


def _areas(laboratory: Laboratory, sweeps: Sequence[Sequence[Seen]]) -> Iterator[Row]:
    """The areas under the frontiers; nothing where CP or PF cannot be measured."""
    bench, base = laboratory.own_bench, laboratory.base_seen
    kept = kept_columns(base, bench)
    if "cp" not in kept or not any(map(bench.reads, PROMPTED)):
        return
    clusters, before = base.reading.clusters, followed_columns(base, bench)
    _, preserved = kept["cp"]
    area = frontier_statistic(len(SCALES), preserved)
    columns = [
        np.concatenate([before, *(_point(seen, bench) for seen in sweep)], axis=1)
        for sweep in sweeps
    ]
    areas = [cluster_bootstrap(each, clusters, area) for each in columns]
    yield {
        "name": "areas",
        "areas": jsonable(dict(zip(WAYS, areas, strict=True))),
        "image_less": {
            way: tested(compare(columns[0], each, clusters, area))
            for way, each in list(zip(WAYS, columns, strict=True))[1:]
        },
    }


def _point(seen: Seen, bench: Bench) -> Columns:
    """The columns of CP, then those of PF."""
    columns, _ = kept_columns(seen, bench)["cp"]
    return np.concatenate([columns, followed_columns(seen, bench)], axis=1)
