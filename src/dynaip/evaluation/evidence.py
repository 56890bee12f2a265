"""The page of evidence: rows of experiments as tables, each number traceable to its row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.evaluation.figures import MEASURABLE
from dynaip.evaluation.miniature import PROMPTED
from dynaip.evaluation.statistics import Interval
from dynaip.evaluation.tables import Cell, Table, markdown
from dynaip.evaluation.truth.granularity import frontier_area, isotonic_slope
from dynaip.evaluation.truth.preservation import TIERS
from dynaip.pipeline.provenance import write_whole

Row = Mapping[str, Any]
Rows = Mapping[str, Sequence[Row]]
PAGE = "tables.md"


def jsonable(value: Any) -> Any:
    """The same in lists, dictionaries and numbers; what is not a number becomes null."""
    if isinstance(value, Mapping):
        return {name: jsonable(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_rows(folder: Path) -> dict[str, list[Row]]:
    """Rows by experiment, in the order of the page.

    Raises:
        ValueError: There are none, or a file is broken.
    """
    found: dict[str, list[Row]] = {}
    for name in TABLES:
        path = folder / f"{name}.jsonl"
        if not path.is_file():
            continue
        try:
            found[name] = [json.loads(line) for line in path.read_text().splitlines()]
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is broken ({error}); remove it and run the experiment again."
            ) from error
    if not found:
        raise ValueError(f"There are no rows in {folder}; run `dynaip evaluate experiment` first.")
    return found


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Writes all rows of an experiment at once; what is not a number becomes null."""
    write_whole(path, "".join(json.dumps(jsonable(row)) + "\n" for row in rows).encode())


def write_evidence(rows: Rows, figures: Mapping[str, Sequence[Path]], folder: Path) -> Path:
    """Writes the page with tables, figures and provenance for each experiment, and the rows.

    Args:
        rows: By experiment; see `read_rows`.
        figures: Pictures in `folder`, by experiment.
        folder: Where the page goes.
    """
    parts = [
        "# Tables of the evidence\n",
        "Made by `dynaip evaluate evidence` from the rows beside it. Parentheses hold 95 % "
        "intervals, bootstrapped over subjects; a dash is what could not be measured.\n",
    ]
    for name, members in rows.items():
        parts += [markdown(table) for table in TABLES[name](members)]
        parts += [f"![{path.stem}]({path.name})\n" for path in figures.get(name, ())]
        parts.append(_provenance(name, members))
        write_rows(members, folder / f"{name}.jsonl")
    path = folder / PAGE
    write_whole(path, "\n".join(parts).encode())
    return path


def _provenance(name: str, rows: Sequence[Row]) -> str:
    """Which checkpoints, how many pictures, and what the instruments could read."""
    adapters = {row.get("variant", row["name"]): row["adapter"] for row in rows if "adapter" in row}
    said = {key: rows[0].get(key) for key in ("base", "probe", "detector", "seed", "dynaip")}
    words = [f"{key} `{value}`" for key, value in said.items() if value is not None]
    words += [f"adapter {variant} `{digest}`" for variant, digest in adapters.items()]
    return f"Rows: `{name}.jsonl`, {rows[-1]['pictures']} pictures a row; {', '.join(words)}.\n"


