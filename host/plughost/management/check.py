"""`plughost check`: is this a plugin, and does it start?"""

from collections.abc import Sequence
from dataclasses import replace

import anyio
from msgspec import Struct

from plughost.catalog.discovery import Found
from plughost.catalog.manifest_files import other_sources
from plughost.config import HostConfig, PluginConfig
from plughost.errors import ManifestError
from plughost.host import Host
from plughost.lifecycle.plugin import HostedPlugin
from plughost.text import clean_line

from .background import on_interrupt
from .configuration import Configuration, Options
from .control import ToolInfo
from .exit_codes import ExitCode
from .folders import look_in
from .listing import tool_table
from .local_host import host_for_once
from .output import Cell, Output
from .status import tools_of
from .ungranted import Ungranted
from .waivers import warn_of_waived

__all__ = ["check_plugins"]


class _Asked(Struct):
    """A permission that a plugin asks for."""

    permission: str
    means: str
    reason: str
    optional: bool
    granted: bool


class _Mark(Struct):
    """A problem of a manifest, for an editor."""

    file: str
    line: int
    column: int
    """Both from 1; 0 where there is no place."""
    problem: str


class _Verdict(Struct):
    """What was found out about one plugin."""

    path: str
    id: str
    ok: bool
    problems: list[str] = []
    marks: list[_Mark] = []
    """Where in its manifest the problems are."""
    notes: list[str] = []
    """What is odd and keeps nothing from running."""
    log: list[str] = []
    """What it said while it failed to start: the traceback, and its standard error."""
    tools: list[ToolInfo] = []
    asks: list[_Asked] = []
    """What its manifest asks for."""
    grant: str = ""
    """The command that grants what it does not start without."""


async def check_plugins(output: Output, options: Options) -> ExitCode:
    """Read the manifests, start the plugins, say what is wrong.

    0 if nothing is, 7 if all that is wrong is that grants are missing, else 1.
    """
    configuration = Configuration.read(output, options)
    config, folders = configuration.host(), configuration.folders
    warn_of_waived(output, config.sandbox)
    there = look_in(folders)
    config = replace(config, plugins={**config.plugins, **_started(there.found, config)})
    verdicts = [
        _Verdict(
            path=str(found.root),
            id=found.name,
            ok=False,
            problems=_problems(found.error),
            marks=_marks(found.error),
        )
        for found in there.refused
    ]
    interrupted = anyio.CancelScope()
    async with on_interrupt(lambda _: interrupted.cancel()):
        with interrupted:
            async with host_for_once(folders, config, there=there) as host:
                for plugin in host.plugins.values():
                    lacks = Ungranted(plugin.id, plugin.policy.missing, folders, options.file)
                    verdicts.append(_verdict(host, plugin, lacks))
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
    if all(verdict.ok for verdict in verdicts):
        return ExitCode.OK
    lacking = all(verdict.ok or verdict.grant for verdict in verdicts)
    return ExitCode.PERMISSION if lacking else ExitCode.GENERAL


def _started(found: Sequence[Found], config: HostConfig) -> dict[str, PluginConfig]:
    """What holds for these plugins, but that each is started: one that sleeps is not checked."""
    ids = [one.manifest.id for one in found]
    return {name: replace(config.of(name), activation=("start",), enabled=True) for name in ids}


def _problems(error: Exception) -> list[str]:
    if isinstance(error, ManifestError):
        return error.located()
    return [str(error)]


def _marks(error: Exception) -> list[_Mark]:
    if not isinstance(error, ManifestError):
        return []
    return [
        _Mark(str(error.path), line, column, problem)
        for problem, (line, column) in zip(error.problems, error.marks, strict=True)
    ]


def _verdict(host: Host, plugin: HostedPlugin, lacks: Ungranted) -> _Verdict:
    found = plugin.found
    verdict = _Verdict(str(found.code), plugin.id, ok=plugin.active_worker is not None)
    if found.file is None:
        unread = other_sources(found.root)
        verdict.notes = [f"{path.name} holds a manifest, too, which is not read" for path in unread]
    verdict.notes += [f"it hides {path}" for path in found.hides]
    verdict.asks = [
        _Asked(
            str(ask.permission),
            ask.permission.in_words(),
            ask.reason,
            ask.optional,
            granted=ask not in plugin.policy.missing,
        )
        for ask in plugin.policy.asks
    ]
    verdict.grant = lacks.command() if lacks.needed else ""
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
        for note in verdict.notes:
            output.line(Cell(f"  {note}", "yellow"))
        _show_asks(output, verdict.asks)
        if verdict.tools:
            tool_table(output, verdict.tools)
        else:
            output.line("  it offers no tools")
        return
    word = Cell("not granted ", "yellow") if verdict.grant else Cell("failed ", "bold red")
    output.line(word, Cell(verdict.id, "bold"), f"  {verdict.path}")
    if verdict.grant:
        _show_asks(output, verdict.asks)
        output.line(f"  not started; to grant it: {verdict.grant}")
        return
    for problem in verdict.problems:
        output.line(f"  {problem}")
    for line in verdict.log:
        output.line(Cell(f"    {line}", "dim"))


def _show_asks(output: Output, asks: Sequence[_Asked]) -> None:
    for ask in asks:
        state = "granted" if ask.granted else "not granted"
        kind = ", optional" if ask.optional else ""
        why = f': "{clean_line(ask.reason)}"' if ask.reason else ""
        output.line(f"  asks to {ask.means} ({ask.permission}, {state}{kind}){why}")
