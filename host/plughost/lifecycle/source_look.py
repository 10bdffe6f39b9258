"""What a plugin's folder holds that counts as its source. Two looks differ where it has changed."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import Final, TypeAlias

from plughost.catalog.manifest_files import has_manifest
from plughost.catalog.search_path import absolute
from plughost.hot_reload_config import HotReload

__all__ = ["NOTHING", "Look", "Rules", "Survey", "survey"]

IGNORED: Final = (
    "__pycache__",
    "node_modules",
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".venv",
    ".idea",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    "*.py[cod]",
    # What editors write beside the file itself, vim's test of whether it may among them.
    "*~",
    ".#*",
    "#*#",
    "*.sw?",
    "4913",
    "*.___jb_???___",
    "flycheck_*",
    ".DS_Store",
)
"""Never source, whatever the patterns say."""

_MAX_ENTRIES: Final = 20_000  # of one plugin: more than anybody writes, less than a second

_Stamp: TypeAlias = tuple[int, int, int]
"""When a file was written, its size and its inode."""


class Rules:
    """Which files count."""

    def __init__(self, config: HotReload) -> None:
        self._only = tuple(absolute(path) for path in config.paths)
        self._wanted = _matcher(config.patterns)
        self._ignored = _matcher((*IGNORED, *config.ignore))

    def covers(self, code: Path) -> bool:
        """Whether a plugin is watched at all."""
        return not self._only or any(code.is_relative_to(path) for path in self._only)

    def wants(self, path: str) -> bool:
        """Whether a file counts, by its path from the plugin's folder on."""
        return self._wanted(path)

    def ignores(self, path: str) -> bool:
        """Whether a file or a folder does not, or one that it lies in does not."""
        parts = path.split("/")
        return any(self._ignored("/".join(parts[: end + 1])) for end in range(len(parts)))


class _Matcher:
    def __init__(self, patterns: Iterable[str]) -> None:
        by_path = [pattern for pattern in patterns if "/" in pattern]
        by_name = [pattern for pattern in patterns if "/" not in pattern]
        self._paths = re.compile("|".join(map(translate, by_path)) or r"(?!)")
        self._names = re.compile("|".join(map(translate, by_name)) or r"(?!)")

    def __call__(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return bool(self._names.match(name) or self._paths.match(path))


def _matcher(patterns: Sequence[str]) -> _Matcher:
    return _Matcher([pattern.removeprefix("./") for pattern in patterns])


@dataclass(frozen=True, slots=True)
class Look:
    """What one plugin's folder or file held at one time."""

    files: Mapping[str, _Stamp]
    """By their paths from its folder on."""
    folders: tuple[str, ...] = field(default=(), compare=False)
    """Where these may lie."""
    is_whole: bool = True
    """False where there was more than is looked at."""

    def changes_since(self, before: "Look") -> tuple[str, ...]:
        """The files that have come, gone or changed."""
        names = {*self.files, *before.files}
        return tuple(
            sorted(name for name in names if self.files.get(name) != before.files.get(name))
        )


NOTHING: Final = Look({})


def _look(code: Path, rules: Rules, *, deep: bool) -> Look:
    """What is there now. Not `deep`: only the folder itself."""
    files: dict[str, _Stamp] = {}
    if not _is_folder(code):
        if (stamp := _stamp(code)) is not None:
            files[code.name] = stamp
        return Look(files, (str(code.parent),))
    folders: list[str] = []
    waiting = [""]
    seen = 0
    while waiting:
        inside = waiting.pop()
        folders.append(str(code / inside))
        for entry in _entries(code / inside):
            seen += 1
            if seen > _MAX_ENTRIES:
                return Look(files, tuple(folders), is_whole=False)
            path = f"{inside}/{entry.name}" if inside else entry.name
            if rules.ignores(path):
                continue
            # A link to a folder is not followed: it may lead anywhere, or round in a circle.
            if entry.is_dir(follow_symlinks=False):
                if deep:
                    waiting.append(path)
            elif rules.wants(path) and (stamp := _stamp(entry)) is not None:
                files[path] = stamp
    return Look(files, tuple(folders))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:  # it has gone meanwhile, or may not be read
        return


def _stamp(file: "os.DirEntry[str] | Path") -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is or may be a plugin, and the folders in which a change would show."""

    looks: Mapping[Path, Look] = field(default_factory=dict)
    """By folder or file."""
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """With device and inode: one that was made anew is another one."""

    def look(self, code: Path) -> Look:
        return self.looks.get(code, NOTHING)


def survey(places: Iterable[Path], codes: Iterable[Path], rules: Rules) -> Survey:
    """Look at the plugins in these places, and at these plugins wherever they are."""
    looks: dict[Path, Look] = {}
    folders: list[str] = []
    known = set(filter(rules.covers, codes))
    for place in places:
        folders.append(str(_nearest(place.parent)))
        if place in known or has_manifest(place):
            known.update(filter(rules.covers, [place]))
            continue
        if not _is_folder(place):
            continue
        folders.append(str(place))
        for entry in _entries(place):
            code = place / entry.name
            if code in known or rules.ignores(entry.name) or not rules.covers(code):
                continue
            if has_manifest(code):
                known.add(code)
            elif _is_folder(code):
                # It may become one. What lies deeper is none of ours.
                looks[code] = _look(code, rules, deep=False)
    for code in known:
        looks[code] = _look(code, rules, deep=True)
        folders.append(str(_nearest(code.parent)))
    for look in looks.values():
        folders += look.folders
    return Survey(looks, _identities(folders))


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - it never raises


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest around it that is there."""
    while not _is_folder(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _identities(folders: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for folder in dict.fromkeys(folders):
        try:
            status = os.stat(folder)  # noqa: PTH116 - texts, of which there may be thousands
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            found[folder] = status.st_dev, status.st_ino
    return found
