"""What a host says of its plugins and tools, for the command to show."""

import msgspec

from plughost.errors import NotRunning, StartFailed, StillNeeded
from plughost.exits import Cause
from plughost.host import Host
from plughost.lifecycle.canary import CanaryStatus
from plughost.lifecycle.commands import CommandOutcome
from plughost.lifecycle.plugin import HostedPlugin
from plughost.lifecycle.states import State

from .control import CanaryInfo, CommandResult, PluginStatus, ToolInfo

__all__ = ["command_result", "plugin_status", "plugin_statuses", "tools_of"]


def plugin_statuses(host: Host) -> list[PluginStatus]:
    """All plugins, and the folders that were refused."""
    statuses = [plugin_status(host, plugin) for plugin in host.plugins.values()]
    refused = {name: why for name, why in host.problems.items() if name not in host.plugins}
    statuses += [PluginStatus(name, "refused", problem=why) for name, why in refused.items()]
    return sorted(statuses, key=lambda status: status.id)


def plugin_status(host: Host, plugin: HostedPlugin) -> PluginStatus:
    """One plugin as it is now."""
    usage = host.usage(plugin.id)
    end = plugin.last_exit
    unresponsive = plugin.state is State.ACTIVE and plugin.is_unresponsive
    return PluginStatus(
        id=plugin.id,
        state="unresponsive" if unresponsive else plugin.state.value,
        version=plugin.version,
        pid=plugin.pid or None,
        uptime=plugin.uptime,
        restarts=plugin.restarts,
        cpu=usage.cpu,
        memory=usage.memory,
        calls=plugin.stats.calls,
        errors=plugin.stats.errors,
        problem=plugin.error or ("" if end is None or end.cause is Cause.STOPPED else str(end)),
        reload_error=plugin.reload_error,
        stderr=end.stderr if end else (),
        stack=end.stack if end else "",
        degraded=host.config.sandbox_of(plugin.id).waived,
        path=str(plugin.found.code),
        hides=tuple(map(str, plugin.found.hides)),
        canary=None if plugin.canary is None else _canary_info(plugin.canary),
    )


def _canary_info(canary: CanaryStatus) -> CanaryInfo:
    new, old, terms = canary.new, canary.old, canary.terms
    return CanaryInfo(
        version=canary.version,
        share=terms.share,
        calls=new.calls,
        errors=new.errors,
        invalid=new.invalid,
        old_calls=old.calls,
        old_errors=old.errors,
        old_invalid=old.invalid,
        elapsed=canary.elapsed,
        judged_after_calls=terms.calls,
        judged_after=terms.seconds,
    )


def command_result(outcome: CommandOutcome) -> CommandResult:
    """How a command on one plugin ended."""
    error = outcome.error
    return CommandResult(
        outcome.plugin,
        outcome.state,
        outcome.version,
        "" if error is None else error.code,
        "" if error is None else str(error),
        error.needed_by if isinstance(error, StillNeeded) else (),
        outcome.canary,
        "" if error is None else type(error).__name__,
        error.traceback if isinstance(error, StartFailed) else "",
    )


def tools_of(host: Host, plugin_id: str = "") -> list[ToolInfo]:
    """The tools of one plugin or of all. Raises `UnknownPlugin`, `NotRunning`."""
    if plugin_id:
        _check_runs(host, plugin_id)
    tools = [tool for tool in host.tools.values() if plugin_id in ("", tool.plugin)]
    infos = [msgspec.convert(tool, ToolInfo, from_attributes=True) for tool in tools]
    return sorted(infos, key=lambda tool: tool.name)


def _check_runs(host: Host, plugin_id: str) -> None:
    if plugin_id not in host.plugins and plugin_id in host.problems:
        raise NotRunning(plugin_id, "refused", host.problems[plugin_id])
    plugin = host.plugin(plugin_id)
    if plugin.state is not State.ACTIVE and not any(
        tool.plugin == plugin_id for tool in host.tools.values()
    ):
        raise NotRunning(plugin_id, plugin.state, plugin.error)
