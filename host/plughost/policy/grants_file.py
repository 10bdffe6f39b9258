"""`plughost.toml`, the file in which an operator keeps grants, as it is read.

Its table `[grants]` has a list of permissions for each plugin id.
"""

import grp
import os
import pwd
import re
import stat
import tomllib
from os import PathLike
from pathlib import Path
from typing import Any, Final

from plughost.catalog.manifest_files import has_manifest
from plughost.catalog.permissions import Permission
from plughost.errors import ConfigError

from .grants import EVERYTHING

__all__ = ["load_grants", "parse_grants", "read_grants_text"]

_MAX_SIZE: Final = 1_000_000  # bytes
_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


def load_grants(path: str | PathLike[str] = "plughost.toml") -> dict[str, tuple[str, ...]]:
    """The grants in a `plughost.toml`, for `HostConfig.grants`.

    Raises `ConfigError` for a file that is not there, has a mistake, or could be somebody else's
    doing: one that others may write, or one beside a plugin's manifest.
    """
    path = Path(path)
    return parse_grants(path, read_grants_text(path))


def read_grants_text(path: Path) -> str:
    """The file's text, if it may be believed. Raises `ConfigError`."""
    if has_manifest(Path(os.path.realpath(path)).parent):
        raise ConfigError(
            path, "lies in a plugin's folder, and a plugin grants itself nothing: move it elsewhere"
        )
    try:
        # Not blocking: a FIFO of that name would keep us here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            _check_owner(path, os.fstat(descriptor))
            data = file.read(_MAX_SIZE + 1)
    except OSError as exc:
        raise ConfigError(path, f"cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_SIZE:
        raise ConfigError(path, f"is longer than {_MAX_SIZE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(path, f"is not UTF-8: byte {exc.start} is no text") from exc


def _check_owner(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(path, "is no regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            path, f"belongs to user {found.st_uid}, who could grant anything: make it yours"
        )
    others = found.st_mode & stat.S_IWOTH
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid):
        others |= stat.S_IWGRP
    if others:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError(
            path,
            f"can be written by others (mode {mode:04o}), who could grant anything: "
            f"chmod go-w {path}",
        )


def _is_private(gid: int) -> bool:
    """Whether a group is the user's own and nobody else's, as many systems make one for each."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def parse_grants(path: Path, text: str) -> dict[str, tuple[str, ...]]:
    """The grants in the text of a file. Raises `ConfigError`, with line and column or the key."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        reason = str(exc).replace("at end of document", _end_of(text))
        raise ConfigError(path, f"is not TOML: {reason}") from exc
    for name in document:
        if name != "grants":
            raise ConfigError(path, f"{name}: there is no such table; there is [grants]")
    table = document.get("grants", {})
    if not isinstance(table, dict):
        raise ConfigError(path, "grants: must be a table: [grants]")
    return {key: _permissions(path, key, value) for key, value in table.items()}


def _end_of(text: str) -> str:
    lines = text.splitlines() or [""]
    return f"at line {len(lines)}, column {len(lines[-1]) + 1}"


def _permissions(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if key != EVERYTHING and _ID.fullmatch(key) is None:
        raise ConfigError(path, f"grants.{key}: is no plugin's id")
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(path, f'grants.{key}: must be a list of texts: ["tools:register"]')
    for number, text in enumerate(value):
        try:
            if text != EVERYTHING:
                Permission.parse(text)
        except ValueError as exc:
            raise ConfigError(path, f"grants.{key}[{number}]: {exc}") from exc
    return tuple(value)
