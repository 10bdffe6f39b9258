"""Finding plugins in folders, and the order in which they start."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from os import PathLike, fspath
from pathlib import Path

from plughost.errors import ManifestError, PlughostError

from .manifest import MANIFEST, Manifest, read_manifest

__all__ = ["Found", "Refused", "discover", "start_order"]


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that can be started."""

    root: Path
    """Its folder, absolute; of a plugin out of a text, one that is not there."""
    manifest: Manifest
    text: str | None = field(default=None, repr=False)
    """Its code, of a plugin that is not on disk."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A folder that looks like a plugin and is none, and why."""

    name: str
    """The plugin's id where it is known, else the folder's name."""
    root: Path
    error: PlughostError


def discover(folders: Iterable[str | PathLike[str]]) -> tuple[list[Found], list[Refused]]:
    """The plugins in each folder, which holds either a manifest itself or folders that do.

    The first of two plugins with the same id wins; the other is refused.
    """
    found: dict[str, Found] = {}
    refused: list[Refused] = []
    for folder in folders:
        for root in _candidates(Path(fspath(folder)).absolute(), refused):
            try:
                manifest = read_manifest(root)
            except ManifestError as exc:
                refused.append(Refused(root.name, root, exc))
                continue
            first = found.setdefault(manifest.id, Found(root, manifest))
            if first.root != root:
                taken = [f"id: {manifest.id!r} is taken by {first.root}"]
                refused.append(Refused(root.name, root, ManifestError(root / MANIFEST, taken)))
    return list(found.values()), refused


def _candidates(folder: Path, refused: list[Refused]) -> list[Path]:
    if (folder / MANIFEST).exists():
        return [folder]
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as exc:
        error = ManifestError(folder, [f"cannot be searched for plugins: {exc.strerror}"])
        refused.append(Refused(folder.name, folder, error))
        return []
    plugins = [path for path in inside if (path / MANIFEST).exists()]
    # A folder without a manifest may be anything, unless it says that it is a plugin.
    for path in inside:
        if path not in plugins and (path / "plugin.py").exists():
            error = ManifestError(path / MANIFEST, ["is missing: write one beside plugin.py"])
            refused.append(Refused(path.name, path, error))
    if not plugins and not refused:
        error = ManifestError(
            folder, [f"holds no plugin: neither {MANIFEST} nor a folder with one"]
        )
        refused.append(Refused(folder.name, folder, error))
    return plugins


def start_order(plugins: Mapping[str, Found]) -> tuple[list[str], dict[str, str]]:
    """The ids, dependencies first, and for each that cannot start the reason."""
    refused: dict[str, str] = {}
    for plugin_id, plugin in plugins.items():
        missing = [name for name in plugin.manifest.dependencies if name not in plugins]
        if missing:
            refused[plugin_id] = f"it needs {', '.join(missing)}, which is not installed"
    graph = {
        plugin_id: [name for name in plugin.manifest.dependencies if name in plugins]
        for plugin_id, plugin in plugins.items()
    }
    while True:
        try:
            return list(TopologicalSorter(graph).static_order()), refused
        except CycleError as exc:
            cycle: list[str] = exc.args[1]
            for plugin_id in cycle[:-1]:
                refused[plugin_id] = f"dependencies go round: {' -> '.join(reversed(cycle))}"
                graph[plugin_id] = []
