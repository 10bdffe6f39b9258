"""Every setting with where it comes from, as people and programs are shown it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args, get_origin

from plughost.config import HostConfig
from plughost.units import KiB, MiB, parse_bytes

from .origin import DEFAULT, Setting, Settings
from .secret_sources import SecretSource
from .shape import CommandSettings, Keys, is_table, kind_of, names_in

__all__ = ["as_json", "as_toml", "every_setting"]


def every_setting(settings: Settings, *, with_defaults: bool) -> list[Setting]:
    """What was set, by its place; and before it, with defaults, what is as it was made."""
    made = dict(settings.made)
    if with_defaults:
        for keys, value in (*_defaults(CommandSettings(), ()), *_defaults(HostConfig(), ())):
            made.setdefault(keys, Setting(keys, value, DEFAULT))
    return [made[keys] for keys in sorted(made)]


def _defaults(table: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    for name, kind in names_in(cast("Any", type(table))).items():
        value = getattr(table, name)
        place = (*keys, name)
        if not is_table(kind):
            yield place, value
        elif isinstance(value, Mapping):
            yield from (((*place, str(key)), inner) for key, inner in value.items())
        elif value is not None:
            yield from _defaults(value, place)


def as_json(value: Any) -> Any:
    """A setting as JSON has it. Of a secret, where it comes from."""
    match value:
        case SecretSource():
            told: dict[str, Any] = {"secret": {value.kind: value.name}}
            return told | ({"hosts": list(value.hosts)} if value.hosts else {})
        case Enum():
            return value.value
        case Path():
            return str(value)
        case frozenset():
            return sorted(map(as_json, value))
        case Mapping():
            return {str(key): as_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [as_json(item) for item in value]
        case str():
            return _PASSWORD.sub(r"\1***@", value)
    return value


_PASSWORD: Final = re.compile(r"(^[a-z]+://[^/@:]*:)[^/@]*@")  # in an address such as storage.url


_SIZES: Final = ((1024 * MiB, "GiB"), (10**9, "GB"), (MiB, "MiB"), (10**6, "MB"), (KiB, "KiB"))


def as_toml(keys: Keys, value: Any) -> str:
    """A setting as it is written in a file; of a secret, its source in words."""
    if isinstance(value, SecretSource):
        hosts = f", for {', '.join(value.hosts)}" if value.hosts else ""
        return f"<secret: {value}{hosts}>"
    if value is None:
        return '"none"'
    if isinstance(value, int) and not isinstance(value, bool) and _is_size(kind_of(keys)):
        for unit, name in _SIZES:
            if value and value % unit == 0:
                return f'"{value // unit} {name}"'
    return _toml(value)


def _is_size(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return parse_bytes in get_args(kind)
    return any(_is_size(option) for option in get_args(kind))


def _toml(value: Any) -> str:
    import tomlkit

    plain = as_json(value)
    if isinstance(value, Mapping):
        parts = [f"{tomlkit.key(name).as_string()} = {_inner(v)}" for name, v in value.items()]
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_inner, value)) + "]"
    return tomlkit.item("none" if plain is None else plain).as_string()


def _inner(value: Any) -> str:
    return f"<secret: {value}>" if isinstance(value, SecretSource) else _toml(value)
