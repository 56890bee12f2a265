"""M2: what a reference passes on that it must not: pose, light and place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from dynaip.evaluation.figures import Reading
from dynaip.evaluation.statistics import (
    NOT_MEASURED,
    Interval,
    cluster_bootstrap_mean,
    cluster_bootstrap_ratio,
)


def contrast(ceiling: float, options: int) -> float:
    """Kappa: how far a probe of this ceiling tells one value from the others, C - (1-C)/(V-1)."""
    return ceiling - (1 - ceiling) / (options - 1)


def specified_leak(
    answers: Int[np.ndarray, " b"],
    reference: Int[np.ndarray, " b"],
    wanted: Int[np.ndarray, " b"],
    clusters: Shaped[np.ndarray, " b"],
    *,
    options: int,
    ceiling: float,
) -> Interval:
    """Leak of a factor that the prompt specifies, on the pictures where the reference conflicts.

    (P(read = reference) - P(read is neither) / (V - 2)) / kappa: what the generator likes to do
    anyway, and the probe's noise, fall on other values as often as on the reference's.

    Args:
        answers: The value read off each picture.
        reference: The reference picture's.
        wanted: The prompt's.
        clusters: The subject of each picture.
        options: Values of the factor, V; at least 3.
        ceiling: The probe's accuracy on round-tripped renders.

    Returns:
        Not-a-numbers where the probe reads no better than a blind guess.

    Raises:
        ValueError: Two values leave nothing to compare with.
    """
    if options < 3:
        raise ValueError("Leakage needs a factor of three or more values; measure another.")
    if contrast(ceiling, options) <= 0:
        return NOT_MEASURED
    conflict = reference != wanted
    copied = (answers == reference)[conflict]
    neither = ((answers != reference) & (answers != wanted))[conflict]
    excess = (copied - neither / (options - 2)) / contrast(ceiling, options)
    return cluster_bootstrap_mean(excess, clusters[conflict])


def unspecified_leak(
    answers: Int[np.ndarray, " b"],
    reference: Int[np.ndarray, " b"],
    clusters: Shaped[np.ndarray, " b"],
    *,
    options: int,
    ceiling: float,
) -> Interval:
    """Leak of a factor that the prompt leaves open: (P(read = reference) - 1/V) / (C - 1/V).

    References are uniform over the values, so what the generator likes best agrees with them in
    one picture of V.
    """
    copied = (answers == reference).astype(np.float64)
    return cluster_bootstrap_mean((copied - 1 / options) / (ceiling - 1 / options), clusters)


def copy_paste_index(
    read: Int[np.ndarray, "b k"],
    reference: Int[np.ndarray, "b k"],
    wanted: Int[np.ndarray, "b k"],
    clusters: Shaped[np.ndarray, " b"],
) -> Interval:
    """CPI: (d(read, wanted) - d(read, reference)) / d(reference, wanted), -1 to 1.

    Distances count the concept-agnostic factors that differ. -1 follows the prompt, 1 copies;
    pictures whose reference agrees with the prompt in everything say nothing and are left out.
    """
    apart = (reference != wanted).sum(1)
    difference = (read != wanted).sum(1) - (read != reference).sum(1)
    told = apart > 0
    return cluster_bootstrap_mean(difference[told] / apart[told], clusters[told])


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

    def score(self, specific: Sequence[str]) -> float:
        """DTS: mean diagonal of concept-specific factors less mean |diagonal| of the others."""
        diagonal = {
            name: self.matrix[self.outputs.index(name), column]
            for column, name in enumerate(self.inputs)
            if name in self.outputs
        }
        own = [value for name, value in diagonal.items() if name in specific]
        others = [abs(value) for name, value in diagonal.items() if name not in specific]
        return (float(np.mean(own)) if own else math.nan) - (
            float(np.mean(others)) if others else math.nan
        )


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


def _response(output: str, change: Intervention, null: Intervention) -> float:
    if output != change.factor:
        return _switches(output, change) - _switches(output, null)
    rows = change.after.counted(output)
    new = change.after.truths[output]
    arrived = (change.after.answers[output] == new)[rows]
    # Had nothing been changed, the new value would be there as often as it was before.
    there = (change.before.answers[output] == new)[rows]
    return float(arrived.mean() - there.mean()) if len(arrived) else math.nan


def _switches(output: str, change: Intervention) -> float:
    return float((change.before.answers[output] != change.after.answers[output]).mean())


def retention(
    made: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], clusters: np.ndarray
) -> Interval:
    """M4's PF retention: prompted factors right with the adapter, over right without it.

    Args:
        made: Per prompted factor, where it is right in the adapter's pictures.
        base: The same in the base's, of the same prompts and seeds.
        clusters: The subject of each picture.
    """
    each = [np.mean([side[name] for name in made], axis=0) for side in (made, base)]
    return cluster_bootstrap_ratio(each[0], each[1], clusters)
