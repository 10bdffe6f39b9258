"""Finding plugins: in folders, as single files, in installed packages."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Final, NamedTuple

from plughost.errors import ManifestError, PlughostError

from .dependencies import Dependency
from .manifest import Manifest, find_manifest
from .manifest_files import FORMS, MANIFEST
from .search_path import Place, absolute, search_path

__all__ = ["Discovered", "Found", "Refused", "discover"]

_MAX_ENTRIES: Final = 50_000  # of a folder; more than any folder of plugins, less than a minute


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that can be started."""

    root: Path
    """Its folder, absolute; of a plugin of one file, the folder that this lies in;
    of one out of a text, none that is there."""
    manifest: Manifest
    file: Path | None = None
    """Its only file. Nothing else in the folder is its own."""
    text: str | None = field(default=None, repr=False)
    """Its code, of a plugin that is not on disk."""
    hides: tuple[Path, ...] = ()
    """Plugins of the same id that are found later and do not run."""
    needs: tuple[Dependency, ...] = field(init=False, repr=False, compare=False)
    """What it depends on."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", self.manifest.needs())

    @property
    def code(self) -> Path:
        """All that is its own: its folder, or its only file."""
        return self.file or self.root

    def depends_on(self, other: "Found") -> bool:
        """Whether it names another plugin, or a service that this says it provides."""
        return any(
            need.name in other.manifest.provides()
            if need.is_service
            else need.name == other.manifest.id
            for need in self.needs
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """What looks like a plugin and is none, and why."""

    name: str
    """The name of its folder or file; its path where that name is another's."""
    root: Path
    error: PlughostError


class Discovered(NamedTuple):
    """What there is."""

    found: list[Found]
    refused: list[Refused]


def discover(folders: Iterable[str | PathLike[str]] | None = None) -> Discovered:
    """The plugins in each folder, or on the search path.

    A folder is a plugin, or holds folders and files that are. The first plugin of an id wins: it
    hides those that are found later elsewhere, and another in the same folder is refused.
    """
    if folders is None:
        places: Iterable[Place] = search_path()
    else:
        places = [Place(Path(fspath(folder)), is_named=True) for folder in folders]
    found: dict[str, Found] = {}
    refused: list[Refused] = []
    for place in places:
        here: set[str] = set()
        for plugin in _plugins_in(place, refused):
            first = found.setdefault(plugin.manifest.id, plugin)
            if first is plugin:
                here.add(plugin.manifest.id)
            elif first.code.resolve() == plugin.code.resolve():
                continue
            elif plugin.manifest.id in here:
                refused.append(_twin(first, plugin))
            elif plugin.code not in first.hides:
                hides = (*first.hides, plugin.code)
                found[plugin.manifest.id] = replace(first, hides=hides)
    return Discovered(list(found.values()), _with_names_of_their_own(refused, found))


def _twin(first: Found, second: Found) -> Refused:
    taken = f"id: {first.manifest.id!r} is taken by {first.code}: give one of the two another id"
    path = second.file or second.root / MANIFEST
    return Refused(second.code.name, second.code, ManifestError(path, [taken]))


def _with_names_of_their_own(refused: list[Refused], found: Iterable[str]) -> list[Refused]:
    names = set(found)
    made = []
    for item in refused:
        own = replace(item, name=str(item.root)) if item.name in names else item
        names.add(own.name)
        made.append(own)
    return made


def _plugins_in(place: Place, refused: list[Refused]) -> Iterator[Found]:
    """The plugins at a place; what is broken there is added to `refused`."""
    path = absolute(place.path)
    if place.error is not None:
        refused.append(Refused(place.name or path.name, path, place.error))
        return
    before = len(refused)
    count = 0
    itself = _plugin_at(path, refused, may_be_anything=True)
    plugins = iter([itself]) if itself else _inside(path, refused, is_named=place.is_named)
    if len(refused) == before:
        for plugin in plugins:
            count += 1
            yield plugin
    if place.is_named and not count and len(refused) == before:
        problem = _remark(path) or f"holds no plugin: neither {MANIFEST} nor a folder with one"
        if path.is_file():
            problem = "is no plugin: it has no header '# /// plughost'"
        refused.append(Refused(path.name, path, ManifestError(path, [problem])))


def _inside(folder: Path, refused: list[Refused], *, is_named: bool) -> Iterator[Found]:
    if folder.is_file():
        return
    problem = ""
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number == _MAX_ENTRIES:
                    problem = f"it has more than {_MAX_ENTRIES} entries"
                    break
                if entry.name.endswith(".py") or not entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
    except OSError as exc:
        if is_named or not isinstance(exc, FileNotFoundError):
            problem = exc.strerror or str(exc)
    if problem:
        error = ManifestError(folder, [f"cannot be searched for plugins: {problem}"])
        refused.append(Refused(folder.name, folder, error))
        return
    for name in sorted(names):
        if (plugin := _plugin_at(folder / name, refused)) is not None:
            yield plugin


def _plugin_at(
    path: Path, refused: list[Refused], *, may_be_anything: bool = False
) -> Found | None:
    """The plugin that a folder or a file is, if it is one."""
    try:
        manifest = find_manifest(path) if path.suffix == ".py" or path.is_dir() else None
        if manifest is not None:
            is_file = not path.is_dir()
            return Found(path.parent if is_file else path, manifest, path if is_file else None)
        problem = "" if may_be_anything else _remark(path)
    except ManifestError as exc:
        refused.append(Refused(path.name, path, exc))
        return None
    except OSError as exc:
        problem = f"cannot be looked at: {exc.strerror}"
    if problem:
        refused.append(Refused(path.name, path, ManifestError(path, [problem])))
    return None


def _remark(path: Path) -> str:
    """What is wrong with what has no manifest and may be anything, unless it says otherwise."""
    if path.is_symlink() and not path.exists():
        return "is a symbolic link that leads nowhere, or round in a circle"
    if (path / "plugin.py").exists():
        return f"has a plugin.py and no manifest: write {MANIFEST} (or in {' or '.join(FORMS[1:])})"
    return ""
