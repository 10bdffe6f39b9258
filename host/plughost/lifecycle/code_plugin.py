"""A plugin out of a text: what stands in the place of its manifest, its grants and its folder."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from plughost.catalog.asks import Asked, PermissionEntry, read_asks
from plughost.catalog.discovery import Found
from plughost.catalog.manifest import Manifest
from plughost.catalog.plugin_id import is_plugin_id
from plughost.config import HostConfig, Limits
from plughost.errors import HostMisuse
from plughost.settings.shape import names_in
from plughost.settings.values import convert

__all__ = ["MAX_CODE", "CodePlugin", "Permissions", "code_plugin", "drop_empty_folder"]

Permissions: TypeAlias = Sequence[str] | Mapping[str, Any]
"""Texts, or groups: `{"fileSystem": False, "network": [...], "events": [...]}`."""

MAX_CODE: Final = 1_000_000
"""Bytes of a text that is a plugin."""

# The application vouches for them itself: there is no operator to read a reason.
_REASON: Final = "the application gives it"

# What a host service keeps for a plugin is counted by the host's own configuration.
_NOT_ITS_OWN: Final = {"storage_size", "storage_keys", "memories", "memories_size"}


@dataclass(frozen=True, slots=True)
class CodePlugin:
    """What a host needs to run it."""

    found: Found
    config: HostConfig
    """The host's, with what holds for this plugin."""


def code_plugin(
    name: str,
    code: str,
    permissions: Permissions,
    resources: Mapping[str, Any],
    values: Mapping[str, Any] | None,
    config: HostConfig,
) -> CodePlugin:
    """Raises `HostMisuse`, in words, for what cannot be."""
    if not is_plugin_id(name):
        raise HostMisuse(
            f"{name[:100]!r} is no plugin's id: lower-case letters, digits and hyphens, beginning "
            "with a letter, such as 'my-plugin'"
        )
    _check_code(name, code)
    asked = _asked(name, permissions)
    manifest = Manifest(id=name, name=name, version="0.0.0", permissions=asked)
    own = config.of(name)
    own = replace(
        own,
        limits=_limits(name, resources, config.limits_of(name)),
        config=own.config if values is None else values,
    )
    granted = [str(ask.permission) for ask in manifest.asks()]
    given = replace(config, grants={name: granted}, plugins={**config.plugins, name: own})
    return CodePlugin(Found(Path(f"<{name}>"), manifest, text=code), given)


def _check_code(name: str, code: str) -> None:
    try:
        size = len(code.encode())
    except UnicodeEncodeError as exc:
        raise HostMisuse(f"the code of {name!r} is no text: {exc.reason}") from exc
    if size > MAX_CODE:
        raise HostMisuse(f"the code of {name!r} has {size:,} bytes, and may have {MAX_CODE:,}")


def _asked(name: str, permissions: Permissions) -> Asked:
    problems: list[str] = []
    given: object = permissions
    if isinstance(permissions, str) or not isinstance(permissions, Mapping | Sequence):
        raise HostMisuse(f"the permissions of {name!r} are a list or an object, not {given!r}")
    if not isinstance(permissions, Mapping):
        given = [PermissionEntry(str(text), _REASON) for text in permissions]
    try:
        asked: Asked = msgspec.convert(given, Asked)
    except msgspec.ValidationError as exc:
        raise HostMisuse(f"the permissions of {name!r}: {exc}") from exc
    read_asks(asked, problems)
    if problems:
        raise HostMisuse(f"the permissions of {name!r}: {'; '.join(problems)}")
    return asked


def _limits(name: str, resources: Mapping[str, Any], limits: Limits) -> Limits:
    """The limits with the resources that are named, in the forms that a file takes."""
    known = {field: kind for field, kind in names_in(Limits).items() if field not in _NOT_ITS_OWN}
    given = {}
    for field, value in resources.items():
        if field not in known:
            near = get_close_matches(field, known, n=1)
            there = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise HostMisuse(f"the resources of {name!r}: there is no {field!r}; {there}")
        try:
            given[field] = convert(known[field], value, Path.cwd())
        except ValueError as exc:
            raise HostMisuse(f"the resources of {name!r}: {field} {exc}") from exc
    return replace(limits, **given)


def drop_empty_folder(path: Path) -> None:
    """Leave no trace of a data folder in which nothing was kept."""
    with suppress(OSError):
        path.rmdir()
