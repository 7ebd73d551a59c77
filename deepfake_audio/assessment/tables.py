"""TOML tables as dataclasses: known keys, values of their types, errors that name the key."""

from __future__ import annotations

import dataclasses
import datetime
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import ConfigError

T = TypeVar("T")


def build(kind: type[T], values: Any, where: str) -> T:
    """Fill a dataclass from a table, key by key.

    Parameters
    ----------
    kind : type
        A dataclass; its fields and their types say what may stand in the table.
    values : Any
        What TOML gave.
    where : str
        What stands before its keys in messages.

    Raises
    ------
    ConfigError
        If a key is unknown or missing, or a value is not of its type; names the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigError("must be a table", name=where.rstrip("."))
    hints = typing.get_type_hints(kind)
    known = [each.name for each in dataclasses.fields(kind) if each.name != "root"]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(
                "unknown key", name=f"{where}{key}", hint=f"known keys are {', '.join(known)}"
            )
    try:
        return kind(**{key: _value(hints[key], each, where + key) for key, each in values.items()})
    except TypeError as error:  # a key without a default
        missing = str(error).rpartition("'")[0].rpartition("'")[2]
        raise ConfigError("is missing", name=f"{where}{missing}") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    """Check one value against its type."""
    if dataclasses.is_dataclass(kind):
        return build(kind, value, f"{where}.")  # type: ignore[arg-type]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        for choice in inner:
            if choice is not types.NoneType and _fits(choice, value):
                return _value(choice, value, where)
    elif origin is tuple and isinstance(value, list):
        return tuple(_value(inner[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    elif origin is dict and isinstance(value, Mapping):
        return {key: _value(inner[1], each, f"{where}.{key}") for key, each in value.items()}
    elif origin is None and _fits(kind, value):
        return float(value) if kind is float else value
    raise ConfigError(f"cannot be {value!r}", name=where, hint=f"give {_words(kind)}")


def _fits(kind: Any, value: Any) -> bool:
    kind = typing.get_origin(kind) or kind
    if isinstance(value, bool):
        return kind is bool
    if kind is datetime.date and isinstance(value, datetime.datetime):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _words(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(each) for each in inner if each is not types.NoneType)
    if origin is tuple:
        return f"a list of {_words(inner[0])}s"
    names = {str: "text", float: "a number", int: "an integer", datetime.date: "a date"}
    return "a table" if origin is dict or kind not in names else names[kind].removeprefix("a ")
