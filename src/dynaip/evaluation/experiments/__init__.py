"""The paper's claims as experiments, a file each, on a base trained on Toyland.

An experiment is a function of a `Laboratory` that yields rows of JSON values. Pictures wait in
files named after all that they depend on, and rows are a function of them: what was stopped goes
on, and the same checkpoints give the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dynaip.evaluation.experiments import (
    ablation,
    branches,
    denoising,
    details,
    granularity,
    intra,
    layers,
    methods,
    router,
    seeds,
    several,
    strength,
    table,
)
from dynaip.evaluation.experiments.laboratory import Laboratory, Row

EXPERIMENTS: Mapping[str, Callable[[Laboratory], Iterator[Row]]] = {
    "table": table.run,
    "ablation": ablation.run,
    "seeds": seeds.run,
    "methods": methods.run,
    "branches": branches.run,
    "denoising": denoising.run,
    "intra": intra.run,
    "details": details.run,
    "strength": strength.run,
    "granularity": granularity.run,
    "router": router.run,
    "layers": layers.run,
    "several": several.run,
}

__all__ = ["EXPERIMENTS", "Laboratory", "Row"]
