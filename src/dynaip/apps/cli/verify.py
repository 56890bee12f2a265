"""`dynaip verify`: what a picture says about itself, and whether that still holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dynaip.apps.cli.facts import Facts, print_facts

Credential = Facts | str


def verify(
    picture: Annotated[Path, typer.Argument(help="A picture file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read a picture's settings, its notice that it is generated, and its content credential.

    Exit code 1 where it says nothing about itself, or was changed after it was signed.
    """
    facts = read_claims(picture)
    credential = facts["credential"]
    changed = is_changed(credential)
    silent = not (facts["settings"] or facts["notice"] or isinstance(credential, dict))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_facts(facts)
        typer.echo(verdict(credential, silent))
    if changed or silent:
        raise typer.Exit(1)


def verdict(credential: Credential, silent: bool = False) -> str:
    """Whether a picture is as it was made.

    Args:
        credential: See `read_credential_of`.
        silent: Whether it says nothing about itself.
    """
    if is_changed(credential):
        return "CHANGED since it was signed."
    if silent:
        return "It says nothing about itself; it was not made here, or was saved anew."
    if isinstance(credential, dict):
        return "Not changed since it was signed."
    return "It says that it is generated; nothing shows whether it was changed since."


def is_changed(credential: Credential) -> bool:
    """Whether there is a content credential, and it does not hold."""
    return isinstance(credential, dict) and not credential["intact"]


def read_credential_of(path: Path) -> Credential:
    """What a picture's content credential says, or in words why there is none."""
    from dynaip.pipeline.credentials import can_sign, read_credential

    if not can_sign():
        return "not looked at: install dynaip[c2pa]"
    # The JSON beside a picture has none.
    found = None if path.suffix == ".json" else read_credential(path.read_bytes())
    return "none" if found is None else found._asdict()


def read_claims(path: Path) -> dict[str, Any]:
    """What is written in a picture file.

    Returns:
        `notice`: whether its metadata says that a model made it; `credential`: see
        `read_credential_of`; `settings`: how it was made.

    Raises:
        ValueError: The file is no picture, or its settings are damaged.
    """
    from dynaip.pictures import open_picture
    from dynaip.pipeline.credentials import SOURCE_TYPE
    from dynaip.pipeline.provenance import KEY, read_settings

    info = open_picture(path).info
    return {
        "notice": SOURCE_TYPE in str(info.get("xmp", info.get("XML:com.adobe.xmp", ""))),
        "credential": read_credential_of(path),
        "settings": read_settings(path).to_dict() if KEY in info else None,
    }
