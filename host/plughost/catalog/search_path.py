"""Where plugins are looked for when no folder is named: the first that has an id wins."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from plughost.errors import PlughostError

__all__ = ["VARIABLE", "Place", "absolute", "describe_search", "search_folders", "search_path"]

VARIABLE: Final = "PLUGHOST_PLUGIN_PATH"
"""Folders before all others, separated as in PATH."""

_LOCAL: Final = (Path("plugins"), Path("src/plugins"))


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or file in which to look."""

    path: Path
    is_named: bool = False
    """Whether somebody named it: then it is a mistake that nothing is there."""
    name: str = ""
    """The entry point's, of an installed plugin."""
    error: PlughostError | None = None
    """Why there is nothing, where that is known."""


def absolute(path: Path) -> Path:
    """The path from the root on. Without `..`: a worker sees too little for that."""
    whole = path.absolute()
    # Not resolve(), which raises for links that lead round in a circle.
    return Path(os.path.realpath(whole)) if ".." in whole.parts else whole


def search_path() -> Iterator[Place]:
    """The places, in their order: the variable's, the user's, here, the system's, packages."""
    yield from (Place(path, is_named=True) for path in _of_variable())
    yield from map(Place, _standard())
    from .installed import installed_plugins

    for plugin in installed_plugins():
        yield Place(plugin.path, name=plugin.name, error=plugin.error)


def search_folders() -> list[Path]:
    """The folders of the search path, whether they are there or not."""
    return [*_of_variable(), *_standard()]


def describe_search() -> str:
    """The places, for who wonders why nothing was found."""
    told = [str(path) if path.is_absolute() else f"./{path}" for path in search_folders()]
    return f"{', '.join(told)} and the installed packages"


def _of_variable() -> list[Path]:
    written = os.environ.get(VARIABLE, "")
    return [Path(text).expanduser() for text in written.split(os.pathsep) if text]


def _standard() -> list[Path]:
    user = platformdirs.user_data_path("plughost")
    system = platformdirs.site_data_dir("plughost", multipath=True).split(os.pathsep)
    return [user / "plugins", *_LOCAL, *(Path(path, "plugins") for path in system)]
