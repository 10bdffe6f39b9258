"""What may stand in `plughost.toml`: the fields of the configuration, by their types."""

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin

from plughost.catalog.plugin_id import is_plugin_id
from plughost.config import HostConfig, PluginConfig
from plughost.hot_reload_config import HotReload
from plughost.service_config import Secret

__all__ = [
    "ROOT",
    "CommandSettings",
    "Keys",
    "is_table",
    "kind_of",
    "names_in",
    "step",
    "switch_in",
]

Keys: TypeAlias = tuple[str, ...]
"""The keys that lead to a setting, such as `("limits", "memory")`."""


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What the command takes from the file beside the host's own configuration."""

    folders: tuple[Path, ...] = ()
    """Where the plugins are."""
    socket: Path | None = None
    """The control socket."""


class _Root:
    """The whole file."""


ROOT: Final = _Root
"""The kind of the whole document: the fields of `HostConfig` and of `CommandSettings`."""


@cache
def names_in(kind: Any) -> Mapping[str, Any]:
    """The fields of a table that has fixed ones, with their types; empty for any other kind."""
    if kind is ROOT:
        return {**names_in(HostConfig), **names_in(CommandSettings)}
    if not is_dataclass(kind):
        return {}
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {item.name: _plain(hints[item.name]) for item in fields(kind)}
    return {name: inner for name, inner in found.items() if inner is not None}


def is_table(kind: Any) -> bool:
    """Whether its parts are settings of their own; anything else is one setting."""
    if kind is Secret:  # a later file replaces all of it: its hosts are those of its value
        return False
    return kind is ROOT or is_dataclass(kind) or get_origin(kind) is Mapping


def switch_in(kind: Any) -> str:
    """The setting of a table for which `true` or `false` may stand in the table's place."""
    return "enabled" if kind is HotReload else ""


def step(kind: Any, name: str) -> Any:
    """The kind of what stands under a name. Raises `ValueError` where nothing may."""
    if get_origin(kind) is Mapping:
        key_type, inner = get_args(kind)
        if key_type is not str and name not in set(key_type):
            raise ValueError(f"is not known; there are {', '.join(key_type)}")
        if inner is PluginConfig and not is_plugin_id(name):
            raise ValueError("is no plugin's id")
        return inner
    known = names_in(kind)
    if name in known:
        return known[name]
    made_of = HostConfig if kind is ROOT else kind
    if is_dataclass(made_of) and name in {item.name for item in fields(made_of)}:
        raise ValueError("is given by an application, not in a file")
    near = get_close_matches(name, known, n=1)
    there = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
    raise ValueError(f"there is no such setting; {there}")


def kind_of(keys: Keys) -> Any:
    """The kind of the setting that these keys lead to. Raises `ValueError` if there is none."""
    kind: Any = ROOT
    for depth, name in enumerate(keys):
        if not is_table(kind):
            raise ValueError(f"{'.'.join(keys)}: {'.'.join(keys[:depth])} is no table")
        try:
            kind = step(kind, name)
        except ValueError as exc:
            raise ValueError(f"{'.'.join(keys[: depth + 1])}: {exc}") from exc
    return kind


def _plain(hint: Any) -> Any:
    """The type as a file can give it: without what only an application has; None if that is all.

    An optional table is the table: in a file it is there or not.
    """
    if get_origin(hint) not in (typing.Union, types.UnionType):
        return None if _is_an_objects(hint) else hint
    options = [option for option in _options(hint) if not _is_an_objects(option)]
    given = [option for option in options if option is not type(None)]
    if not given:
        return None
    if len(given) == 1 and (is_table(given[0]) or len(options) == 1):
        return given[0]
    return typing.Union[tuple(options)]  # noqa: UP007 - made of a list


def _options(hint: Any) -> Iterator[Any]:
    for option in get_args(hint):
        if get_origin(option) in (typing.Union, types.UnionType):
            yield from _options(option)
        else:
            yield option


def _is_an_objects(hint: Any) -> bool:
    """Whether only code can make a value of this type: a function, or an object with methods."""
    if get_origin(hint) is Annotated:
        return False
    return get_origin(hint) is typing.get_origin(typing.Callable[..., Any]) or getattr(
        hint, "_is_protocol", False
    )
