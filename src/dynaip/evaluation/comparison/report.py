"""The tables of `dynaip report`: Table 1's rows with intervals, what they hide, and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from dynaip.evaluation.agreement import krippendorff_alpha
from dynaip.evaluation.comparison.estimates import COVERAGE, Estimates, compared, estimates
from dynaip.evaluation.comparison.judged import Judged, Requested
from dynaip.evaluation.statistics import holm
from dynaip.evaluation.tables import Cell, Table

MEASURES = ("CP", "PF", "CP·PF", "mean of products")
SETTINGS = {"one subject": False, "several subjects": True}


def judged_tables(methods: Sequence[Judged], against: str | None = None) -> list[Table]:
    """All tables of methods that were judged by one protocol.

    Args:
        methods: Their judgements.
        against: Name of the method that the others are tested against; the first otherwise.

    Raises:
        ValueError: There is no method of that name.
    """
    names = [method.name for method in methods]
    if against is not None and against not in names:
        raise ValueError(f"No method is called {against}; choose one of {', '.join(names)}.")
    chosen = methods[names.index(against)] if against else methods[0]
    tables = [
        *(_main_table(methods, setting) for setting in SETTINGS),
        *(_judge_table(methods, setting) for setting in SETTINGS),
        _group_table(methods, "category", lambda picture: picture.case.subjects[0].kind, False),
        _group_table(methods, "combination", lambda picture: picture.case.combination, True),
        _group_table(methods, "prompt kind", lambda picture: picture.case.prompt_kind, None),
        _test_table([method for method in methods if method is not chosen], chosen),
    ]
    return [table for table in tables if table.rows]


def _in_setting(method: Judged, several: bool | None) -> Bool[np.ndarray, " b"]:
    if several is None:
        return np.ones(len(method.pictures), dtype=bool)
    return (method.subjects() > 1) == several


def _cells(found: Estimates) -> tuple[Cell, ...]:
    return (*found[:4], found.coverage, found.pictures)


def _main_table(methods: Sequence[Judged], setting: str) -> Table:
    rows = []
    for method in methods:
        found = estimates(method, _in_setting(method, SETTINGS[setting]))
        if found is not None:
            rows.append((method.name, *_cells(found)))
    return Table(
        title=f"{setting.capitalize()} ({methods[0].protocol})",
        columns=("method", *MEASURES, "coverage", "pictures"),
        rows=tuple(rows),
        notes=(
            "From 0 to 1, mean of the judges. Intervals are of 95 %, from a bootstrap over subjects.",
            "CP·PF is the product of both means, as in the paper; the mean of products asks each "
            "picture to be good at both.",
            *_coverage_notes(methods),
        ),
    )


def _coverage_notes(methods: Sequence[Judged]) -> list[str]:
    notes = []
    for method in methods:
        missing = int(sum((part.asked - part.scored).sum() for part in (method.cp, method.pf)))
        if not missing:
            continue
        ends = {**method.failures, "never asked": missing - method.failures.total()}
        said = ", ".join(
            f"{count} {status.replace('_', ' ')}" for status, count in ends.items() if count
        )
        notes.append(
            f"{method.name}: {missing} scores are missing ({said}); under a coverage of {COVERAGE:.1%} "
            "bounds stand in place of a mean, with all of them 0 and with all of them 1."
        )
    return notes


def _judge_table(methods: Sequence[Judged], setting: str) -> Table:
    """Each judge apart; nothing if no method has two."""
    rows = []
    for method in methods:
        among = _in_setting(method, SETTINGS[setting])
        for index, judge in enumerate(method.judges):
            found = estimates(method, among, index)
            if found is not None and len(method.judges) > 1:
                rows.append((method.name, judge, *_cells(found)))
    return Table(
        title=f"{setting.capitalize()}, each judge ({methods[0].protocol})",
        columns=("method", "judge", *MEASURES, "coverage", "pictures"),
        rows=tuple(rows),
        notes=tuple(_agreement_notes(methods)),
    )


def _agreement_notes(methods: Sequence[Judged]) -> list[str]:
    """Whether the judges see the same, over the pictures of all methods."""
    notes = []
    for name in ("cp", "pf"):
        values, units = [], []
        for method in methods:
            scores = getattr(method, name).values
            lines, _ = seen = np.nonzero(np.isfinite(scores))
            values.append(scores[seen])
            units += [f"{method.name}/{method.pictures[line].key}" for line in lines]
        alpha = krippendorff_alpha(np.concatenate(values), np.array(units), "interval")
        if np.isfinite(alpha):
            notes.append(
                f"Agreement of the judges on {name.upper()}: Krippendorff's α = {alpha:.3f}."
            )
    return notes


def _group_table(
    methods: Sequence[Judged],
    title: str,
    label: Callable[[Requested], str | None],
    several: bool | None,
) -> Table:
    """A row for each method and group; nothing if the manifest knows no two groups."""
    rows = []
    for method in methods:
        among = _in_setting(method, several)
        labels = np.array([label(picture) or "" for picture in method.pictures])
        for group in dict.fromkeys(labels[among].tolist()):
            found = estimates(method, among & (labels == group))
            if found is not None and group:
                rows.append((group, method.name, *_cells(found)))
    groups = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: groups.index(row[0]))
    return Table(
        title=f"By {title} ({methods[0].protocol})",
        columns=(title, "method", *MEASURES, "coverage", "pictures"),
        rows=tuple(rows) if len(groups) > 1 else (),
    )


def _test_table(others: Sequence[Judged], chosen: Judged) -> Table:
    found = [
        (method.name, setting, tested)
        for method in others
        for setting, several in SETTINGS.items()
        for tested in compared(method, chosen, _in_setting(method, several))
    ]
    adjusted = holm([tested.comparison.p for _, _, tested in found])
    return Table(
        title=f"Against {chosen.name} ({chosen.protocol})",
        columns=(
            "method",
            "setting",
            "measure",
            "difference",
            "p",
            "p, Holm",
            "detectable",
            "pictures",
        ),
        rows=tuple(
            (
                name,
                setting,
                tested.measure,
                tested.comparison.difference,
                tested.comparison.p,
                p,
                tested.comparison.detectable,
                tested.pictures,
            )
            for (name, setting, tested), p in zip(found, adjusted, strict=True)
        ),
        notes=(
            f"Each method minus {chosen.name}, on pictures that both were judged on. p is of sign "
            "flips over subjects; Holm's adjustment is over all rows.",
            "Detectable: the smallest true difference that such a sample finds at 5 % in four of "
            "five cases.",
        ),
    )
