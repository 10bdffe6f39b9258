"""`plughost run`: a host in the foreground, until it is told to stop.

The first SIGTERM or Ctrl-C drains: no new clients, open calls end, workers stop in good order.
The second one kills the workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from plughost.config import HostConfig
from plughost.host import Host
from plughost.settings.files import find_grant_files

from .background import on_interrupt, stop_at_once
from .control import PluginStatus
from .control_server import ControlServer
from .exit_codes import ExitCode
from .journal import Journal
from .listener import listening
from .listing import shortened, show_hidden, state_style, tool_table
from .output import Cell, Column, Output
from .problems import Problem
from .socket_path import control_path
from .status import plugin_statuses, tools_of

__all__ = ["RunOptions", "run_host"]

_COLUMNS: Final = (
    Column("id"),
    Column("version"),
    Column("state"),
    Column("pid", right=True),
    Column("tools", right=True),
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `plughost run` is told."""

    folders: Sequence[Path]
    config: HostConfig
    socket: Path | None
    quiet: bool
    file: Path | None
    """The file with the grants, which is read again before plugins are loaded anew."""


async def run_host(output: Output, options: RunOptions) -> ExitCode:
    """Serve until a signal comes. 0 after a clean stop, 1 if no plugin could be started."""
    journal = Journal(output, quiet=options.quiet)
    run = _Run(output, journal, quiet=options.quiet)
    path = control_path(options.socket, create=True)

    def grants() -> Mapping[str, Sequence[str]]:
        return find_grant_files(options.folders, options.file).merged()

    with listening(path) as listener, journal:
        async with on_interrupt(run.on_signal), ControlServer.on(listener, grants) as server:
            with run.starting:
                async with Host(
                    options.folders or None, options.config, on_log=journal.write
                ) as host:
                    run.host = host
                    if run.announce(path):
                        server.serve(host)
                        await run.stop.wait()
                        server.stop_accepting()
                        run.say_what_is_open(server.open_calls)
                await server.flush()
    return run.exit_code()


class _Run:
    """How far one run has come, for the signals that end it."""

    def __init__(self, output: Output, journal: Journal, *, quiet: bool) -> None:
        self.starting = anyio.CancelScope()
        self.stop = anyio.Event()
        self.host: Host | None = None
        self._output = output
        self._journal = journal
        self._quiet = quiet
        self._signals = 0
        self._failed = False

    def on_signal(self, count: int) -> None:
        self._signals = count
        if self.host is None:
            self.starting.cancel()
        elif count == 1:
            self.stop.set()
        else:
            stop_at_once(self.host)

    def announce(self, path: Path) -> bool:
        """Say what runs and what does not; whether anything does."""
        host, output = self.host, self._output
        assert host is not None  # noqa: S101 - it has just been set
        statuses = plugin_statuses(host)
        tools = tools_of(host)
        running = [status for status in statuses if status.is_running]
        self._failed = not running
        if output.as_json:
            output.json_line({"event": "start", "socket": str(path), "plugins": statuses})
        elif not self._quiet:
            counts = {s.id: sum(tool.plugin == s.id for tool in tools) for s in statuses}
            output.table(_COLUMNS, [_row(status, counts[status.id]) for status in statuses])
            if tools:
                output.line("")
                tool_table(output, tools)
            output.line("")
            for status in statuses:
                show_hidden(output, status)
        for status in statuses:
            if not status.is_running:
                self._explain(status)
        if running:
            if output.as_json:
                output.json_line({"event": "ready"})
            else:
                hint = "" if self._quiet else f" on {path} (Ctrl-C stops)"
                output.line(Cell("ready", "bold green"), hint)
        self._journal.start_is_over()
        if not running:
            output.problem(
                Problem(
                    "no plugin could be started",
                    "each reason stands above",
                    "plughost check DIR, for one plugin at a time",
                    code="internal",
                )
            )
        return bool(running)

    def _explain(self, status: PluginStatus) -> None:
        then = "plughost check DIR, for the traceback"
        if status.state == "refused":
            then = "mend it, then: plughost check DIR"
        problem = Problem(
            f"plugin {status.id} does not run ({status.state})",
            shortened(status.problem),
            then,
            code="load_failed",
        )
        self._output.problem(problem)

    def say_what_is_open(self, requests: int) -> None:
        calls = f"waiting for {requests} open calls" if requests else "stopping"
        if self._output.as_json:
            self._output.json_line({"event": "stopping", "open": requests})
        elif not self._quiet:
            self._output.line(Cell(f"{calls} (Ctrl-C again stops at once)", "dim"))

    def exit_code(self) -> ExitCode:
        if self._signals > 1 or (self._signals and self.host is None):
            return ExitCode.INTERRUPTED
        return ExitCode.GENERAL if self._failed else ExitCode.OK


def _row(status: PluginStatus, tools: int) -> list[str | Cell]:
    return [
        Cell(status.id, "bold"),
        status.version,
        Cell(status.state_in_words, state_style(status)),
        str(status.pid or ""),
        str(tools) if status.is_running else "",
    ]
