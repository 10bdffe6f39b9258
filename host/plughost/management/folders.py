"""Where the command looks for plugins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from plughost.catalog.discovery import Found, discover
from plughost.errors import UnknownPlugin
from plughost_protocol import ErrorCode

from .problems import CommandFailed, Problem

__all__ = ["DEFAULT_FOLDER", "find_plugin", "folders_or_default", "installed_plugins"]

DEFAULT_FOLDER: Final = Path("plugins")


def folders_or_default(folders: Sequence[Path]) -> list[Path]:
    """The folders given, or ./plugins. Raises `CommandFailed` where there is none."""
    if folders:
        return list(folders)
    if not DEFAULT_FOLDER.is_dir():
        raise CommandFailed(
            Problem(
                "no folder with plugins was given",
                "without one, ./plugins is taken, and there is none here",
                "name the folder; or first: plughost new my-plugin --dir plugins",
            )
        )
    return [DEFAULT_FOLDER]


def installed_plugins(folders: Sequence[Path]) -> dict[str, Found]:
    """The plugins in these folders, by id."""
    return {plugin.manifest.id: plugin for plugin in discover(folders)[0]}


def find_plugin(plugin_id: str, folders: Sequence[Path], plugins: Mapping[str, Found]) -> Found:
    """One of `plugins`, which were found in `folders`. Raises `CommandFailed`."""
    if plugin_id in plugins:
        return plugins[plugin_id]
    refused = next((r for r in discover(folders)[1] if r.name == plugin_id), None)
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
            f"looked for in {', '.join(map(str, folders))}",
            "--dir DIR, where it is",
            code=ErrorCode.UNKNOWN_METHOD,
        )
    )
