"""Recipes: TOML files, a person's own or those that come with a package in its `recipes` folder."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any


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