def _measures(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> Table:
    """CP by tier, what is kept of each factor, prompt following, leaks and copying."""
    measured = [row for row in rows if "cp" in row]
    factors = [factor for factors in TIERS.values() for factor in factors]
    columns = ("", "CP", *TIERS, *factors, "PF retention", *(f"leak {f}" for f in PROMPTED), "CPI")
    return Table(
        title=title,
        columns=tuple(column.replace("_", " ") for column in columns),
        rows=tuple(
            (
                _name(row),
                _interval(row["cp"]),
                *(_interval(row[f"cp_{tier}"]) for tier in TIERS),
                *(_kept(row["factors"], factor) for factor in factors),
                _interval(row["retention"]),
                *(_interval(row["leak"][factor]) for factor in PROMPTED),
                _interval(row["copy_paste"]),
            )
            for row in measured
        ),
        notes=(*_unmeasurable(measured), *notes),
    )


def _name(row: Row) -> str:
    return f"{row['variant']}: {row['name']}" if "variant" in row else str(row["name"])


def _interval(ends: Sequence[float | None]) -> Cell:
    value, low, high = (math.nan if end is None else end for end in ends)
    return None if math.isnan(value) else Interval(value, low, high)


def _kept(factors: Mapping[str, Mapping[str, Any]], factor: str) -> Cell:
    """Accuracy between chance and ceiling."""
    score = factors.get(factor)
    if score is None or score["accuracy"] is None or not score["count"]:
        return None
    room = score["ceiling"] - score["chance"]
    return (score["accuracy"] - score["chance"]) / room if room > 0 else None


def _unmeasurable(rows: Sequence[Row]) -> list[str]:
    weak = {
        factor: score["ceiling"]
        for factor, score in rows[0]["factors"].items()
        if not score["measurable"]
    }
    if not weak:
        return []
    words = ", ".join(f"{name.replace('_', ' ')} {_shown(share)}" for name, share in weak.items())
    return [
        f"Not measurable with this probe, and in no average (its accuracy on perfect pictures): "
        f"{words}."
    ]


def _table(rows: Sequence[Row]) -> list[Table]:
    return [_measures("Table 2: decoupling and fusion", rows)]


def _methods(rows: Sequence[Row]) -> list[Table]:
    costs = Table(
        title="Seconds to get to know a subject",
        columns=("method", "seconds"),
        rows=tuple((row["name"], row["seconds_per_subject"]) for row in rows),
        notes=(f"Median over {rows[0]['subjects']} subjects, on the machine that made the rows.",),
    )
    return [_measures("Methods: an adapter, and training per subject (Table 1)", rows), costs]


def _branches(rows: Sequence[Row]) -> list[Table]:
    matrices = [row for row in rows if "matrix" in row]
    notes = [
        f"Attention maps: the first {row['pictures']} of the trials, in one pass over the finished "
        f"picture with {row['noise']:.0%} noise. Over a reference, one colour is one share of the "
        "attention for both branches; the class token's is left out."
        for row in rows
        if "shown" in row and row["name"] == "image"
    ]
    tables = [_measures("What each branch carries (Section B.6)", rows, notes)]
    for row in matrices:
        lines = zip(row["outputs"], row["matrix"], strict=True)
        tables.append(
            Table(
                title=f"Transfer, reference on {row['name']} rows",
                columns=("read in the picture", *(f"{n} changed" for n in row["inputs"])),
                rows=tuple((output, *values) for output, values in lines),
                notes=(
                    f"DTS {_shown(row['dts'])}. On the diagonal, how much more often the new value "
                    "is read; elsewhere, how much more often the factor changes than when the "
                    "reference is moved by a pixel.",
                ),
            )
        )
    return tables


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _strength(rows: Sequence[Row]) -> list[Table]:
    notes = []
    for branches in ("image", "both"):
        points = [r for r in rows if r.get("branches") == branches and r["cp"][0] is not None]
        if points:
            area = frontier_area([r["cp"][0] for r in points], [r["retention"][0] for r in points])
            notes.append(f"Area under the frontier of CP and PF retention, {branches}: {area:.3f}.")
    return [_measures("Decoupling against lambda (Section 4.1)", rows, notes)]


def _granularity(rows: Sequence[Row]) -> list[Table]:
    notes = []
    manual = [row for row in rows if row.get("granularity")]
    for level, tier in enumerate(("fine", "mid", "coarse")):
        points = [row for row in manual if row[f"cp_{tier}"][0] is not None]
        if points:
            weights = [row["granularity"][level] for row in points]
            slope = isotonic_slope(weights, [row[f"cp_{tier}"][0] for row in points])
            name = ("low", "mid", "high")[level]
            notes.append(f"Isotonic slope of the {tier} tier over the {name} level: {slope:.3f}.")
    return [
        _measures("Manual granularity, low/mid/high in thirds (Sections B.4, B.8)", rows, notes)
    ]


def _router(rows: Sequence[Row]) -> list[Table]:
    levels = ("low", "mid", "high")
    means = [row for row in rows if "mean" in row]
    kinds = [
        Table(
            title=f"Router coefficients of {row['variant']}, by kind of subject",
            columns=("kind", *levels),
            rows=(
                ("all", *row["mean"]),
                *((kind, *values) for kind, values in row["kinds"].items()),
            ),
        )
        for row in means
    ]
    changes = [row for row in rows if "response" in row]
    answers = Table(
        title="Change of the coefficients when a detail is added to the same subject",
        columns=("detail", *levels, *(f"{level}, shuffled" for level in levels)),
        rows=tuple(
            (_name(row), *(_interval(each) for each in (*row["response"], *row["shuffled"])))
            for row in changes
        ),
    )
    return [*kinds, answers] if changes else kinds


def _layers(rows: Sequence[Row]) -> list[Table]:
    factors = list(rows[0]["accuracy"])
    chance = [rows[0]["chance"][factor] for factor in factors]
    return [
        Table(
            title="What each layer of the image encoder knows (Section B.7)",
            columns=("", *(factor.replace("_", " ") for factor in factors)),
            rows=(
                *(
                    (
                        f"{row['name']}, tapped" if row["tapped"] else row["name"],
                        *(row["accuracy"][factor] for factor in factors),
                    )
                    for row in rows
                ),
                ("a blind guess", *chance),
            ),
            notes=("Accuracy of a linear probe on references of held-out subjects.",),
        )
    ]


def _several(rows: Sequence[Row]) -> list[Table]:
    kinds = list(rows[0]["outcomes"])
    read = ", ".join(name.replace("_", " ") for name in rows[0]["ceilings"])
    return [
        Table(
            title="Several subjects: whose looks are on whom (Section 4.3)",
            columns=("", "own", "another's", "nobody's", "confusion", *kinds, "composition gap"),
            rows=tuple(
                (
                    row["name"],
                    row["own"],
                    row["other"],
                    row["novel"],
                    _interval(row["confusion"]),
                    *(row["outcomes"][kind] for kind in kinds),
                    _interval(row["composition_gap"]),
                )
                for row in rows
            ),
            notes=(f"Read off each subject: {read}.",),
        ),
        _harmony(rows),
    ]


def _harmony(rows: Sequence[Row]) -> Table:
    return Table(
        title="Do several subjects stand in one light?",
        columns=("", "in one picture", "each in its own", "perfect", "by chance", "light read"),
        rows=tuple(
            (
                row["name"],
                *(_interval(row["harmony"][name]) for name in ("together", "alone")),
                *(row["harmony"][name] for name in ("ceiling", "chance")),
                row["light_ceiling"],
            )
            for row in rows
        ),
        notes=(
            "Length of the mean direction of light over the subjects, 1 where all agree, of "
            "pictures in which all are found. Each in its own picture has the same noise and "
            "scene. The last column is how often the probe reads it right in perfect pictures; "
            f"harmony is not measurable where that is under {MEASURABLE:g}.",
        ),
    )


TABLES: dict[str, Callable[[Sequence[Row]], list[Table]]] = {
    "table": _table,
    "methods": _methods,
    "branches": _branches,
    "strength": _strength,
    "granularity": _granularity,
    "router": _router,
    "layers": _layers,
    "several": _several,
}
