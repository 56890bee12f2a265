"""M2: what a reference passes on that it must not: pose, light and place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from dynaip.evaluation.figures import Reading
from dynaip.evaluation.statistics import (
    NOT_MEASURED,
    Interval,
    cluster_bootstrap,
    mean_columns,
    ratio,
)


def contrast(ceiling: float, options: int) -> float:
    """Kappa: how far a probe of this ceiling tells one value from the others, C - (1-C)/(V-1)."""
    return ceiling - (1 - ceiling) / (options - 1)


def specified_leak(
    answers: Int[np.ndarray, " b"],
    reference: Int[np.ndarray, " b"],
    wanted: Int[np.ndarray, " b"],
    *,
    options: int,
    ceiling: float,
) -> Float[np.ndarray, " b"]:
    """Leak of a factor that the prompt specifies, on the pictures where the reference conflicts.

    (P(read = reference) - P(read is neither) / (V - 2)) / kappa: what the generator likes to do
    anyway, and the probe's noise, fall on other values as often as on the reference's.

    Args:
        answers: The value read off each picture.
        reference: The reference picture's.
        wanted: The prompt's.
        options: Values of the factor, V; at least 3.
        ceiling: The probe's accuracy on round-tripped renders.

    Returns:
        What each picture adds to the mean, which is the leak; not a number where the reference
        agrees with the prompt, and everywhere if the probe reads no better than a blind guess.

    Raises:
        ValueError: Two values leave nothing to compare with.
    """
    if options < 3:
        raise ValueError("Leakage needs a factor of three or more values; measure another.")
    if contrast(ceiling, options) <= 0:
        return np.full(len(answers), np.nan)
    neither = (answers != reference) & (answers != wanted)
    excess = ((answers == reference) - neither / (options - 2)) / contrast(ceiling, options)
    return np.where(reference != wanted, excess, np.nan)


def unspecified_leak(
    answers: Int[np.ndarray, " b"],
    reference: Int[np.ndarray, " b"],
    *,
    options: int,
    ceiling: float,
) -> Float[np.ndarray, " b"]:
    """Leak of a factor that the prompt leaves open: (P(read = reference) - P0) / (C - P0).

    P0 is how often other pictures' references agree, the permutation of all references: what the
    generator likes best agrees with its own no more often than with those. Returns what each
    picture adds to the mean; not numbers where the probe reads no better than that.

    Args:
        answers: The value read off each picture.
        reference: The reference picture's.
        options: Values of the factor.
        ceiling: The probe's accuracy on round-tripped renders, C.
    """
    shares = np.bincount(reference, minlength=options) / len(reference)
    by_chance = shares[answers]
    room = ceiling - by_chance.mean()
    if room <= 0:
        return np.full(len(answers), np.nan)
    return ((answers == reference) - by_chance) / room


def _from_chance(
    right: Bool[np.ndarray, " b"], options: int, ceiling: float
) -> Float[np.ndarray, " b"]:
    """0 on average at chance, 1 at the ceiling."""
    room = ceiling - 1 / options
    return (right - 1 / options) / room if room > 0 else np.full(len(right), np.nan)


def copy_paste_index(
    read: Int[np.ndarray, "b k"],
    reference: Int[np.ndarray, "b k"],
    wanted: Int[np.ndarray, "b k"],
) -> Float[np.ndarray, " b"]:
    """CPI: (d(read, wanted) - d(read, reference)) / d(reference, wanted), -1 to 1.

    Distances count the factors that differ, of those that the prompt specifies. -1 follows the
    prompt, 1 copies. Of each picture; not a number where the reference agrees with the prompt in
    everything.
    """
    apart = (reference != wanted).sum(1)
    difference = (read != wanted).sum(1) - (read != reference).sum(1)
    return np.where(apart > 0, difference / np.maximum(apart, 1), np.nan)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervention:
    """Pictures before and after one factor of the reference was changed; prompt and seed stay.

    Attributes:
        factor: The one that was changed.
        before: Read with the reference as it was.
        after: Read with the changed one; its truths are the changed reference's values.
    """

    factor: str
    before: Reading
    after: Reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """The interventional transfer matrix.

    Attributes:
        outputs: Names of the rows: factors of the picture.
        inputs: Names of the columns: factors of the reference that were changed.
        matrix: On the diagonal how much more often the new value appears, elsewhere how much more
            often the factor changes at all, than in the null.
    """

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    matrix: Float[np.ndarray, "outputs inputs"]


def transfer(interventions: Sequence[Intervention], null: Intervention) -> Transfer:
    """T_jk: how output factor j answers a change of the reference's factor k.

    Args:
        interventions: One for each changed factor.
        null: Pictures of the unchanged reference, made twice in the way that a change of reference
            may disturb them: what changes there is no answer.
    """
    outputs = tuple(null.before.values)
    matrix = np.array(
        [[_response(output, change, null) for change in interventions] for output in outputs]
    )
    return Transfer(
        outputs=outputs, inputs=tuple(change.factor for change in interventions), matrix=matrix
    )


def transfer_score(
    interventions: Sequence[Intervention], specific: Sequence[str], readable: Collection[str]
) -> Interval:
    """DTS: mean diagonal of concept-specific factors less mean |diagonal| of the others.

    Args:
        interventions: One for each changed factor, all on the same trials.
        specific: Factors that a reference should pass on.
        readable: Factors that are read well enough; others are left out.

    Returns:
        With an interval over subjects; not measured where either kind has no factor. The size of
        what is truly 0 is above 0 in every sample, so the interval reaches further down than up.
    """
    chosen = [change for change in interventions if change.factor in readable]
    own = np.array([change.factor in specific for change in chosen])
    if own.all() or not own.any():
        return NOT_MEASURED
    columns = np.concatenate([mean_columns(arrivals(change)) for change in chosen], axis=1)

    def score(sums: Float[np.ndarray, "draws columns"]) -> Float[np.ndarray, " draws"]:
        diagonal = np.stack([ratio(pair) for pair in np.split(sums, len(chosen), axis=1)], axis=1)
        return diagonal[:, own].mean(1) - np.abs(diagonal[:, ~own]).mean(1)

    return cluster_bootstrap(columns, chosen[0].before.clusters, score)


def arrivals(change: Intervention) -> Float[np.ndarray, " b"]:
    """Where the changed factor's new value appeared, less where it was there before.

    The mean is the matrix's diagonal: had nothing been changed, the new value would be there as
    often as it was. Not a number where the new value has no name.
    """
    new = change.after.truths[change.factor]
    arrived = change.after.answers[change.factor] == new
    there = change.before.answers[change.factor] == new
    counted = change.after.counted(change.factor)
    return np.where(counted, arrived.astype(float) - there, np.nan)


def _response(output: str, change: Intervention, null: Intervention) -> float:
    if output != change.factor:
        return _switches(output, change) - _switches(output, null)
    answered = arrivals(change)
    return float(np.nanmean(answered)) if np.isfinite(answered).any() else math.nan


def _switches(output: str, change: Intervention) -> float:
    return float((change.before.answers[output] != change.after.answers[output]).mean())


def following(
    right: Mapping[str, Bool[np.ndarray, " b"]],
    ceilings: Mapping[str, float],
    options: Mapping[str, int],
) -> Float[np.ndarray, " b"]:
    """M4's PF of each picture: prompted factors right, between chance and ceiling, their mean.

    Args:
        right: Per prompted factor, where it is.
        ceilings: The probe's accuracy on each.
        options: Values of each.
    """
    return np.mean(
        [_from_chance(right[name], options[name], ceilings[name]) for name in right], axis=0
    )
