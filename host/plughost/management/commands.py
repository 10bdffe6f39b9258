"""`plughost load`, `unload`, `reload`, `enable`, `disable` and `activate`, over a running host."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio.to_thread

from .control import CanaryTerms, CommandResult, RunCommand
from .control_client import ControlClient, HostError
from .exit_codes import ExitCode, exit_code_of
from .listing import STATE_STYLES
from .output import Cell, Output
from .problems import problem_of
from .socket_path import control_path

__all__ = ["CommandOptions", "activate_plugins", "run_command"]


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """What the command is told."""

    command: Literal["load", "unload", "reload", "enable", "disable"]
    plugins: Sequence[str] | None
    """Ids, and folders with a slash in them; None for all that it can be done to."""
    cascade: bool
    deadline: float | None
    socket: Path | None
    canary: CanaryTerms | None = None


async def run_command(output: Output, options: CommandOptions) -> ExitCode:
    """Have it done, and say what became of each plugin."""
    names = None if options.plugins is None else [_absolute(name) for name in options.plugins]
    async with ControlClient.connect(control_path(options.socket)) as host:

        async def run(plugins: list[str] | None, *, cascade: bool) -> list[CommandResult]:
            asked = RunCommand(options.command, plugins, cascade, options.deadline, options.canary)
            return await host.command(asked)

        results = await run(names, cascade=options.cascade)
        for needed in [result for result in results if result.needed_by]:
            if await _may_cascade(output, needed):
                results.remove(needed)
                results += await run([needed.plugin], cascade=True)
    return _tell(output, options.command, results)


async def activate_plugins(
    output: Output, command: str, deadline: float | None, socket: Path | None
) -> ExitCode:
    """Start those that are there for this command. 0 where none is, too."""
    async with ControlClient.connect(control_path(socket)) as host:
        started = await host.activate(command, deadline)
    if output.as_json:
        output.json(started)
    elif started:
        for plugin_id in started:
            output.line(Cell(plugin_id, "bold"), " ", Cell("active", "green"))
    else:
        output.line(Cell(f"no plugin waits for the command {command}", "dim"))
    return ExitCode.OK


def _absolute(name: str) -> str:
    """A folder as the host finds it, which runs elsewhere; an id as it is."""
    return str(Path(name).absolute()) if "/" in name else name


async def _may_cascade(output: Output, needed: CommandResult) -> bool:
    """Whether a person at a terminal wants those unloaded that need a plugin."""
    if output.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    others = ", ".join(needed.needed_by)
    output.line(f"{needed.plugin} is needed by {others}", stream=sys.stderr)
    sys.stderr.write("Unload them, too? [y/N] ")
    sys.stderr.flush()
    typed = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    return typed.strip().lower() in ("y", "yes")


def _tell(output: Output, command: str, results: Sequence[CommandResult]) -> ExitCode:
    failed = [result for result in results if not result.is_done]
    if output.as_json:
        output.json([{"done": result.is_done, **_fields(result)} for result in results])
    else:
        for result in results:
            if result.is_done:
                state = Cell(result.state, STATE_STYLES.get(result.state, ""))
                trial = f", with version {result.canary} on trial" if result.canary else ""
                output.line(Cell(result.plugin, "bold"), f" {result.version} ", state, trial)
        if not results:
            output.line(Cell(f"there is nothing to {command}", "dim"))
        for result in failed:
            error = HostError(result.code, result.error, result.type, result.traceback)
            output.problem(problem_of(error))
    return exit_code_of(failed[0].code) if failed else ExitCode.OK


def _fields(result: CommandResult) -> dict[str, object]:
    fields = ("plugin", "state", "version", "code", "error", "needed_by", "canary")
    return {field: getattr(result, field) for field in fields}
