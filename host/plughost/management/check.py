"""`plughost check`: is this a plugin, and does it start?"""

from collections.abc import Sequence
from pathlib import Path

import anyio
from msgspec import Struct

from plughost.catalog.discovery import discover
from plughost.errors import ManifestError
from plughost.host import Host
from plughost.lifecycle.plugin import HostedPlugin

from .background import on_interrupt
from .control import ToolInfo
from .exit_codes import ExitCode
from .listing import tool_table
from .local_host import host_for_once
from .output import Cell, Output
from .status import tools_of

__all__ = ["check_plugins"]


class _Verdict(Struct):
    """What was found out about one plugin."""

    path: str
    id: str
    ok: bool
    problems: list[str] = []
    log: list[str] = []
    """What it said while it failed to start: the traceback, and its standard error."""
    tools: list[ToolInfo] = []


async def check_plugins(output: Output, folders: Sequence[Path]) -> ExitCode:
    """Read the manifests, start the plugins, say what is wrong. 0, or 1 if anything is."""
    _, refused = discover(folders)
    verdicts = [
        _Verdict(
            path=str(found.root),
            id=found.name,
            ok=False,
            problems=_problems(found.error),
        )
        for found in refused
    ]
    interrupted = anyio.CancelScope()
    async with on_interrupt(lambda _: interrupted.cancel()):
        with interrupted:
            async with host_for_once(folders) as host:
                verdicts += [_verdict(host, plugin) for plugin in host.plugins.values()]
    if interrupted.cancelled_caught:
        return ExitCode.INTERRUPTED
    verdicts.sort(key=lambda verdict: verdict.path)
    if output.as_json:
        output.json(verdicts)
    else:
        for position, verdict in enumerate(verdicts):
            if position:
                output.line("")
            _show(output, verdict)
    return ExitCode.OK if all(verdict.ok for verdict in verdicts) else ExitCode.GENERAL


def _problems(error: Exception) -> list[str]:
    if isinstance(error, ManifestError):
        return [f"{error.path}: {problem}" for problem in error.problems]
    return [str(error)]


def _verdict(host: Host, plugin: HostedPlugin) -> _Verdict:
    verdict = _Verdict(str(plugin.found.root), plugin.id, ok=plugin.active_worker is not None)
    if verdict.ok:
        verdict.tools = tools_of(host, plugin.id)
        return verdict
    # That a check starts nothing twice, which `plugin.error` adds, is no news here.
    reason = str(plugin.last_exit or plugin.error)
    verdict.problems = [reason]
    entries = [entry for entry in plugin.log.entries if reason not in entry.message]
    verdict.log = [entry.message for entry in entries]
    return verdict


def _show(output: Output, verdict: _Verdict) -> None:
    if verdict.ok:
        output.line(Cell("ok ", "bold green"), Cell(verdict.id, "bold"), f"  {verdict.path}")
        if verdict.tools:
            tool_table(output, verdict.tools)
        else:
            output.line("  it offers no tools")
        return
    output.line(Cell("failed ", "bold red"), Cell(verdict.id, "bold"), f"  {verdict.path}")
    for problem in verdict.problems:
        output.line(f"  {problem}")
    for line in verdict.log:
        output.line(Cell(f"    {line}", "dim"))
