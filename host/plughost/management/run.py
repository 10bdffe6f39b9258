"""`plughost run` and `plughost dev`: a host in the foreground, until it is told to stop.

The first SIGTERM or Ctrl-C drains: no new clients, open calls end, workers stop in good order.
The second one kills the workers.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Discovered
from plughost.config import HostConfig
from plughost.errors import ConfigError
from plughost.host import Host
from plughost.lifecycle.source_changes import ReloadOutcome
from plughost.lifecycle.states import State
from plughost.settings.files import find_grant_files
from plughost.supervision.logbook import LogEntry

from .background import on_interrupt, stop_at_once
from .changes import show_change
from .control import PluginStatus
from .control_server import ControlServer
from .excerpt import Excerpt, excerpt_of, excerpts, show_excerpts, show_traceback
from .exit_codes import ExitCode
from .journal import Journal
from .listener import listening
from .listing import shortened, show_hidden, state_style, tool_table
from .output import Cell, Column, Output
from .problems import Problem
from .socket_path import control_path
from .status import plugin_statuses, tools_of

__all__ = ["RunOptions", "run_host"]

_log: Final = logging.getLogger("plughost.hot_reload")

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
    there: Discovered | None
    """What is in the folders, if it is known."""
    socket: Path | None
    quiet: bool
    file: Path | None
    """The file with the grants, which is read again before plugins are loaded anew."""
    dev: bool = False
    """Whether somebody writes these plugins: then none that fails ends the command."""


async def run_host(output: Output, options: RunOptions) -> ExitCode:
    """Serve until a signal comes. 0 after a clean stop, 1 if no plugin could be started.

    With `dev` it serves whatever becomes of the plugins.
    """
    run = _Run(output, quiet=options.quiet, dev=options.dev)
    journal = run.journal
    path = control_path(options.socket, create=True)

    def grants() -> Mapping[str, Sequence[str]]:
        return find_grant_files(options.folders, options.file).merged()

    with listening(path) as listener, journal:
        async with on_interrupt(run.on_signal), ControlServer.on(listener, grants) as server:
            with run.starting:
                async with Host(
                    options.folders or None,
                    options.config,
                    there=options.there,
                    on_log=journal.write,
                    on_hot_reload=run.on_change,
                ) as host:
                    run.host = host
                    host.source_changes.before = lambda: _refresh(host, grants)
                    if run.announce(path):
                        server.serve(host)
                        await run.stop.wait()
                        server.stop_accepting()
                        run.say_what_is_open(server.open_calls)
                await server.flush()
    return run.exit_code()


async def _refresh(host: Host, grants: Callable[[], Mapping[str, Sequence[str]]]) -> None:
    """Read the grants anew, before plugins are loaded whose files have changed."""
    try:
        host.grants = await anyio.to_thread.run_sync(grants)
    except ConfigError as exc:
        _log.error("the grants are as they were: %s", exc)


class _Run:
    """How far one run has come, for the signals that end it."""

    def __init__(self, output: Output, *, quiet: bool, dev: bool) -> None:
        self.journal = Journal(output, quiet=quiet, is_told=self._is_told)
        self.starting = anyio.CancelScope()
        self.stop = anyio.Event()
        self.host: Host | None = None
        self._output = output
        self._quiet = quiet
        self._dev = dev
        self._signals = 0
        self._failed = False
        self._explained: set[str] = set()

    def on_signal(self, count: int) -> None:
        self._signals = count
        if self.host is None:
            self.starting.cancel()
        elif count == 1:
            self.stop.set()
        else:
            stop_at_once(self.host)

    def announce(self, path: Path) -> bool:
        """Say what runs and what does not; whether to go on."""
        host, output = self.host, self._output
        assert host is not None  # noqa: S101 - it has just been set
        statuses = plugin_statuses(host)
        tools = tools_of(host)
        running = [status for status in statuses if status.is_running]
        self._failed = not (running or self._dev)
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
            # That one is disabled is what its operator wants: it stands in the table.
            if not status.is_running and status.state != State.DISABLED:
                self._explain(status)
        if not self._failed:
            if output.as_json:
                output.json_line({"event": "ready"})
            else:
                hint = "" if self._quiet else f" on {path} (Ctrl-C stops)"
                output.line(Cell("ready", "bold green"), hint)
                if self._dev and not self._quiet:
                    waits = "" if running else "no plugin runs yet: "
                    output.line(f"{waits}files are watched, and what changes is loaded anew")
        self.journal.start_is_over()
        self._explained.clear()
        if self._failed:
            output.problem(
                Problem(
                    "no plugin could be started",
                    "each reason stands above",
                    "plughost check DIR, for one plugin at a time",
                    code="internal",
                )
            )
        return not self._failed

    def _explain(self, status: PluginStatus) -> None:
        why, found, traceback = self._code_of(status)
        if self._dev or not traceback:
            self._explained.add(status.id)
        if self._dev:
            then = "mend it: it is started at the next change"
        else:  # its traceback comes with its log
            why, found = status.problem, []
            then = f"mend that, then: plughost load {status.id}"
            if status.state == "refused":
                then = "mend it, then: plughost check DIR"
            elif traceback:
                then, traceback = f"plughost check {status.path}, for the traceback", ""
        problem = Problem(
            f"plugin {status.id} does not run ({status.state})",
            shortened(why),
            then,
            code="load_failed",
            details=traceback if self._output.as_json else "",
            facts={"places": [one.as_json() for one in found]} if found else None,
        )
        self._output.problem(problem)
        if not self._output.as_json:
            show_excerpts(self._output, found, sys.stderr)
            if self._output.debug or not found:
                show_traceback(self._output, traceback, sys.stderr)

    def _is_told(self, entry: LogEntry) -> bool:
        """Whether a line of the log tells what is shown as an error, or as a change, as well."""
        if not entry.about or self.host is None:
            return False
        changing = self.host.source_changes.under_way if self._dev else ()
        return entry.plugin in self._explained or entry.plugin in changing

    def _code_of(self, status: PluginStatus) -> tuple[str, list[Excerpt], str]:
        """Why a plugin does not run, the lines of code that keep it from that, the traceback."""
        assert self.host is not None  # noqa: S101 - it has long been set
        for refused in self.host.source_changes.refused():
            if refused.name == status.id:
                return status.problem, excerpts(refused.root, refused.error), ""
        plugin = self.host.plugins.get(status.id)
        if plugin is None or plugin.last_exit is None:
            return status.problem, [], ""
        end = plugin.last_exit
        return str(end), excerpt_of(plugin.found.code, end), end.traceback

    def on_change(self, outcome: ReloadOutcome) -> None:
        """Show what became of a plugin whose files have changed."""
        if not self._quiet or outcome.error is not None or self._output.as_json:
            self.journal.say(lambda: show_change(self._output, outcome))

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
