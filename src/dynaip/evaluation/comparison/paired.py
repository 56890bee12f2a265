"""Paired tests of methods on the same pictures, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dynaip.evaluation.statistics import Comparison, holm
from dynaip.evaluation.tables import Cell, Table

# A difference under this is what rounding leaves of none.
ROUNDING = 1e-9


class Tested(NamedTuple):
    """One measure of one method against the chosen one, on so many pictures and clusters."""

    measure: str
    comparison: Comparison
    pictures: int
    clusters: int


def paired_table(
    title: str, chosen: str, named: Sequence[str], found: Sequence[tuple[tuple[str, ...], Tested]]
) -> Table:
    """A row for each test, with p-values adjusted over all of them.

    Args:
        title: Of the table.
        chosen: Name of the method that the others are tested against.
        named: The columns that say what a row is about.
        found: What each row is about, and its test.
    """
    adjusted = holm([tested.comparison.p for _, tested in found])
    return Table(
        title=title,
        columns=(
            *named,
            *("measure", "difference", "p", "p, Holm", "detectable", "pictures", "clusters"),
        ),
        rows=tuple(
            (*about, *_cells(tested, p)) for (about, tested), p in zip(found, adjusted, strict=True)
        ),
        notes=_notes(chosen, [tested for _, tested in found]),
    )


def _cells(tested: Tested, adjusted: float) -> tuple[Cell, ...]:
    found = tested.comparison
    return (
        tested.measure,
        found.difference,
        found.p,
        adjusted,
        # Where nothing varies, the sample says nothing of what it could have found.
        None if found.detectable < ROUNDING else found.detectable,
        tested.pictures,
        tested.clusters,
    )


def _notes(chosen: str, tests: Sequence[Tested]) -> tuple[str, ...]:
    notes = [
        f"Each method minus {chosen}, on pictures that both have scores of, by the judges that "
        "both have. p is of sign flips over clusters: subjects, or tuples of them. Holm's "
        "adjustment is over all rows.",
        "Detectable: the smallest true difference that such a sample finds at 5 %, tested by "
        "itself, in four of five cases.",
    ]
    fewest = min((tested.clusters for tested in tests), default=0)
    least = 2 * 0.5**fewest
    if tests and least * len(tests) > 0.05:
        notes.append(
            f"Flips of {fewest} clusters give no p under {least:.3g}, and Holm's over {len(tests)} "
            f"rows may be {min(1.0, least * len(tests)):.3g} even for the clearest difference: "
            "ask for more subjects."
        )
    return tuple(notes)
