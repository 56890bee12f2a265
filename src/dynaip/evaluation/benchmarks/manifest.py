"""A benchmark as a file: JSON lines, a header and then one case a line.

One format for every benchmark, so that whatever generates, scores or judges pictures reads one
thing. Every choice that made the cases stands in the header's settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaip.pipeline.provenance import write_whole

FORMAT = "dynaip-manifest"
VERSION = 1
# Ids name folders on every file system.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")

Box = tuple[float, float, float, float]


class ManifestError(ValueError):
    """A manifest cannot be used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseSubject:
    """One subject of a case.

    Attributes:
        name: As the prompt calls it, such as "dog".
        category: Its class, which judges may be told.
        kind: DreamBench++'s category (animal, human, object, style) or the paper's data type.
        references: Picture files, one or more views.
        box: Where it should be, `(left, top, right, bottom)` in shares of the picture, or nowhere
            in particular.
    """

    name: str
    category: str
    kind: str
    references: tuple[Path, ...]
    box: Box | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ManifestError("A subject has no name; give it the word that the prompt has.")
        if not self.references:
            raise ManifestError(f"Subject {self.name!r} has no reference picture.")
        if self.box is not None:
            left, top, right, bottom = self.box
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ManifestError(
                    f"The box {list(self.box)} of subject {self.name!r} is not "
                    "left < right and top < bottom between 0 and 1."
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One prompt for one or more subjects, and the seeds of its pictures.

    Attributes:
        id: Unique, and a safe folder name: letters, digits, `.`, `_` and `-`.
        prompt: What every method is given.
        seeds: One per picture.
        subjects: The subjects that the pictures should show.
        prompt_kind: The benchmark's own class of prompt, e.g. "imaginative".
        combination: The paper's combination type of several subjects, e.g. "living+object".
        truth: For rendered worlds, what the instruments need to know.
    """

    id: str
    prompt: str
    seeds: tuple[int, ...]
    subjects: tuple[CaseSubject, ...]
    prompt_kind: str = ""
    combination: str | None = None
    truth: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ManifestError(
                f"{self.id!r} cannot be a case's id; use letters, digits, '.', '_' and '-'."
            )
        if not self.prompt.strip():
            raise ManifestError(f"Case {self.id} has no prompt.")
        if not self.seeds:
            raise ManifestError(f"Case {self.id} has no seeds, so it asks for no picture.")
        if not self.subjects:
            raise ManifestError(f"Case {self.id} has no subjects.")

    @property
    def asked(self) -> tuple[Any, ...]:
        """What tells two cases of one id apart, wherever their references lie."""
        subjects = [(subject.name, subject.references[0].name) for subject in self.subjects]
        return self.prompt, subjects, self.truth


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A benchmark.

    Attributes:
        name: Of the benchmark.
        settings: JSON values: every choice that made the cases, the seed among them.
        cases: What is asked for.
    """

    name: str
    settings: Mapping[str, Any]
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for case in self.cases:
            # Folders that differ in case only are one folder on some file systems.
            if case.id.lower() in seen:
                raise ManifestError(f"Two cases have the id {case.id}; ids must differ.")
            seen.add(case.id.lower())


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes a manifest; reference paths become relative to its folder, so both move together.

    Raises:
        OSError: The file cannot be written; what was there before still is.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": manifest.name,
        "settings": dict(manifest.settings),
    }
    rows = [header, *(_to_row(case, path.parent.resolve()) for case in manifest.cases)]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, "".join(lines).encode())


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest; reference paths come back absolute.

    Raises:
        ManifestError: The file is missing, of another format or version, or a line is broken; the
            sentence names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise ManifestError(f"There is no manifest at {path}; check the path.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path} is not a manifest: it is not UTF-8 text.") from error
    header = _parse(lines[0], f"{path}, line 1")
    if header.get("format") != FORMAT:
        raise ManifestError(f"{path} is not a manifest: its first line does not say {FORMAT!r}.")
    if header.get("version") != VERSION:
        raise ManifestError(
            f"{path} is a manifest of version {header.get('version')!r}, and this program reads "
            f"version {VERSION}; make it again, or update the program."
        )
    folder = path.parent.resolve()
    cases = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            cases.append(_from_row(_parse(line, f"{path}, line {number}"), folder, path, number))
    try:
        settings = dict(header.get("settings", {}))
        return Manifest(name=str(header.get("name", "")), settings=settings, cases=tuple(cases))
    except (ManifestError, TypeError) as error:
        raise ManifestError(f"{path}: {error}") from error


def _to_row(case: Case, folder: Path) -> dict[str, Any]:
    row = dataclasses.asdict(case)
    for subject in row["subjects"]:
        subject["references"] = [
            _relative(reference.resolve(), folder) for reference in subject["references"]
        ]
    return row


def _relative(path: Path, folder: Path) -> str:
    if path.drive != folder.drive:
        return str(path)
    return Path(os.path.relpath(path, folder)).as_posix()


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where} is not JSON ({error.msg}).") from error
    if not isinstance(row, dict):
        raise ManifestError(f"{where} is not a JSON object.")
    return row


def _from_row(row: dict[str, Any], folder: Path, path: Path, number: int) -> Case:
    try:
        subjects = tuple(_subject_from(subject, folder) for subject in row["subjects"])
        seeds = tuple(int(seed) for seed in row["seeds"])
        return Case(**{**row, "subjects": subjects, "seeds": seeds})
    except KeyError as error:
        raise ManifestError(f"{path}, line {number} lacks {error}.") from error
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{path}, line {number}: {error}") from error


def _subject_from(row: dict[str, Any], folder: Path) -> CaseSubject:
    if isinstance(row["references"], str):  # its letters would be read as paths
        raise ManifestError(f"references is a list, such as [{row['references']!r}].")
    box = row.get("box")
    return CaseSubject(
        **{
            **row,
            "references": tuple(
                Path(os.path.normpath(folder / reference)) for reference in row["references"]
            ),
            "box": None if box is None else tuple(float(side) for side in box),
        }
    )
