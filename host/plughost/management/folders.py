"""Where the command looks for plugins."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from plughost.catalog.discovery import Discovered, Found, discover
from plughost.catalog.search_path import describe_search
from plughost.errors import UnknownPlugin
from plughost_protocol import ErrorCode

from .problems import CommandFailed, Problem

__all__ = ["find_plugin", "installed_plugins", "look_in"]


def look_in(folders: Sequence[Path]) -> Discovered:
    """What is in the folders, or on the search path where none is given.

    Raises `CommandFailed` if none is given and nothing is there.
    """
    there = discover(folders or None)
    if folders or there.found or there.refused:
        return there
    raise CommandFailed(
        Problem(
            "no folder with plugins was given",
            f"without one they are looked for in {describe_search()}; there is none",
            "name the folder; or first: plughost new my-plugin --dir plugins",
        )
    )


def installed_plugins(folders: Sequence[Path]) -> dict[str, Found]:
    """The plugins in these folders or on the search path, by id."""
    return {plugin.manifest.id: plugin for plugin in discover(folders or None).found}


def find_plugin(plugin_id: str, folders: Sequence[Path], plugins: Mapping[str, Found]) -> Found:
    """One of `plugins`, which were found in `folders`. Raises `CommandFailed`."""
    if plugin_id in plugins:
        return plugins[plugin_id]
    refused = next((r for r in discover(folders or None).refused if r.name == plugin_id), None)
    if refused is not None:
        raise CommandFailed(
            Problem(
                f"{plugin_id} is no plugin yet",
                str(refused.error),
                f"plughost check {refused.root}",
                code=ErrorCode.LOAD_FAILED,
            )
        )
    raise CommandFailed(
        Problem(
            str(UnknownPlugin(plugin_id, plugins)),
            f"looked for in {', '.join(map(str, folders)) or describe_search()}",
            "--dir DIR, where it is",
            code=ErrorCode.UNKNOWN_METHOD,
        )
    )
