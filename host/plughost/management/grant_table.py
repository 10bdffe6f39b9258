"""`plughost grants`: what plugins ask for, and what is granted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from plughost.catalog.asks import Ask
from plughost.catalog.permissions import Permission
from plughost.policy.grants import EVERYTHING
from plughost.settings.files import GrantFiles, find_grant_files

from .configuration import configured_folders, warn
from .exit_codes import ExitCode
from .folders import find_plugin, installed_plugins
from .output import Cell, Column, Output

__all__ = ["show_grants"]

_COLUMNS: Final = (
    Column("plugin"),
    Column("permission"),
    Column("means", fold=True),
    Column("reason", fold=True),
    Column("granted"),
    Column("file"),
)


def show_grants(
    output: Output, plugin_id: str, folders: Sequence[Path], file: Path | None
) -> ExitCode:
    """What each plugin asks for, in words, and whether it is granted; then what is of no use."""
    folders = folders or configured_folders(file)
    files = find_grant_files(folders, file)
    warn(output, files)
    plugins = installed_plugins(folders)
    granted = {name for found in files.read for name in found.grants} - {EVERYTHING}
    if plugin_id and plugin_id not in granted:
        find_plugin(plugin_id, folders, plugins)
    rows = []
    for name in sorted({*plugins, *granted}):
        if plugin_id in ("", name):
            asks = plugins[name].manifest.asks() if name in plugins else ()
            rows += [_asked(files, name, ask) for ask in asks]
            rows += _unused(files, name, asks, installed=name in plugins)
    if output.as_json:
        output.json(rows)
    elif rows:
        output.table(_COLUMNS, [_row(row) for row in rows])
    else:
        output.line("no plugin asks for anything, and nothing is granted")
    return ExitCode.OK


def _asked(files: GrantFiles, plugin_id: str, ask: Ask) -> dict[str, Any]:
    source = files.source_of(plugin_id, ask.permission)
    return {
        "plugin": plugin_id,
        "permission": str(ask.permission),
        "means": ask.permission.in_words(),
        "reason": ask.reason,
        "optional": ask.optional,
        "asked": True,
        "granted": source is not None,
        "file": "" if source is None else str(source),
    }


def _unused(
    files: GrantFiles, plugin_id: str, asks: Sequence[Ask], *, installed: bool
) -> list[dict[str, Any]]:
    """The grants that nothing asks for."""
    rows = []
    for file in files.read:
        for text in file.grants.get(plugin_id, ()):
            if text == EVERYTHING:
                continue
            permission = Permission.parse(text)
            if any(permission.includes(ask.permission) for ask in asks):
                continue
            rows.append(
                {
                    "plugin": plugin_id,
                    "permission": text,
                    "means": permission.in_words(),
                    "reason": "(not asked for)" if installed else "(no such plugin here)",
                    "optional": False,
                    "asked": False,
                    "granted": True,
                    "file": str(file.path),
                }
            )
    return rows


def _row(row: Mapping[str, Any]) -> list[str | Cell]:
    if row["granted"]:
        state = Cell("yes", "green") if row["asked"] else Cell("unused", "yellow")
    else:
        state = Cell("no (optional)", "dim") if row["optional"] else Cell("no", "bold red")
    words = [row["permission"], row["means"], row["reason"]]
    return [Cell(row["plugin"], "bold"), *words, state, row["file"]]
