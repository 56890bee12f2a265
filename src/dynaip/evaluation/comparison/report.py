"""The tables of `dynaip report`: Table 1's rows with intervals, what they hide, and tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from dynaip.evaluation.agreement import krippendorff_alpha
from dynaip.evaluation.benchmarks.baselines import BASELINES
from dynaip.evaluation.benchmarks.manifest import Case
from dynaip.evaluation.benchmarks.results import Wanted
from dynaip.evaluation.comparison.estimates import (
    Estimates,
    compared,
    estimates,
)
from dynaip.evaluation.comparison.judged import Judged, judged
from dynaip.evaluation.comparison.measured import metric_table, metric_test_table
from dynaip.evaluation.comparison.paired import paired_table
from dynaip.evaluation.comparison.self_test import self_test_table
from dynaip.evaluation.comparison.sources import Source
from dynaip.evaluation.scores import COMPLETE
from dynaip.evaluation.statistics import Interval
from dynaip.evaluation.tables import Cell, Table

MEASURES = ("CP", "PF", "CP·PF", "mean of products")
SETTINGS = {"one subject": False, "several subjects": True}


def report_tables(sources: Sequence[Source], against: str | None = None) -> list[Table]:
    """All tables that the folders' scores allow: judges by protocol, then metrics.

    Args:
        sources: Result folders, one a method.
        against: Name of the method that the others are tested against; the first otherwise.

    Raises:
        ValueError: Two folders are of one method or answer different questions, none has a score,
            or no method has that name.
    """
    names = [source.results.method.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Two of the folders hold results of one method ({', '.join(names)}); give each a name "
            "of its own in its method.json."
        )
    if against is not None and against not in names:
        raise ValueError(f"No method is called {against}; choose one of {', '.join(names)}.")
    if not any(source.rows for source in sources):
        raise ValueError("None of the folders holds a score; run `dynaip judge` on them first.")
    _check_questions(sources)
    groups = _by_protocol(sources).values()
    tables = [table for group in groups for table in judged_tables(group, names, against)]
    others = (metric_table(sources), metric_test_table(sources, against), self_test_table(sources))
    tables += [table for table in others if table.rows]
    torn = [
        f"The last line of {path} was cut short and is left out."
        for s in sources
        for path in s.torn
    ]
    tables[0] = dataclasses.replace(tables[0], notes=(*tables[0].notes, *torn))
    return tables


def _check_questions(sources: Sequence[Source]) -> None:
    """Refuses folders whose cases share their ids and nothing else, as two drawn manifests do."""
    seen: dict[str, tuple[str, Case]] = {}
    for source in sources:
        name = source.results.method.name
        for case in source.results.manifest.cases:
            other, known = seen.setdefault(case.id, (name, case))
            if case.asked != known.asked:
                raise ValueError(
                    f"Case {case.id} asks {other} and {name} for different things; compare answers "
                    "to one manifest."
                )


def judged_tables(
    methods: Sequence[Judged], given: Sequence[str], against: str | None = None
) -> list[Table]:
    """All tables of methods that were judged by one protocol.

    Args:
        methods: Their judgements.
        given: Names of all methods of the report, also of those that it has not judged.
        against: Name of the method that the others are tested against; the first where this
            protocol has not judged it.
    """
    chosen = next((method for method in methods if method.name == against), methods[0])
    tables = [
        *(_main_table(methods, given, setting) for setting in SETTINGS),
        *(_judge_table(methods, setting) for setting in SETTINGS),
        _group_table(methods, "category", lambda picture: picture.case.subjects[0].kind, False),
        _group_table(methods, "combination", lambda picture: picture.case.combination, True),
        _group_table(methods, "prompt kind", lambda picture: picture.case.prompt_kind, None),
        _test_table([method for method in methods if method is not chosen], chosen),
    ]
    if len(methods) > 1 and not tables[-1].rows:
        note = (
            f"Nothing is tested against {chosen.name}: that takes a judge that saw both methods, "
            f"and a coverage of {COMPLETE:.1%} of each."
        )
        tables[0] = dataclasses.replace(tables[0], notes=(*tables[0].notes, note))
    return [table for table in tables if table.rows]


def _in_setting(method: Judged, several: bool | None) -> Bool[np.ndarray, " b"]:
    if several is None:
        return np.ones(len(method.pictures), dtype=bool)
    return (method.subjects() > 1) == several


def _cells(found: Estimates) -> tuple[Cell, ...]:
    return (*found[:4], found.coverage, found.pictures, found.clusters)


def _main_table(methods: Sequence[Judged], given: Sequence[str], setting: str) -> Table:
    rows = []
    for method in methods:
        found = estimates(method, _in_setting(method, SETTINGS[setting]))
        if found is not None:
            rows.append((method.name, *_cells(found)))
    return Table(
        title=f"{setting.capitalize()} ({methods[0].protocol})",
        columns=("method", *MEASURES, "coverage", "pictures", "clusters"),
        rows=tuple(rows),
        notes=(
            "From 0 to 1, mean of the judges. Intervals are of 95 %, by a bootstrap over "
            f"{_CLUSTERS[setting]}.",
            "CP·PF is the product of both means, as in the paper; the mean of products asks each "
            "picture to be good at both.",
            *_panel_notes(methods, given),
            *_coverage_notes(methods),
        ),
    )


_CLUSTERS = {
    "one subject": "subjects",
    "several subjects": "tuples of subjects, as if tuples that share one were independent: they "
    "are too narrow where many do",
}


def _panel_notes(methods: Sequence[Judged], given: Sequence[str]) -> list[str]:
    """Whether the rows can be compared, and with what they should be."""
    notes = []
    if len({method.judges for method in methods}) > 1:
        listed = "; ".join(f"{method.name} by {', '.join(method.judges)}" for method in methods)
        notes.append(f"Not all were judged by the same judges ({listed}): see each judge apart.")
    notes += [
        f"{judge} has not judged the {name} of {method.name}: it stopped before, or was not asked."
        for method in methods
        for name, scores in (("CP", method.cp), ("PF", method.pf))
        for index, judge in enumerate(method.judges)
        if index not in scores.judges()
    ]
    there = {method.name for method in methods}
    notes += [
        f"{name} has neither CP nor PF of the protocol {methods[0].protocol}: score it as the "
        "others were."
        for name in given
        if name not in there
    ]
    if not set(given) & set(BASELINES.values()):
        notes.append(
            "The ends of the scale are missing: a copy of the reference has a high CP, too "
            "(`dynaip bench baseline`)."
        )
    return notes


def _coverage_notes(methods: Sequence[Judged]) -> list[str]:
    """What is missing, why, and what stands in its place."""
    notes = []
    for method in methods:
        missing = int(sum((part.asked - part.scored).sum() for part in (method.cp, method.pf)))
        ends = {**method.failures, "missing": missing - method.failures.total()}
        said = ", ".join(f"{count} {end.replace('_', ' ')}" for end, count in ends.items() if count)
        if missing:
            notes.append(
                f"{method.name} lacks {missing} scores ({said}). Under a coverage of "
                f"{COMPLETE:.1%} there is no mean, but what it lies between: all of them 0, all 1."
            )
    return notes


def _judge_table(methods: Sequence[Judged], setting: str) -> Table:
    """Each judge apart; nothing if there is but one."""
    rows = []
    for method in methods:
        among = _in_setting(method, SETTINGS[setting])
        for index, judge in enumerate(method.judges):
            found = estimates(method, among, index)
            if found is not None:
                rows.append((method.name, judge, *_cells(found)))
    if len({judge for method in methods for judge in method.judges}) < 2:
        rows = []
    return Table(
        title=f"{setting.capitalize()}, each judge ({methods[0].protocol})",
        columns=("method", "judge", *MEASURES, "coverage", "pictures", "clusters"),
        rows=tuple(rows),
        notes=tuple(_agreement_notes(methods, SETTINGS[setting])),
    )


def _agreement_notes(methods: Sequence[Judged], several: bool) -> list[str]:
    """Whether the judges see the same, over a setting's pictures of all methods."""
    notes = []
    for name in ("cp", "pf"):
        values, units = [], []
        for method in methods:
            scores = getattr(method, name).values
            among = _in_setting(method, several)[:, None]
            lines, _ = seen = np.nonzero(np.isfinite(scores) & among)
            values.append(scores[seen])
            units += [f"{method.name}/{method.pictures[line].path}" for line in lines]
        alpha = krippendorff_alpha(np.concatenate(values), np.array(units), "interval")
        if np.isfinite(alpha):
            notes.append(
                f"Agreement of the judges on {name.upper()}: Krippendorff's α = {alpha:.3f}."
            )
    return notes


