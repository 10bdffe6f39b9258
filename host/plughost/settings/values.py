"""From what is written, in TOML or as text, to the type of a setting."""

import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

from plughost.service_config import Secret

from .secret_sources import FROM, SecretSource, secret_place

__all__ = ["NONE", "convert", "from_text"]

NONE: Final = "none"
"""Written where a setting may have no value at all: TOML has no word for it."""

_WORDS: Final = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def convert(kind: Any, value: Any, folder: Path) -> Any:
    """The value as a field of this type has it. Raises `ValueError`, in words.

    `folder` is the one from which relative paths lead.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return (
            arguments[1](value) if isinstance(value, str) else convert(arguments[0], value, folder)
        )
    if origin in (typing.Union, types.UnionType):
        if value == NONE and type(None) in arguments:
            return None
        return convert(_only(arguments), value, folder)
    if kind is Any:
        return _free(value, folder)
    if kind is Secret:
        return SecretSource.read(value, folder)
    if kind is Path:
        if not isinstance(value, str) or not value:
            raise ValueError(f"must be a path, not {_shown(value)}")
        return folder / Path(value).expanduser()
    if origin in (tuple, frozenset, Sequence):
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, not {_shown(value)}")
        items = [convert(arguments[0], item, folder) for item in value]
        return frozenset(items) if origin is frozenset else tuple(items)
    return _plain(kind, value)


def _only(options: Sequence[Any]) -> Any:
    """The one type of an optional setting that a file can give."""
    return next(option for option in options if option is not type(None))


def _plain(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            there = ", ".join(str(item.value) for item in kind)
            raise ValueError(f"is one of {there}, not {_shown(value)}") from None
    fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if kind is float and type(value) is int:
        return float(value)
    if not fits:
        raise ValueError(f"must be {_NAMES[kind]}, not {_shown(value)}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"must be a number, not {value}")
    return value


_NAMES: Final = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


def _free(value: Any, folder: Path) -> Any:
    """A plugin's own value: what JSON can hold, and secrets in their places."""
    if source := secret_place(value, folder):
        return source
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _free(inner, folder) for name, inner in value.items()}
    if isinstance(value, list):
        return [_free(item, folder) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a number, not {value}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("is an integer beyond 64 bits")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def from_text(kind: Any, text: str) -> Any:
    """What a text, of the environment or a command line, says as TOML would say it.

    Raises `ValueError`, in words, for what it cannot say.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _number(arguments[0], text, else_text=True)
    if origin in (typing.Union, types.UnionType):
        return text if text == NONE else from_text(_only(arguments), text)
    if kind is Secret:
        value = _toml(text)
        if not isinstance(value, dict):
            raise ValueError(f"must be a table such as {{{FROM[0]} = '...', hosts = ['...']}}")
        return value
    if kind is Any:
        try:
            return _toml(text)
        except ValueError:
            return text
    if origin in (tuple, frozenset, Sequence):
        if text.lstrip().startswith("["):
            return _toml(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError(f"must be true or false, not {_shown(text)}")
        return _WORDS[text.lower()]
    return _number(kind, text) if kind in (int, float) else text


def _number(kind: Any, text: str, *, else_text: bool = False) -> Any:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    if else_text:
        return text
    raise ValueError(f"must be {_NAMES[kind]}, not {_shown(text)}")


def _toml(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise ValueError(f"is not TOML: {_shown(text)}") from exc
    if list(document) != ["value"]:
        raise ValueError(f"is not one value: {_shown(text)}")
    return document["value"]
