"""Plugins that came with installed packages, found without importing any code of theirs."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from plughost.errors import ManifestError

from .manifest_files import has_manifest

__all__ = ["GROUP", "InstalledPlugin", "installed_plugins"]

GROUP: Final = "plughost.plugins"


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """An entry point of the group, and what it points to."""

    name: str
    path: Path
    """The plugin's folder or its only file; if there is none, where one was looked for."""
    error: ManifestError | None = None


def installed_plugins() -> list[InstalledPlugin]:
    """What the packages on the import path say is a plugin, by name.

    An entry point names a package, or a module whose folder is the plugin's.
    """
    found = {_resolve(point) for point in entry_points(group=GROUP)}
    return sorted(found, key=lambda plugin: (plugin.name, str(plugin.path)))


def _resolve(point: EntryPoint) -> InstalledPlugin:
    parts = point.value.partition(":")[0].strip().split(".")
    looked_in = None
    if all(part.isidentifier() for part in parts):
        for place in _places(point, parts[0]):
            looked_in = looked_in or place
            if (root := _plugin_at(place, parts[1:])) is not None:
                return InstalledPlugin(point.name, root)
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    path = looked_in or Path(parts[0])
    problem = (
        f"the entry point {point.name!r}{package} names {point.value!r}, and there is no plugin: "
        "name the package in which its manifest lies"
    )
    return InstalledPlugin(point.name, path, ManifestError(path, [problem]))


def _places(point: EntryPoint, package: str) -> Iterator[Path]:
    """Where a package's folder, or its module without a suffix, may be."""
    if point.dist is not None:
        yield Path(str(point.dist.locate_file(package)))
    # An editable package lies elsewhere. Of a name without a dot, no code runs to find it.
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return
    if spec is not None and spec.submodule_search_locations is not None:
        yield from map(Path, spec.submodule_search_locations)
    elif spec is not None and spec.origin is not None:
        yield Path(spec.origin).with_suffix("")


def _plugin_at(place: Path, parts: list[str]) -> Path | None:
    """The plugin that a module of the package at this place is, or lies in."""
    path = place.joinpath(*parts)
    if has_manifest(path):
        return path
    module = path.with_name(f"{path.name}.py")
    if not module.is_file():
        return None
    if has_manifest(module):
        return module
    # Of a module without a package, the folder is everybody's.
    return path.parent if parts and has_manifest(path.parent) else None