def _group_table(
    methods: Sequence[Judged],
    title: str,
    label: Callable[[Wanted], str | None],
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
        columns=(title, "method", *MEASURES, "coverage", "pictures", "clusters"),
        rows=tuple(rows) if len(groups) > 1 else (),
    )


def _test_table(others: Sequence[Judged], chosen: Judged) -> Table:
    found = [
        ((method.name, setting), tested)
        for method in others
        for setting, several in SETTINGS.items()
        for tested in compared(method, chosen, _in_setting(method, several))
    ]
    title = f"Against {chosen.name} ({chosen.protocol})"
    return paired_table(title, chosen.name, ["method", "setting"], found)


def trade_offs(sources: Sequence[Source]) -> dict[str, list[tuple[str, Interval, Interval]]]:
    """CP and PF with their intervals of each method; only where both have a mean.

    Returns:
        By protocol and setting, as the tables name them.
    """
    panels: dict[str, list[tuple[str, Interval, Interval]]] = {}
    for protocol, methods in _by_protocol(sources).items():
        for setting, several in SETTINGS.items():
            points = panels.setdefault(f"{setting} ({protocol})", [])
            for method in methods:
                found = estimates(method, _in_setting(method, several))
                if found and isinstance(found.cp, Interval) and isinstance(found.pf, Interval):
                    points.append((method.name, found.cp, found.pf))
    return panels


def _by_protocol(sources: Sequence[Source]) -> dict[str, list[Judged]]:
    """The methods that each protocol has judged; what different ones say cannot be compared."""
    found: dict[str, list[Judged]] = {}
    for source in sources:
        for method in judged(source.results, source.rows):
            found.setdefault(method.protocol, []).append(method)
    return found
