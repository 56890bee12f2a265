"""Is a detail still there, and in which band of frequencies is it lost (M1)?

No classifier is asked. Prompts name the whole view and the category, so that the render of what is
asked for can be laid over a picture: what is left to the reference is how the subject looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from dynaip.evaluation.ablation import ratio_differences
from dynaip.evaluation.experiments.branches import changed
from dynaip.evaluation.experiments.laboratory import Laboratory, Row
from dynaip.evaluation.experiments.table import WAYS
from dynaip.evaluation.factors import CONCEPT_FACTORS
from dynaip.evaluation.miniature import Trial, decoded
from dynaip.evaluation.statistics import Columns, cluster_bootstrap, mean_columns, ratio
from dynaip.evaluation.tables import jsonable
from dynaip.evaluation.truth.details import BANDS, band_correlations, prefers
from dynaip.evaluation.truth.references import (
    SINGLE,
    Draw,
    Show,
    blurred,
    oracle,
    without_subject,
)
from dynaip.miniature.toyland import Spec, caption, render
from dynaip.miniature.toyland.spec import AGNOSTIC

# What a twin may differ in: all that prompts leave to the reference.
TWINS = tuple(name for name in CONCEPT_FACTORS if name != "category")
BAND_NAMES = ("finest", *(str(band) for band in range(2, BANDS)), "coarsest")
# Prompts place a subject to within a few pixels.
SHIFTS = 5
BLUR = 1.0  # pixels
STREAM = 23

Pictures = UInt8[ndarray, "b y x 3"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Renders of what the trials ask for, and of what it could be taken for.

    Attributes:
        pictures: The renders.
        masks: Of the subject.
        twins: By factor, the same with another value of it.
        ceiling: Correlation of the autoencoder's round trip in each band.
        clusters: Who is in the picture.
    """

    pictures: Pictures
    masks: Bool[ndarray, "b y x"]
    twins: Mapping[str, Pictures]
    ceiling: Float[ndarray, "b bands"]
    clusters: ndarray


def run(laboratory: Laboratory) -> Iterator[Row]:
    """Fidelity by band and choices between twins: known systems, the base, and each adapter."""
    trials = [_told(trial) for trial in laboratory.trials]
    requests = [trial.request(laboratory.reference_size) for trial in trials]
    size, vae = laboratory.probe.config.size, laboratory.pipe.vae
    wanted = _wanted(trials, size, partial(decoded, vae))
    base = laboratory.base.identity
    for name, (show, draw) in _systems(size).items():
        shown = decoded(vae, np.stack([draw(show(trial)) for trial in trials]))
        about = {"name": name, "reference system": name, "base": base["base"]}
        yield _row(about, _columns(shown, wanted), wanted)
    made = laboratory.pictures("base", laboratory.base, requests)
    measured = [({"name": "base", **base}, _columns(made, wanted))]
    for adapter in laboratory.adapters:
        with laboratory.attached(adapter) as (_, put):
            for name, use in WAYS.items():
                way = put(use)
                made = laboratory.pictures(adapter, way, requests)
                about = {"variant": adapter, "name": name, **way.identity}
                measured.append((about, _columns(made, wanted)))
    # The first adapter with DDS.
    method = measured[1][1]
    for about, columns in measured:
        row = _row(about, columns, wanted)
        if columns is not method:
            row["against_method"] = ratio_differences(columns, method, wanted.clusters)
        yield row


def _told(trial: Trial) -> Trial:
    """The trial with a prompt that leaves nothing open but how the subject looks."""
    rng = np.random.default_rng([STREAM, trial.seed])
    prompt = caption(trial.target, rng, name=(*AGNOSTIC, "category"))
    return dataclasses.replace(trial, prompt=prompt, named=True)


def _systems(size: int) -> dict[str, tuple[Show, Draw]]:
    """Systems of known worth, each with what it draws with."""
    draw: Callable[[Spec], Any] = partial(_draw, size=size)
    return {
        **{name: (show, draw) for name, show in SINGLE.items()},
        "B3 blurred": (oracle, blurred(BLUR, draw)),
        "B7 blank": (oracle, without_subject(draw)),
    }


def _draw(spec: Spec, size: int) -> UInt8[ndarray, "y x 3"]:
    return render(spec, size).image


def _wanted(trials: Sequence[Trial], size: int, restored: Callable[[Pictures], Pictures]) -> Wanted:
    drawn = [render(trial.target, size) for trial in trials]
    pictures = np.stack([each.image for each in drawn])
    masks = np.stack([each.masks[0] for each in drawn])
    # Twins of what is asked for, not of what the reference was cut from.
    own = [dataclasses.replace(trial, source=trial.target) for trial in trials]
    return Wanted(
        pictures=pictures,
        masks=masks,
        twins={
            factor: np.stack([_draw(changed(trial, factor), size) for trial in own])
            for factor in TWINS
        },
        ceiling=_fidelity(restored(pictures), pictures, masks),
        clusters=np.array([repr(trial.target.actors[0].concept) for trial in trials]),
    )


def _fidelity(
    pictures: Pictures, wanted: Pictures, masks: Bool[ndarray, "b y x"]
) -> Float[ndarray, "b bands"]:
    each = zip(pictures, wanted, masks, strict=True)
    return np.stack([band_correlations(*one, shifts=SHIFTS) for one in each])


def _columns(pictures: Pictures, wanted: Wanted) -> dict[str, Columns]:
    """Columns of the `ratio` that each measure is."""
    found = _fidelity(pictures, wanted.pictures, wanted.masks)
    bands = {
        f"BRF {name}": np.stack([found[:, band], wanted.ceiling[:, band]], axis=1)
        for band, name in enumerate(BAND_NAMES)
    }
    choices = {
        f"2AFC {factor}": mean_columns(_chosen(pictures, wanted, factor)) for factor in TWINS
    }
    return bands | choices


def _chosen(pictures: Pictures, wanted: Wanted, factor: str) -> Float[ndarray, " b"]:
    """1 for pictures that are nearer to their subject than to its twin, else 0."""
    each = zip(pictures, wanted.pictures, wanted.twins[factor], wanted.masks, strict=True)
    return np.array([prefers(*one, shifts=SHIFTS) for one in each], float)


def _row(about: Row, columns: Mapping[str, Columns], wanted: Wanted) -> Row:
    measures = {
        name: jsonable(cluster_bootstrap(each, wanted.clusters, ratio))
        for name, each in columns.items()
    }
    return {**about, "pictures": len(wanted.pictures), "details": measures}
