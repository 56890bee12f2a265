"""M3: whether each of several subjects keeps its own identity, and how it fails if not."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from dynaip.evaluation.statistics import (
    NOT_MEASURED,
    Interval,
    cluster_bootstrap,
    cluster_bootstrap_mean,
)
from dynaip.evaluation.truth.leakage import contrast

Outcome = Literal["omission", "duplication", "swap", "dominance", "blend", "drift", "correct"]
OUTCOMES: tuple[Outcome, ...] = (
    "omission",
    "duplication",
    "swap",
    "dominance",
    "blend",
    "drift",
    "correct",
)
LIGHT_ANGLES = {"right": 0.0, "above": 90.0, "left": 180.0, "below": 270.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cast:
    """What was asked for and read, of pictures with N subjects each, slots from left to right.

    Instances are matched to slots by where they are, never by who they look like.

    Attributes:
        options: Number of values of each factor.
        wanted: True value of each slot's subject.
        read: Value read in each slot; whatever where nobody was found.
        present: Where somebody was found.
        light: Where the light on each subject comes from, in radians; not a number where nobody
            was found.
        extra: Instances found beyond the slots.
        clusters: Name of each picture's cast.
    """

    options: Mapping[str, int]
    wanted: Mapping[str, Int[np.ndarray, "b n"]]
    read: Mapping[str, Int[np.ndarray, "b n"]]
    present: Bool[np.ndarray, "b n"]
    light: Float[np.ndarray, "b n"]
    extra: Int[np.ndarray, " b"]
    clusters: Shaped[np.ndarray, " b"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """Of the slots and factors that tell a subject from another: whose value is there.

    Attributes:
        own, other, novel: Its own, another reference's, nobody's; they sum to 1.
        confusion: ICR, (other - novel m / (V - 1 - m)) / kappa, where the others have m values that
            are not a subject's own: 0 under pure drift. Of two subjects m is 1.
    """

    own: float
    other: float
    novel: float
    confusion: Interval


def identity_shares(cast: Cast, ceilings: Mapping[str, float]) -> Shares:
    """Own, other and novel values where subjects differ, and the rate of confusion (ICR).

    A slot in which nobody was found has no value; it is an omission, see `outcomes`.

    Args:
        cast: What was asked for and read.
        ceilings: The probe's accuracy on each factor.
    """
    counts = np.zeros(3)
    excess, clusters = [], []
    for factor, options in cast.options.items():
        if options < 3:
            continue
        wanted, read = cast.wanted[factor], cast.read[factor]
        own = read == wanted
        others = _is_anothers(read, wanted)
        asked = cast.present & (wanted != wanted[:, :1]).any(1, keepdims=True)
        other = others & ~own & asked
        novel = ~own & ~others & asked
        counts += [(own & asked).sum(), other.sum(), novel.sum()]
        # Of V - 1 values that are not its own, so many are another's: drift falls on them as often.
        foreign = _distinct_others(wanted)
        drifted = foreign / np.maximum(options - 1 - foreign, 1)
        values = (other - novel * drifted) / contrast(ceilings[factor], options)
        excess.append(values[asked])
        clusters.append(np.broadcast_to(cast.clusters[:, None], asked.shape)[asked])
    total = counts.sum()
    if not total:
        return Shares(own=math.nan, other=math.nan, novel=math.nan, confusion=NOT_MEASURED)
    own, other, novel = counts / total
    interval = cluster_bootstrap_mean(np.concatenate(excess), np.concatenate(clusters))
    return Shares(own=own, other=other, novel=novel, confusion=interval)


def _distinct_others(wanted: Int[np.ndarray, "b n"]) -> Int[np.ndarray, "b n"]:
    """How many values, not a slot's own, the other slots' subjects have."""
    counts = [[len(set(row.tolist()) - {value}) for value in row.tolist()] for row in wanted]
    return np.array(counts)


def _is_anothers(
    read: Int[np.ndarray, "b n"], wanted: Int[np.ndarray, "b n"]
) -> Bool[np.ndarray, "b n"]:
    """Where the value is that of another slot's subject."""
    same = read[:, :, None] == wanted[:, None, :]
    return (same & ~np.eye(wanted.shape[1], dtype=bool)).any(2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a correct picture rarely exceeds.

    Attributes:
        blend: Log-likelihood that a mixture of references gains over the best single one.
        drift: Log-likelihood that the best single reference must have.
    """

    blend: float
    drift: float


def outcomes(
    cast: Cast, confusions: Mapping[str, Float[np.ndarray, "v v"]], thresholds: Thresholds
) -> list[Outcome]:
    """The one thing that became of each picture, the first of `OUTCOMES` that fits.

    Args:
        cast: What was asked for and read.
        confusions: Per factor P(read | true), a row per true value; no zeros.
        thresholds: Of `calibrate`.
    """
    single, mixture = _likelihoods(cast, confusions)
    best, winner = single.max(2), single.argmax(2)
    # Values of nobody are likelier of one reference than of another by a hair: a mixture explains a
    # picture only where it explains as much as a correct one is explained.
    blended = (mixture - best > thresholds.blend) & (mixture >= thresholds.drift)
    drifted = best < thresholds.drift
    return [
        _outcome(winner[row], cast.present[row], int(cast.extra[row]), blended[row], drifted[row])
        for row in range(len(single))
    ]


def _outcome(
    winner: Int[np.ndarray, " n"],
    present: Bool[np.ndarray, " n"],
    extra: int,
    blended: Bool[np.ndarray, " n"],
    drifted: Bool[np.ndarray, " n"],
) -> Outcome:
    """Of one picture. A slot that no single reference explains votes for none."""
    if not present.all():
        return "omission"
    if extra:
        return "duplication"
    clear = winner[~blended & ~drifted].tolist()
    if len(set(clear)) == len(winner) and clear != sorted(clear):
        return "swap"
    if len(set(clear)) < len(clear):
        return "dominance"
    if blended.any():
        return "blend"
    if drifted.any():
        return "drift"
    return "correct"


def calibrate(
    cast: Cast, confusions: Mapping[str, Float[np.ndarray, "v v"]], level: float = 0.05
) -> Thresholds:
    """Thresholds that few correct pictures, such as oracle composites, would fail.

    Args:
        cast: Correct pictures; those in which somebody was not found, or too many were, are left
            out, as `outcomes` never asks them.
        confusions: See `outcomes`.
        level: Share of false alarms of each of the two, over a picture's slots together.
    """
    single, mixture = _likelihoods(cast, confusions)
    whole = cast.present.all(1) & (cast.extra == 0)
    if whole.any():
        single, mixture = single[whole], mixture[whole]
    best = single.max(2)
    gain = (mixture - best).max(1)
    return Thresholds(
        blend=float(np.quantile(gain, 1 - level)), drift=float(np.quantile(best.min(1), level))
    )


def _likelihoods(
    cast: Cast, confusions: Mapping[str, Float[np.ndarray, "v v"]]
) -> tuple[Float[np.ndarray, "b n n"], Float[np.ndarray, "b n"]]:
    """Of what each slot shows: under each reference, and under the best mixture of them."""
    total, mixture = 0.0, 0.0
    for factor in cast.options:
        wanted, read = cast.wanted[factor], cast.read[factor]
        logs = np.log(confusions[factor])[wanted[:, None, :], read[:, :, None]]
        total = total + logs
        mixture = mixture + logs.max(2)
    return np.asarray(total), np.asarray(mixture)


def composition_gap(
    together: Bool[np.ndarray, "b n"],
    alone: Bool[np.ndarray, "b n"],
    clusters: Shaped[np.ndarray, " b"],
) -> Interval:
    """P(all N right) less the product of what each would reach alone in a box of the same size.

    Args:
        together: Where each subject is right in the picture of all.
        alone: Where it is right by itself, drawn as large.
        clusters: Name of each picture's cast.

    Returns:
        Negative where company costs more than being right so often by chance explains.
    """
    columns = np.column_stack([together.all(1), alone, np.ones(len(alone))]).astype(np.float64)

    def gap(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        shares = sums[..., :-1] / sums[..., -1:]
        return shares[..., 0] - shares[..., 1:].prod(-1)

    return cluster_bootstrap(columns, clusters, gap)


def light_harmony(light: Float[np.ndarray, "b n"], clusters: Shaped[np.ndarray, " b"]) -> Interval:
    """H: length of the mean direction of light over each picture's subjects, averaged; 1 agrees.

    Args:
        light: Of each subject, in radians; a picture with one that is not a number does not count.
        clusters: Name of each picture's cast.
    """
    return cluster_bootstrap_mean(np.abs(np.exp(1j * light).mean(1)), clusters)


def harmony_by_chance(subjects: int) -> float:
    """H where every subject stands in a light of its own, each direction equally likely."""
    angles = np.radians(list(itertools.product(LIGHT_ANGLES.values(), repeat=subjects)))
    return float(np.abs(np.exp(1j * angles).mean(1)).mean())
