"""The page of evidence: rows of experiments as tables, each number traceable to its row."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaip.evaluation.evidence_tables import TABLES, Row
from dynaip.evaluation.tables import markdown
from dynaip.pipeline.provenance import write_whole

Rows = Mapping[str, Sequence[Row]]
PAGE = "tables.md"
HEAD = """# Tables of the evidence

Made by `dynaip evaluate evidence` from the rows beside it. Held-out subjects, in references that
disagree with the prompt in scene, light and posture. Parentheses hold 95 % intervals, bootstrapped
over subjects; a dash is what could not be measured. Where all pictures of a sample are alike, the
bootstrap gives an interval without width: the truth may still be 3/n away.

- **CP**, *concept preservation*: how often the reference's value is read, 0 at chance, 1 at the
  probe's accuracy on perfect pictures; the mean of the tiers. Coarse is category and main colour,
  mid is pattern and second colour, fine is letter and mark. A category counts where the prompt does
  not say it. *Detail gap*: coarse less fine.
- **PF**, *prompt following*: the same of scene, light and posture, which prompts name. *All right*:
  share of pictures in which all three are. *Retention*: PF over the base's own.
- **Leak**: how often the reference's scene, light or posture is read though the prompt says
  another, beyond chance and habit. *Open*: the same of what the prompt leaves open.
- **CPI**, *copy-paste index* over the prompted factors: -1 follows the prompt, 1 copies.
- **Strange**: share of pictures that the probe finds odder than all but 1 % of perfect ones; of
  those its readings are guesses.
- **Image rows** are the picture's own tokens in the joint attention, **text rows** the prompt's.
  *image* is Dynamic Decoupling (DDS), *both* is without it, *text* the prompt's rows alone.
  **Lambda** is the weight of the reference's attention.
- **B0 to B6** are systems of known worth: a copy of the reference's picture, the prompt drawn with
  any subject, the right picture, the right one in the reference's pose and light, a wrong subject.
"""


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
            members = [json.loads(line) for line in path.read_text().splitlines()]
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is broken ({error}); remove it and run the experiment again."
            ) from error
        # The router's has none where no adapter has a router.
        if members:
            found[name] = members
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
    parts = [HEAD]
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
    keys = ("base", "probe", "detector", "seed", "dynaip")
    said = {key: next((row[key] for row in rows if key in row), None) for key in keys}
    words = [f"{key} `{value}`" for key, value in said.items() if value is not None]
    pictures = max(row["pictures"] for row in rows)
    words += [f"adapter {variant} `{digest}`" for variant, digest in adapters.items()]
    return f"Rows: `{name}.jsonl`, {pictures} pictures a row; {', '.join(words)}.\n"
