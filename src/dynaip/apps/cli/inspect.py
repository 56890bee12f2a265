"""`dynaip inspect`: what a folder or a file is, how large, and its settings.

Loads no torch, but to open a card or a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dynaip.apps.cli.checkpoints import (
    PICKLES,
    describe_adapter,
    describe_base,
    describe_card,
    describe_pickle,
    describe_shapes,
)
from dynaip.apps.cli.facts import Facts, print_facts
from dynaip.apps.cli.verify import read_credential_of, verdict


def inspect(
    path: Annotated[
        Path | None, typer.Argument(help="An adapter, a model, a run, a picture, weights.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="FLUX.1-dev or FLUX.1-schnell: its sizes, and the memory.")
    ] = None,
    subjects: Annotated[
        int | None, typer.Option(min=0, help="Subjects to count with --base; one if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Say what a folder or a file is: its kind, its size, its settings."""
    if (path is None) == (base is None):
        raise ValueError("Give either something to look at, or --base with a base's name.")
    if path is not None and subjects is not None:
        raise ValueError("--subjects counts with --base; leave it out to look at a file.")
    count = 1 if subjects is None else subjects
    facts = describe(path) if path is not None else describe_base(str(base), count)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_facts(facts)


def describe(path: Path) -> Facts:
    """The facts about a folder or a file, as JSON values.

    Raises:
        ValueError: It is missing, damaged, or nothing that dynaip knows.
    """
    if not path.exists():
        raise ValueError(f"There is nothing at {path}; check the path.")
    if path.is_file():
        return _describe_file(path)
    for marker, reader in _FOLDERS.items():
        if (path / marker).is_file():
            return reader(path)
    raise ValueError(
        f"{path} is neither an adapter, nor a model, nor a run: it holds none of "
        f"{', '.join(_FOLDERS)}."
    )


def _describe_file(path: Path) -> Facts:
    if path.suffix == ".safetensors":
        header, metadata = _header(path)
        if metadata.get("format") == "dynaip-card":
            return {**describe_card(path), "bytes": path.stat().st_size}
        shapes = {name: entry["shape"] for name, entry in header.items()}
        return describe_shapes(path, shapes, _size(path, header))
    if path.suffix in PICKLES:
        return describe_pickle(path)
    from dynaip.pipeline.provenance import read_settings

    settings = read_settings(path).to_dict()
    about = verdict(read_credential_of(path))
    return {"kind": "picture made by dynaip", "verdict": about, **settings}


def _describe_model(folder: Path) -> Facts:
    index = _read_json(folder / "model_index.json")
    parts = {name: _part(folder / name) for name in index if (folder / name).is_dir()}
    adapters = [
        str(config.parent.relative_to(folder))
        for config in sorted(folder.rglob("config.json"))
        if _is_adapter(config)
    ]
    return {
        "kind": f"model ({index.get('_class_name', 'unknown class')})",
        "parameters": sum(part.get("parameters", 0) for part in parts.values()),
        "bytes": sum(part.get("bytes", 0) for part in parts.values()),
        "adapters": ", ".join(adapters) or "none",
        "parts": parts,
    }


def _part(folder: Path) -> Facts:
    files = [_size(path, _header(path)[0]) for path in sorted(folder.glob("*.safetensors"))]
    return {name: sum(file[name] for file in files) for name in ("parameters", "bytes") if files}


def _describe_configured(folder: Path) -> Facts:
    config = _read_json(folder / "config.json")
    if _is_adapter(folder / "config.json"):
        return {"kind": "adapter", **describe_adapter(config), **_part(folder), "config": config}
    kind = config.get("_class_name")
    kind = kind or ", ".join(config.get("architectures", [])) or "weights with a config"
    return {"kind": kind, **_part(folder), "config": config}


def _describe_run(folder: Path) -> Facts:
    run = _read_json(folder / "run.json")
    checkpoints = sorted(path.name for path in (folder / "checkpoints").glob("step-*"))
    return {
        "kind": "training run",
        "checkpoints": ", ".join(checkpoints) or "none",
        "exported": (folder / "export").is_dir(),
        "settings": run,
    }


def _describe_checkpoint(folder: Path) -> Facts:
    state = _read_json(folder / "state.json")
    return {"kind": "checkpoint of a training run", "step": state.get("step"), **_part(folder)}


_FOLDERS: dict[str, Callable[[Path], Facts]] = {
    "model_index.json": _describe_model,
    "run.json": _describe_run,
    "state.json": _describe_checkpoint,
    "config.json": _describe_configured,
}


def _is_adapter(config: Path) -> bool:
    return _read_json(config).get("format") == "dynaip-adapter"


def _read_json(path: Path) -> Facts:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: it is no JSON object; copy it again.")
    return values


def _header(path: Path) -> tuple[Facts, Facts]:
    """Every tensor's entry in a safetensors file, which is checked to be whole; its metadata."""
    broken = f"{path} is no safetensors file, or was cut short; copy it again."
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ValueError(broken)
        try:
            header = json.loads(file.read(length))
            metadata = dict(header.pop("__metadata__", {}))
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            header = {
                name: {"shape": tuple(map(int, entry["shape"])), "dtype": str(entry["dtype"])}
                for name, entry in header.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(broken) from error
    if size != 8 + length + end:
        raise ValueError(broken)
    return header, metadata


def _size(path: Path, header: Facts) -> Facts:
    """Parameters, bytes and precisions."""
    return {
        "parameters": sum(math.prod(entry["shape"]) for entry in header.values()),
        "bytes": path.stat().st_size,
        "precision": ", ".join(sorted({entry["dtype"] for entry in header.values()})),
    }
