"""`plughost configure`: new values for plugins of the running host, all or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .arguments import parse_arguments
from .config_edit import PluginValues
from .control_client import ControlClient
from .exit_codes import USAGE, ExitCode
from .output import Cell, Output
from .problems import CommandFailed, Problem
from .socket_path import control_path

__all__ = ["ConfigureOptions", "configure_plugins"]

_TOLD = {
    "taken": "its on_configure has the values",
    "restarted": "a new worker has the values",
    "kept": "it does not run: its next worker has the values",
}


@dataclass(frozen=True, slots=True)
class ConfigureOptions:
    """What `plughost configure` is told."""

    plugin: str
    """One plugin's id; empty where `values` are of several."""
    pairs: Sequence[str]
    values: str | None
    """A JSON object, of the plugin's values or of several plugins' by id."""
    replace: bool
    socket: Path | None
    save: bool
    """Whether the values outlast the host, in a file."""
    file: Path | None
    """The file to write, in place of the one that is found."""


async def configure_plugins(output: Output, options: ConfigureOptions) -> ExitCode:
    """Give the values, and say what became of them."""
    async with ControlClient.connect(control_path(options.socket)) as host:
        values: Mapping[str, Mapping[str, Any]]
        if options.plugin:
            schema = await host.config_schema(options.plugin)
            given = parse_arguments(options.pairs, options.values, schema, options.plugin)
            if not given and not options.replace:
                raise _nothing()
            values = {options.plugin: given}
        elif options.values is None:
            raise _nothing()
        else:
            values = _of_several(parse_arguments([], options.values, {}, "configure"))
        kept = None
        if options.save:
            kept = PluginValues.prepare(output, values, options.file, replace=options.replace)
        done = await host.configure(values, replace=options.replace)
    if kept is not None:
        kept.write()
    if output.as_json:
        output.json(done)
    else:
        for plugin_id, outcome in done.items():
            output.line(Cell(plugin_id, "bold"), f" {outcome}: {_TOLD.get(outcome, outcome)}")
        if kept is not None:
            output.line(f"kept in {kept.files.target}")
    return ExitCode.OK


def _of_several(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        return msgspec.convert(values, dict[str, dict[str, Any]])
    except msgspec.ValidationError as exc:
        then = """--values '{"weather": {"days": 3}}'"""
        raise CommandFailed(
            Problem("--values is no object of objects, by plugin id", str(exc), then, code=USAGE)
        ) from exc


def _nothing() -> CommandFailed:
    return CommandFailed(
        Problem("no values were given", then="plughost configure ID key=value", code=USAGE)
    )
