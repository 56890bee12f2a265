"""Records out of files, which may come from anybody."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

Record = TypeVar("Record")


def read_record(cls: type[Record], values: Mapping[str, Any]) -> Record:
    """A dataclass from JSON values, strict about names and types: a file may come from anybody.

    Raises:
        TypeError: A field is missing, unknown or of another type.
    """
    expected = typing.get_type_hints(cls)
    for name, value in {**values}.items():
        if name not in expected:
            raise TypeError(f"{name} is unknown")
        if not _fits(value, expected[name]):
            raise TypeError(f"{name} is {value!r}")
    for field in dataclasses.fields(cast(Any, cls)):
        given = field.name in values or field.default is not dataclasses.MISSING
        if not given and field.default_factory is dataclasses.MISSING:
            raise TypeError(f"{field.name} is missing")
    return cls(**values)


def _fits(value: Any, expected: Any) -> bool:
    """Whether a value is of a field's type; whole numbers are numbers, too."""
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(each, inner[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    return type(value) is expected or (expected is float and type(value) is int)
