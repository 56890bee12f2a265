"""A method's answers to a benchmark: one folder, whoever made the pictures.

manifest.jsonl            what was asked
method.json               who answered
pictures/<case>/<n>.png   picture n is of the case's n-th seed
scores/<scorer>.jsonl     see `dynaip.evaluation.scores`
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dynaip.evaluation.benchmarks.manifest import Case, Manifest, read_manifest, write_manifest
from dynaip.pipeline.provenance import write_whole


class ResultsError(ValueError):
    """A result folder cannot be used."""


class Wanted(NamedTuple):
    """A picture that the manifest asks for, there or not."""

    case: Case
    picture: int
    path: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """Who made the pictures.

    Attributes:
        name: As tables call it.
        settings: JSON values: steps, guidance, branches and the like.
        weights: Hashes of the checkpoints by part.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """A result folder.

    Attributes:
        folder: Where it is.
        manifest: What was asked.
        method: Who answered.
    """

    folder: Path
    manifest: Manifest
    method: Method

    @classmethod
    def create(cls, folder: Path, manifest: Manifest, method: Method) -> Results:
        """Makes the folder, or opens the one that is there for the same manifest and method.

        Raises:
            ResultsError: The folder holds the answers of another method or to another manifest.
        """
        if (folder / "manifest.jsonl").is_file():
            found = cls.open(folder)
            if found.manifest != manifest:
                raise ResultsError(
                    f"{folder} answers another manifest; choose another folder, or delete it."
                )
            if found.method != method:
                differences = _differences(found.method, method)
                raise ResultsError(
                    f"{folder} holds pictures of another method ({differences}); choose another "
                    "folder, or delete it."
                )
            return found
        # Last the manifest: a folder that has one is complete.
        values = json.dumps(dataclasses.asdict(method), indent=2, ensure_ascii=False)
        write_whole(folder / "method.json", values.encode() + b"\n")
        write_manifest(manifest, folder / "manifest.jsonl")
        return cls(folder=folder, manifest=read_manifest(folder / "manifest.jsonl"), method=method)

    @classmethod
    def open(cls, folder: Path) -> Results:
        """Opens a result folder.

        Raises:
            ResultsError: It has no readable `method.json`.
            ManifestError: Its manifest is missing or broken.
        """
        manifest = read_manifest(folder / "manifest.jsonl")
        path = folder / "method.json"
        try:
            method = Method(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError) as error:
            raise ResultsError(
                f'{path} does not say who made the pictures; write {{"name": "…"}} into it.'
            ) from error
        return cls(folder=folder, manifest=manifest, method=method)

    def wanted(self) -> Iterator[Wanted]:
        """Every picture that the manifest asks for, in its order."""
        for case in self.manifest.cases:
            for number in range(len(case.seeds)):
                yield Wanted(case, number, self.folder / "pictures" / case.id / f"{number}.png")

    def pictures(self) -> list[Wanted]:
        """The wanted pictures that are there."""
        return [wanted for wanted in self.wanted() if wanted.path.is_file()]

    def missing(self) -> list[Wanted]:
        """The wanted pictures that are not there yet."""
        return [wanted for wanted in self.wanted() if not wanted.path.is_file()]

    def scores_path(self, scorer: str) -> Path:
        """The file of one scorer's rows."""
        return self.folder / "scores" / f"{scorer}.jsonl"


def _differences(there: Method, here: Method) -> str:
    """What of two methods is not the same, in words."""
    known, wanted = (
        {
            "name": each.name,
            **each.settings,
            **{f"{part}'s hash": h for part, h in each.weights.items()},
        }
        for each in (there, here)
    )
    return ", ".join(
        f"{key.replace('_', ' ')} {known.get(key)}, not {wanted.get(key)}"
        for key in {**known, **wanted}
        if known.get(key) != wanted.get(key)
    )
