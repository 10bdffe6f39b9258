"""The façade: plugins out of folders, each in a worker of its own, and calls to their tools."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from os import PathLike
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from plughost.catalog.activation import Activation
from plughost.catalog.discovery import Discovered
from plughost.config import HostConfig
from plughost.errors import HostMisuse, PlughostError
from plughost.exchange.calls import CallContext, Outcome
from plughost.exchange.events.application import Events
from plughost.exchange.events.bus import EventBus
from plughost.exchange.events.event import HOST, Event, Origin
from plughost.exchange.hooks.application import Hooks
from plughost.exchange.hooks.service import HookService
from plughost.exchange.service_calls import Services
from plughost.exchange.tools import Tool
from plughost.lifecycle.canary import Canary
from plughost.lifecycle.code_plugin import Permissions
from plughost.lifecycle.code_plugins import CodePlugins
from plughost.lifecycle.commands import DEADLINE as COMMAND_DEADLINE
from plughost.lifecycle.commands import CommandOutcome, Commands
from plughost.lifecycle.configuring import Configured, Configuring
from plughost.lifecycle.health import Health
from plughost.lifecycle.plugin import HostedPlugin
from plughost.lifecycle.roster import Roster
from plughost.lifecycle.source_changes import ReloadOutcome, SourceChanges
from plughost.policy.grants import check_grants
from plughost.runtime import Runtime
from plughost.services.http.service import check_http
from plughost.services.memory.service import MemoryService
from plughost.services.scheduler.service import SchedulerService
from plughost.services.users.service import UsersService
from plughost.supervision.logbook import LogEntry
from plughost.supervision.watch import Usage

__all__ = ["Host"]


class Host:
    """Runs the plugins of some folders, or of the search path, while its block lasts.

    >>> async with Host(["plugins"]) as host:  # doctest: +SKIP
    ...     await host.call("text-tools.count", {"text": "three small words"})

    A plugin that does not start is in `error` and keeps nothing else from running; `problems`
    says why. `there` is what `discover` has found in them: then they are not searched again, but
    with hot reload. Works on asyncio and on trio.
    """

    def __init__(
        self,
        folders: Iterable[str | PathLike[str]] | None = None,
        config: HostConfig | None = None,
        *,
        there: Discovered | None = None,
        on_log: Callable[[LogEntry], None] | None = None,
        on_hot_reload: Callable[[ReloadOutcome], None] | None = None,
    ) -> None:
        self.config = config or HostConfig()
        check_grants(self.config.grants)
        check_http(self.config)
        Activation.check(self.config)
        self.grants = self.config.grants
        """What is granted to what is loaded from now on; what runs keeps what it has."""
        places = None if folders is None else [Path(folder) for folder in folders]
        self._roster = Roster(places, there, on_log)
        self._plugins = self._roster.plugins
        self._commands = Commands(self._roster, self._tell_reload_failed)
        self.source_changes = SourceChanges(
            self._roster, self._commands, lambda: self.tools, on_hot_reload
        )
        """What hot reload does with files that changed, where it is on."""
        self._stack = AsyncExitStack()
        self._entered = False
        self._runtime: Runtime
        self._texts = CodePlugins(self._roster, self._commands, self.config)
        self._bus = EventBus(self.config.events)
        self._configuring = Configuring(self._roster, self._bus)
        self.events = Events(self._bus)
        """The events of plugins, of the host and of the application; there before it runs."""
        self._hooks = HookService(self.config.hooks, self._plugins, self._bus)
        self.hooks = Hooks(self._hooks, self._bus)
        """The hooks of plugins and of the application; there before it runs."""

    async def __aenter__(self) -> Self:
        if self._entered:
            raise HostMisuse("a Host is entered once: make a new one")
        self._entered = True
        try:
            await self._enter()
        except BaseExceptionGroup as group:
            # The task group that the host lives in wraps what ended it.
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The block's own exception goes on as it is, not wrapped in our task group's.
        await self._stack.__aexit__(None, None, None)

    async def _enter(self) -> None:
        async with AsyncExitStack() as stack:
            self._runtime = await stack.enter_async_context(
                Runtime.opened(
                    self.config,
                    self._roster,
                    self._bus,
                    self._hooks,
                    lambda: self.grants,
                    self.source_changes,
                )
            )
            await self._runtime.start()
            self._stack = stack.pop_all()

    # Calls

    async def call(
        self,
        tool: str,
        params: Mapping[str, Any] | None = None,
        *,
        context: CallContext | None = None,
    ) -> Any:
        """The result of a tool, named `PLUGIN.TOOL` or by its name for models.

        Parameters are a mapping of what JSON or msgpack can hold, `bytes` included. Raises
        `UnknownTool`, `InvalidParams`, `NotRunning`, `Overloaded` before anything is sent;
        `ToolError`, `CallTimeout`, `WorkerDied` after.
        """
        return await self._runtime.caller.call(tool, params or {}, context)

    async def call_many(
        self,
        calls: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        context: CallContext | None = None,
    ) -> list[Outcome]:
        """The outcome of each call, in their order. They run side by side."""
        return await self._runtime.caller.call_many(calls, context)

    @asynccontextmanager
    async def stream(
        self,
        tool: str,
        params: Mapping[str, Any] | None = None,
        *,
        context: CallContext | None = None,
    ) -> AsyncGenerator[AsyncIterator[Any], None]:
        """The items of a streaming tool, as they come; leaving the block ends the call.

        >>> async with host.stream("archive-reader.read", {...}) as chunks:  # doctest: +SKIP
        ...     async for chunk in chunks: ...
        """
        items = self._runtime.caller.stream(tool, params or {}, context)
        try:
            yield items
        finally:
            await items.aclose()

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools that there are, by full name."""
        return {entry.tool.name: entry.tool for entry in self._runtime.tools}

    # Events

    async def emit(
        self,
        name: str,
        data: object = None,
        *,
        correlation_id: str = "",
        user_id: str = "",
        request_id: str = "",
        trace: str = "",
    ) -> Event | None:
        """Emit an event, which waits for no subscriber; see `Events.emit`."""
        return await self.events.emit(
            name,
            data,
            correlation_id=correlation_id,
            user_id=user_id,
            request_id=request_id,
            trace=trace,
        )

    # Plugins

    @property
    def plugins(self) -> Mapping[str, HostedPlugin]:
        """The plugins, by id, whatever their state."""
        return MappingProxyType(self._plugins)

    @property
    def problems(self) -> dict[str, str]:
        """Why each plugin that does not run does not, by id or folder name."""
        problems = {refused.name: str(refused.error) for refused in self._roster.refused}
        for plugin in self._plugins.values():
            if plugin.error and plugin.active_worker is None:
                problems[plugin.id] = plugin.error
        return problems

    def plugin(self, plugin_id: str) -> HostedPlugin:
        """Raises `UnknownPlugin`, with the nearest name."""
        return self._roster.plugin(plugin_id)

    def usage(self, plugin_id: str) -> Usage:
        """Memory and CPU of a plugin's worker at the last look."""
        return self._runtime.usage(plugin_id)

    async def health(self, *plugin_ids: str) -> dict[str, Health]:
        """How well all plugins do, or these, by id: what the host sees, and what they say.

        Takes at most `HealthConfig.timeout`. Raises `UnknownPlugin`.
        """
        plugins = [self.plugin(plugin_id) for plugin_id in plugin_ids or self._plugins]
        return await self._runtime.health.check_all(plugins, self.usage)

    @property
    def memory(self) -> MemoryService:
        """What is remembered of users."""
        return self._runtime.memory

    @property
    def users(self) -> UsersService:
        """Who the users are."""
        return self._runtime.users

    @property
    def services(self) -> Services:
        """The services that plugins provide."""
        return Services(self._runtime.exchange)

    @property
    def scheduler(self) -> SchedulerService:
        """The tasks of all plugins: see them, or run one now."""
        return self._runtime.scheduler

    async def configure(
        self, values: Mapping[str, Mapping[str, Any]], *, replace: bool = False
    ) -> dict[str, Configured]:
        """Give plugins new values, by plugin id, and say what became of each: all or none.

        Values that are not named stay, unless `replace` drops them. Raises `UnknownPlugin`;
        `InvalidConfig` before anything is changed; `StartFailed` for a plugin that does not load
        with its new values, once all have their old ones again.
        """
        return await self._configuring.configure(values, replace=replace)

    async def load_code(
        self,
        name: str,
        code: str,
        *,
        permissions: Permissions = (),
        resources: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> HostedPlugin:
        """A plugin out of a text, held in memory only, with all the permissions that are named.

        `permissions` have the forms that they have in a manifest, and are granted. `resources`
        are fields of `Limits`, such as `{"memory": "100MB", "cpu": "50%"}`. Raises `HostMisuse`
        for what cannot be, and `StartFailed`, after which there is no such plugin.
        """
        return await self._texts.load(name, code, permissions, resources or {}, config)

    async def unload_code(self, name: str) -> None:
        """End a plugin that came out of a text, and forget it and its code."""
        await self._texts.unload(name)

    # Life

    async def load(
        self, plugin: str | PathLike[str], *, deadline: float = COMMAND_DEADLINE
    ) -> list[str]:
        """Start a plugin that does not run, by its id, or those in a folder; their ids.

        Manifests are read anew. Raises `UnknownPlugin`, `ManifestError`, `StartFailed`,
        `HostMisuse` for one that runs already, `CommandTimeout`.
        """
        return await self._commands.load(plugin, deadline)

    async def unload(
        self, plugin_id: str, *, cascade: bool = False, deadline: float = COMMAND_DEADLINE
    ) -> list[str]:
        """Stop a plugin once its calls have ended, for 10 seconds at the most.

        What needs it goes before it with `cascade`, and keeps it from being unloaded without; the
        ids, in the order in which they went. Raises `UnknownPlugin`, `StillNeeded`,
        `CommandTimeout`.
        """
        gone = await self._commands.unload(plugin_id, deadline, cascade=cascade)
        await self._texts.forget(gone)
        return gone

    async def reload(
        self,
        plugin_id: str,
        *,
        canary: Canary | None = None,
        deadline: float = COMMAND_DEADLINE,
    ) -> None:
        """Put what is in a plugin's folder by now in the place of what runs: no call is lost.

        Where the new one does not load, the old one goes on. With a canary, the new one takes a
        share of the calls first, and this returns when it does. Raises as `load` does.
        """
        await self._commands.reload(plugin_id, deadline, canary)

    async def promote(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """Put the version that is on trial in the place of the one that runs, without a verdict.

        Raises `HostMisuse` where none is on trial; `StartFailed`, and the trial goes on.
        """
        await self._commands.promote(plugin_id, deadline)

    async def roll_back(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """End the trial of a new version. Raises `HostMisuse` where none is on trial."""
        await self._commands.roll_back(plugin_id, deadline)

    async def enable(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """Have a plugin called again that was disabled, or start it. Raises as `load` does."""
        await self._commands.enable(plugin_id, deadline)

    async def disable(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """Have a plugin not called any more; its worker lives on, with what it holds."""
        await self._commands.disable(plugin_id, deadline)

    async def activate(self, command: str, *, deadline: float = COMMAND_DEADLINE) -> list[str]:
        """Start the plugins that name this command in their `activation`; the ids of all of them.

        For an application that has commands, before it lets plugins handle one. Raises
        `NotRunning`, `CommandTimeout`.
        """
        return await self._commands.activate(command, deadline)

    async def command(
        self,
        command: str,
        plugins: Iterable[str | PathLike[str]] | None = None,
        *,
        cascade: bool = False,
        canary: Canary | None = None,
        deadline: float = COMMAND_DEADLINE,
    ) -> list[CommandOutcome]:
        """Have plugins loaded, unloaded, reloaded, enabled or disabled: several, or all that fit.

        One after the other, in the order of their dependencies, whatever becomes of the others;
        the deadline is each one's own.
        """
        return await self._commands.run(command, plugins, deadline, cascade=cascade, canary=canary)

    def _tell_reload_failed(self, plugin_id: str, error: PlughostError) -> None:
        data = {"plugin": plugin_id, "reason": str(error)[:1000]}
        self._bus.post("plugin:reload_failed", data, Origin(HOST))
