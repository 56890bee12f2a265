"""Recipes: TOML files, a person's own or those that come with a package in its `recipes` folder.

Names and types are checked strictly, of tables that become dataclasses and of those that stay.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

Settings = TypeVar("Settings")


def read_recipe(package: str, name_or_path: str) -> dict[str, Any]:
    """Reads a recipe by the name of a shipped one, or from a TOML file.

    Args:
        package: The package whose recipes may be named, such as `dynaip.training`.
        name_or_path: A shipped recipe's name, or a path.

    Raises:
        ValueError: There is no such recipe, or the file is not TOML.
    """
    shipped = resources.files(package) / "recipes" / f"{name_or_path}.toml"
    try:
        return tomllib.loads((shipped if shipped.is_file() else Path(name_or_path)).read_text())
    except OSError as error:
        raise ValueError(
            f"There is no recipe {name_or_path!r}; give the path of a TOML file, or one of "
            f"{', '.join(shipped_recipes(package))}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"The recipe {name_or_path!r} is not valid TOML: {error}.") from error


def shipped_recipes(package: str) -> list[str]:
    """Names of the recipes that come with a package."""
    names = (entry.name for entry in (resources.files(package) / "recipes").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def from_table(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """A dataclass from a recipe's table; lists become tuples.

    Args:
        cls: The dataclass.
        values: The table.
        where: What sentences call it, such as "the training settings".

    Raises:
        ValueError: An entry is unknown, a required one is missing, or a value is refused.
    """
    fields = dataclasses.fields(typing.cast(Any, cls))
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    check_keys(values, [field.name for field in fields], required, where)
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    check_types(cls, given, where)
    return cls(**given)


def check_table(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Strict about a table that stays one.

    Args:
        cls: A `TypedDict` of what it holds.
        values: The table.
        where: What sentences call it, such as "the recipe".

    Raises:
        ValueError: A key is unknown, a required one is missing, or a value is of another type.
    """
    check_keys(values, typing.get_type_hints(cls), typing.cast(Any, cls).__required_keys__, where)
    check_types(cls, values, where)


def check_keys(
    values: Mapping[str, Any], allowed: Collection[str], required: Collection[str], where: str
) -> None:
    """Strict about a table's keys.

    Args:
        values: The table.
        allowed: What it may hold.
        required: What it must hold.
        where: What sentences call it, such as "the recipe".

    Raises:
        ValueError: A key is unknown, or a required one is missing.
    """
    if unknown := sorted(values.keys() - set(allowed)):
        raise ValueError(
            f"Unknown in {where}: {', '.join(unknown)}; choose from {', '.join(sorted(allowed))}."
        )
    if missing := sorted(set(required) - values.keys()):
        raise ValueError(f"Missing in {where}: {', '.join(missing)}.")


def check_types(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Strict about values: no texts for numbers, no booleans for whole ones.

    Args:
        cls: Has fields of texts, numbers, booleans, tables, literals, and tuples or lists of
            numbers.
        values: Some or all of them.
        where: What the sentence calls them, such as "the adapter's config".

    Raises:
        ValueError: A value is of another type than its field.
    """
    types = typing.get_type_hints(cls)
    for name, value in values.items():
        expected = types[name]
        origin = typing.get_origin(expected)
        if origin is Literal:
            fits = value in typing.get_args(expected)
            wanted = "one of " + ", ".join(map(repr, typing.get_args(expected)))
        elif origin in (tuple, list):
            item = typing.get_args(expected)[0]
            fits = isinstance(value, origin) and all(_is_a(item, each) for each in value)
            wanted = "a list of whole numbers" if item is int else "a list of numbers"
        else:
            fits, wanted = _is_a(expected, value), _WORDS[expected]
        if not fits:
            raise ValueError(f"{name} in {where} is {wanted}; got {value!r}.")


def _is_a(expected: type, value: Any) -> bool:
    return type(value) is expected or (expected is float and type(value) is int)


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a table",
}
