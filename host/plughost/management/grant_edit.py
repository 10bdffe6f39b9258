"""Changing a `plughost.toml`: what a person has written in it stays as it is."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.items import Array

from plughost.catalog.permissions import Permission
from plughost.errors import ConfigError
from plughost.policy.grants_file import parse_grants, read_grants_text
from plughost.settings.files import user_file

__all__ = ["add_grants", "edit_file", "remove_grants"]

_ATTEMPTS: Final = 10  # against others who change it at the same moment
_HEADER: Final = """\
# What each plugin may do, of what its manifest asks for. `plughost grant` and `plughost revoke`
# write here; so may you.

[grants]
"""


def add_grants(path: Path, plugin_id: str, permissions: Iterable[Permission]) -> None:
    """Add them to the plugin's list. Raises `ConfigError` if the file cannot be changed."""
    new = [str(permission) for permission in permissions]

    def change(table: Any) -> None:
        if plugin_id not in table:
            made = tomlkit.array()
            made.multiline(len(new) > 1)
            table[plugin_id] = made
        for text in new:
            table[plugin_id].append(text)

    edit_file(path, lambda document: change(_grants(document)), _HEADER)


def remove_grants(path: Path, plugin_id: str, texts: Iterable[str]) -> None:
    """Take these texts out of the plugin's list, which goes when it is empty.

    Raises `ConfigError` if the file cannot be changed.
    """
    unwanted = set(texts)

    def change(table: Any) -> None:
        listed: Array = table.get(plugin_id, tomlkit.array())
        for position in reversed(range(len(listed))):
            if listed[position] in unwanted:
                del listed[position]
        if not listed:
            table.pop(plugin_id, None)

    edit_file(path, lambda document: change(_grants(document)), _HEADER)


def _grants(document: TOMLDocument) -> Any:
    return document.setdefault("grants", tomlkit.table())


def edit_file(path: Path, change: Callable[[TOMLDocument], None], new: str = "") -> None:
    """Change a file as a whole or not at all; `new` is the text of one that is still to be made.

    Raises `ConfigError` if it cannot be changed; `change` may raise to leave it as it is.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    try:
        if path == Path(os.path.realpath(user_file())):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            before = _stamp(path)
            text = read_grants_text(path) if before else new
            parse_grants(path, text)
            document = tomlkit.parse(text)
            change(document)
            if _replace(path, tomlkit.dumps(document), before):
                return
    except OSError as exc:
        raise ConfigError(path, f"cannot be written: {exc.strerror}") from exc
    raise ConfigError(path, "is changed by somebody else all the time: try again")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of the file from another; None without a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _replace(path: Path, text: str, before: tuple[int, int, int] | None) -> bool:
    """Write the whole file or nothing; False if it is no longer what it was."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    made = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else f"{text}\n")
            if before is not None:
                old = path.stat()
                with suppress(PermissionError):  # root's own file, changed by root's group
                    os.fchown(descriptor, old.st_uid, old.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
            file.flush()
            os.fsync(descriptor)
        if _stamp(path) != before:
            return False
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return True
