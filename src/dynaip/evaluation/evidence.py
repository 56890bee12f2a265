"""The page of evidence: rows of experiments as tables, each number traceable to its row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dynaip.evaluation.evidence_tables import TABLES, Row
from dynaip.evaluation.tables import jsonable, markdown
from dynaip.pipeline.provenance import write_whole

Rows = Mapping[str, Sequence[Row]]
PAGE = "tables.md"
HEAD = """# Tables of the evidence

Made by `dynaip evaluate evidence` from the rows beside it. Subjects are held out. References
disagree with the prompt in scene, light and posture, but in `methods` and `several`, where they are
drawn apart from it and agree by chance. Parentheses hold 95 % intervals, bootstrapped over
subjects; a dash is what could not be measured. Where all pictures of a sample are alike, the
bootstrap gives an interval without width: the truth may still be 3/n away.

- **CP**, *concept preservation*: how often the reference's value is read, 0 at chance, 1 at the
  probe's accuracy on perfect pictures; the mean of the tiers. Coarse is category and main colour,
  mid is pattern and second colour, fine is letter and mark. A category counts where the prompt does
  not say it. *Detail gap*: coarse less fine.
- **BRF**, *band-limited re-render fidelity*: how the picture correlates with the render of what is
  asked for, inside the subject and in one band of frequencies, over how the autoencoder's round
  trip of that render does.
- **2AFC**, *hard-distractor choice*: share of pictures that are nearer to the right render than to
  one that differs in a single factor. Of a picture that tells nothing (B7) it is 0.5, give or take.
- **PF**, *prompt following*: the same as CP of scene, light and posture, which prompts name. *All
  right*: share of pictures in which all three are. *Category, named*: share of pictures of what the
  prompt says, where it says what to draw. *Retention*: PF over the base's own.
- **Leak**: how often the reference's scene, light or posture is read though the prompt says
  another, beyond chance and habit. *Open*: the same of what the prompt leaves open. A factor that
  the probe does not read well is a dash here, and in none of PF, *all right* and CPI.
- **CPI**, *copy-paste index* over the prompted factors: -1 follows the prompt, 1 copies.
- **Strange**: share of pictures that the probe finds odder than all but 1 % of perfect ones; of
  those its readings are guesses. Prompts that name little make stranger pictures than prompts that
  name all, so it is compared between ways with the same prompts only.
- **Image rows** are the picture's own tokens in the joint attention, **text rows** the prompt's.
  *image* is Dynamic Decoupling (DDS), *both* is without it, *text* the prompt's rows alone.
  *own words* is image rows and, of the text rows, those of the words that name the subject.
  **Lambda** is the weight of the reference's attention. *guided* is image rows with **image
  guidance**, 3 where no number is given: a second pass in each step without the reference, and so
  many times the way from that to the pass with it.
- **B0 to B7** are systems of known worth: B0 a copy of the reference's picture, B1 the prompt drawn
  with any subject, B2 the right picture, B3 the same blurred, B4 the same in the reference's pose
  and light, B6 a wrong subject, B7 none.
"""


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


def with_kept(found: Rows, page: Path) -> dict[str, Sequence[Row]]:
    """The rows, and those in the page's folder of experiments that were not run again.

    They are kept if they are about the same base, read by the same probe: figures of two do not
    stand on one page.

    Args:
        found: Rows by experiment.
        page: The page's folder.

    Raises:
        ValueError: The rows are not all of one base and probe, or a file of rows there is broken.
    """
    about = _about(member for members in found.values() for member in members)
    if len(about) > 1:
        told = (
            f"{name} ({base}, {probe})" for name in found for base, probe in _about(found[name])
        )
        raise ValueError(
            f"Rows of several bases or probes do not stand on one page: {', '.join(told)}; run the "
            "older ones again, or move them away."
        )
    if not any((page / f"{name}.jsonl").is_file() for name in TABLES):
        return dict(found)
    before = read_rows(page)
    kept = {name: members for name, members in before.items() if _about(members) == about}
    together = {**kept, **found}
    return {name: together[name] for name in TABLES if name in together}


def _about(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """The bases, each with the probe that read its pictures."""
    return {(row["base"], row["probe"]) for row in rows if "base" in row}


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
    adapters: dict[str, str] = {}
    for row in rows:
        if "adapter" in row:
            adapters.setdefault(row["adapter"], row.get("variant", row["name"]))
    keys = ("base", "probe", "detector", "seed", "steps", "guidance", "dynaip")
    said = {key: next((row[key] for row in rows if key in row), None) for key in keys}
    words = [f"{key} `{value}`" for key, value in said.items() if value is not None]
    pictures = max(row["pictures"] for row in rows)
    words += [f"adapter {variant} `{digest}`" for digest, variant in adapters.items()]
    return f"Rows: `{name}.jsonl`, {pictures} pictures a row; {', '.join(words)}.\n"
