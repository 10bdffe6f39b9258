"""Which `plughost.toml` are read, and into which the command writes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import platformdirs

from plughost.catalog.granted_paths import GRANTS_FILE
from plughost.catalog.manifest_files import has_manifest
from plughost.catalog.permissions import Permission
from plughost.catalog.scopes import path_of
from plughost.catalog.search_path import search_folders
from plughost.catalog.toml_marks import toml_marks
from plughost.errors import ConfigError
from plughost.policy.grants import EVERYTHING, granted_to
from plughost.policy.grants_file import (
    grants_in,
    parse_document,
    parse_grants,
    read_grants_text,
)

__all__ = [
    "GrantFile",
    "GrantFiles",
    "find_grant_files",
    "system_file",
    "user_file",
    "why_a_plugins",
]

_WRITE: Final = "fs:write"


@dataclass(frozen=True, slots=True)
class GrantFile:
    """A file that was read."""

    path: Path
    text: str
    grants: Mapping[str, tuple[str, ...]]

    @classmethod
    def load(cls, path: Path, *, lenient: bool = False) -> Self:
        """Raises `ConfigError` for one that has a mistake or cannot be trusted.

        `lenient` is for who names all mistakes later, when it reads the text itself.
        """
        text = read_grants_text(path)
        if not lenient:
            return cls(path, text, parse_grants(path, text))
        try:
            document = parse_document(path, text)
        except ConfigError:
            return cls(path, text, {})
        return cls(path, text, grants_in(path, document.get("grants", {}), toml_marks(text))[1])


@dataclass(frozen=True, slots=True)
class GrantFiles:
    """The files: the system's first, the user's own, then the one of this folder."""

    read: tuple[GrantFile, ...]
    target: Path
    """Where new grants go; it may be still to be made."""
    passed_over: tuple[str, ...]
    """Files that are there and were not read, and why."""

    def merged(self) -> dict[str, tuple[str, ...]]:
        """The grants of all files together, for `HostConfig.grants`."""
        grants: dict[str, tuple[str, ...]] = {}
        for file in self.read:
            for plugin_id, texts in file.grants.items():
                grants[plugin_id] = (*grants.get(plugin_id, ()), *texts)
        return grants

    def source_of(self, plugin_id: str, asked: Permission) -> Path | None:
        """The file that grants it, if any does."""
        for file in self.read:
            if granted_to(plugin_id, file.grants).covers(asked):
                return file.path
        return None


def system_file() -> Path:
    """The machine's file, which holds for every user."""
    return platformdirs.site_config_path("plughost") / GRANTS_FILE


def user_file() -> Path:
    """The user's own file, which holds in every folder."""
    return platformdirs.user_config_path("plughost") / GRANTS_FILE


def find_grant_files(
    folders: Iterable[Path],
    given: Path | None,
    *,
    may_be_new: bool = False,
    lenient: bool = False,
) -> GrantFiles:
    """Read the file that is given, else the system's, the user's own and `./plughost.toml`.

    `folders` are those that were named; without one, plugins lie on the search path. No file in a
    plugin's folder is read: a plugin would grant to itself. `may_be_new` is for who writes it,
    `lenient` for who names all mistakes itself. Raises `ConfigError` for a file that has a mistake
    or cannot be trusted.
    """
    folders = [folder.resolve() for folder in list(folders) or search_folders()]
    if given is not None:
        if why := why_a_plugins(given, folders):
            raise ConfigError(given, why)
        there = given.exists() or not may_be_new
        read = (GrantFile.load(given, lenient=lenient),) if there else ()
        return GrantFiles(read, given, ())
    files: list[GrantFile] = []
    passed_over = []
    target = user_file()
    for path in (system_file(), user_file(), Path(GRANTS_FILE)):
        if not path.exists() or any(path.samefile(file.path) for file in files):
            continue
        if why := why_a_plugins(path, folders) or _can_be_written(path, files):
            passed_over.append(f"{path} is not read: it {why}")
            continue
        files.append(GrantFile.load(path, lenient=lenient))
        if path == Path(GRANTS_FILE):
            target = path
    return GrantFiles(tuple(files), target, tuple(passed_over))


def why_a_plugins(path: Path, folders: Sequence[Path]) -> str:
    """Why a file could be a plugin's own doing, or nothing."""
    real = path.resolve()
    if has_manifest(real.parent):
        return "lies in a plugin's folder, and a plugin grants itself nothing"
    for folder in folders:
        if real.is_relative_to(folder):
            return f"lies in {folder}, among plugins, and a plugin grants itself nothing"
    return ""


def _can_be_written(path: Path, files: Sequence[GrantFile]) -> str:
    """Why a plugin could have written a file, by what is granted elsewhere; or nothing."""
    real = path.resolve()
    for file in files:
        for plugin_id, texts in file.grants.items():
            for text in texts:
                permission = Permission.parse(text) if text != EVERYTHING else None
                if permission is None or permission.name != _WRITE:
                    continue
                if real.is_relative_to(path_of(permission.scope)):
                    return f"can be written by {plugin_id}, which is granted {permission}"
    return ""
