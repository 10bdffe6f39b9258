"""`plughost.toml` as it is read, and the grants in it.

Its table `[grants]` has a list of permissions for each plugin id.
"""

import grp
import os
import pwd
import re
import stat
import tomllib
from dataclasses import fields
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Final

from plughost.catalog.manifest_files import has_manifest
from plughost.catalog.marks import Marks
from plughost.catalog.permissions import Permission
from plughost.catalog.plugin_id import is_plugin_id
from plughost.catalog.toml_marks import toml_marks
from plughost.config import HostConfig
from plughost.errors import ConfigError

from .grants import EVERYTHING

__all__ = ["grants_in", "load_grants", "parse_document", "parse_grants", "read_grants_text"]

_MAX_SIZE: Final = 1_000_000  # bytes


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


def parse_document(path: Path, text: str) -> dict[str, Any]:
    """The text of a file as TOML has it. Raises `ConfigError`, with line and column."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(path, "is not TOML that can be read: it is nested too deep") from None
    except tomllib.TOMLDecodeError as exc:
        match = _PLACE.fullmatch(str(exc))
        if match is None or match[2] is None:
            lines = text.splitlines() or [""]
            line, column = len(lines), len(lines[-1]) + 1
        else:
            line, column = int(match[2]), int(match[3])
        reason = str(exc) if match is None else match[1]
        raise ConfigError(path, f"is not TOML: {reason}", line, column) from exc


_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def parse_grants(path: Path, text: str) -> dict[str, tuple[str, ...]]:
    """The grants in the text of a file. Raises `ConfigError` with line and column.

    Of what else is in the file, a name that nothing has is an error: it may be a misspelt table.
    """
    document = parse_document(path, text)
    marks = toml_marks(text)
    for name in document:
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, n=1)
            there = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_NAMES)}"
            mark = marks.of_key((name,))
            raise ConfigError(path, f"{name}: there is no such setting; {there}", *mark)
    problems, grants = grants_in(path, document.get("grants", {}), marks)
    if problems:
        raise ConfigError(path, problems[0].problem, problems[0].line, problems[0].column)
    return grants


# What a file may hold beside what is in the host's own configuration: the command's.
_NAMES: Final = ("folders", "socket", *(item.name for item in fields(HostConfig)))


def grants_in(
    path: Path, table: Any, marks: Marks
) -> tuple[list[ConfigError], dict[str, tuple[str, ...]]]:
    """The table `[grants]` of a document, with what is wrong in it."""
    if not isinstance(table, dict):
        error = ConfigError(path, "grants: must be a table: [grants]", *marks.of(("grants",)))
        return [error], {}
    problems = []
    for key, value in table.items():
        if why := _problem(key, value):
            at, reason = why
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
            told = f"grants{place}: {reason}"
            problems.append(ConfigError(path, told, *marks.of_key(("grants", *at))))
    wrong = bool(problems)
    return problems, {} if wrong else {key: tuple(value) for key, value in table.items()}


def _problem(key: str, value: Any) -> tuple[tuple[str | int, ...], str] | None:
    if key != EVERYTHING and not is_plugin_id(key):
        return (key,), "is no plugin's id"
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return (key,), 'must be a list of texts: ["tools:register"]'
    for number, text in enumerate(value):
        try:
            if text != EVERYTHING:
                Permission.parse(text)
        except ValueError as exc:
            return (key, number), str(exc)
    return None
