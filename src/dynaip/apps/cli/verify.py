"""`dynaip verify`: what a picture says about itself, and whether that still holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def verify(
    picture: Annotated[Path, typer.Argument(help="A picture file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read a picture's settings, its notice that it is generated, and its content credential.

    Exit code 1 where it says nothing about itself, or was changed after it was signed.
    """
    facts = read_claims(picture)
    credential = facts["credential"]
    changed = isinstance(credential, dict) and not credential["intact"]
    silent = not (facts["settings"] or facts["notice"] or isinstance(credential, dict))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        table = Table(show_header=False, box=None)
        for name, value in facts.items():
            table.add_row(name, _shown(value))
        Console().print(table)
        typer.echo(_verdict(credential, changed, silent))
    if changed or silent:
        raise typer.Exit(1)


def _verdict(credential: Any, changed: bool, silent: bool) -> str:
    if changed:
        return "CHANGED since it was signed."
    if silent:
        return "It says nothing about itself; it was not made here, or was saved anew."
    if isinstance(credential, dict):
        return "Not changed since it was signed."
    return "It says how it was made; nothing shows whether it was changed since."


def read_claims(path: Path) -> dict[str, Any]:
    """What is written in a picture file.

    Returns:
        `notice`: whether its metadata says that a model made it; `credential`: what its content
        credential says, a dictionary, or in words why there is none; `settings`: how it was made.

    Raises:
        ValueError: The file is no picture, or its settings are damaged.
    """
    from dynaip.pictures import open_picture
    from dynaip.pipeline.credentials import SOURCE_TYPE, can_sign, read_credential
    from dynaip.pipeline.provenance import KEY, read_settings

    info = open_picture(path).info
    credential: Any = "not looked at: install dynaip[c2pa]"
    if can_sign():
        found = read_credential(path.read_bytes())
        credential = "none" if found is None else found._asdict()
    return {
        "notice": SOURCE_TYPE in str(info.get("xmp", info.get("XML:com.adobe.xmp", ""))),
        "credential": credential,
        "settings": read_settings(path).to_dict() if KEY in info else None,
    }


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return value if isinstance(value, str) else json.dumps(value, indent=2)
