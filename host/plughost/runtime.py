"""What runs behind a `Host` while its block lasts: wired together, opened and ended in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from plughost.catalog.granted_paths import protected_paths
from plughost.config import HostConfig
from plughost.exchange.calls import Caller
from plughost.exchange.events.bus import EventBus
from plughost.exchange.events.event import HOST, Origin
from plughost.exchange.events.service import EventService
from plughost.exchange.events.tools import ToolEvents
from plughost.exchange.hooks.service import HookService
from plughost.exchange.service_calls import ServiceExchange
from plughost.exchange.tool_calls import ToolCaller
from plughost.exchange.tools import ToolRegistry
from plughost.lifecycle.callbacks import Callbacks
from plughost.lifecycle.health import HealthMonitor
from plughost.lifecycle.hot_reload import HotReloader, hot_reloader
from plughost.lifecycle.idling import Idling
from plughost.lifecycle.offered import OfferedStore
from plughost.lifecycle.quarters import SharedQuarters
from plughost.lifecycle.recycling import Recycler
from plughost.lifecycle.roster import Roster
from plughost.lifecycle.source_changes import SourceChanges
from plughost.lifecycle.surroundings import Surroundings
from plughost.reactor import Reactor, current_reactor
from plughost.sandbox.cgroup import CgroupTree, NoCgroup
from plughost.sandbox.machine import this_machine
from plughost.services.http.service import HttpService
from plughost.services.memory.service import MemoryService
from plughost.services.router import ServiceRouter
from plughost.services.scheduler.service import SchedulerService
from plughost.services.service import HostService
from plughost.services.storage import make_store
from plughost.services.storage.service import StorageService
from plughost.services.tools import ToolService
from plughost.services.users.service import UsersService
from plughost.supervision.disk import DiskWatch
from plughost.supervision.templates import Templates
from plughost.supervision.watch import ResourceWatch, Usage

__all__ = ["Runtime"]

_DRAIN: Final = 10.0  # seconds that open calls have when the host stops


class Runtime:
    """What one host has while it runs. `bus` and `hooks` are there before and after."""

    def __init__(
        self,
        config: HostConfig,
        roster: Roster,
        bus: EventBus,
        hooks: HookService,
        reactor: Reactor,
        hot_reloader: HotReloader | None,
    ) -> None:
        self._config = config
        self._roster = roster
        self._bus = bus
        self._hooks = hooks
        self._reactor = reactor
        self._hot_reloader = hot_reloader
        self._machine = this_machine()
        self._templates = Templates(reactor, self._machine, shared=config.shared_template)
        self._watch = ResourceWatch(config.totals, reactor.now, roster.live_workers)
        self._offered = OfferedStore(config.state)
        self._idling = Idling(roster.plugins, self._offered, reactor)
        self.health = HealthMonitor(roster.plugins, config.health, reactor)
        self.tools = ToolRegistry(roster.not_running)
        caller = Caller(reactor, config.call_depth)
        self.caller = ToolCaller(self.tools, caller, roster.comes)
        plugins = Callbacks(roster.plugins)
        bus.attach(reactor, plugins, plugins.note)
        ToolEvents(bus, self.caller.observe)
        hooks.attach(reactor, plugins, plugins.log, self.caller.put_between)
        events = EventService(bus, roster.plugin)
        self.exchange = ServiceExchange(roster.plugins, caller)
        self.users = UsersService(config.users, config.state)
        self.memory = MemoryService(config, self.users.check, self.caller.call, events.announce)
        self.scheduler = SchedulerService(
            plugins, reactor, config.scheduler, on_executed=events.on_task_executed
        )
        self.services: tuple[HostService, ...] = (
            hooks,
            events,
            ToolService(
                plugins.register_tool,
                plugins.unregister_tool,
                self.caller.execute,
                self.caller.full_name,
            ),
            HttpService(config, reactor, plugins.note),
            StorageService(config, make_store(config)),
            self.scheduler,
            self.memory,
            self.users,
            self.exchange,
        )
        """What the host does for plugins, and what they offer each other."""

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        config: HostConfig,
        roster: Roster,
        bus: EventBus,
        hooks: HookService,
        grants: Callable[[], Mapping[str, Sequence[str]]],
        changes: SourceChanges,
    ) -> AsyncGenerator["Runtime"]:
        """All of it, with the plugins that there are; `start` starts them.

        When the block ends, they have ended first, and what they lived on after them.
        """
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            groups = await anyio.to_thread.run_sync(CgroupTree.find)
            if isinstance(groups, CgroupTree):
                await anyio.to_thread.run_sync(groups.sweep)
                stack.callback(groups.close)
            reactor = current_reactor(tasks)
            hot = hot_reloader(config.hot_reload, roster, changes, reactor)
            if hot is not None:
                await hot.prepare()
            there = await roster.look(anew=hot is not None)
            runtime = cls(config, roster, bus, hooks, reactor, hot)
            roster.fill(runtime._surroundings(groups, grants), there)
            for service in runtime.services:
                stack.push_async_callback(_shielded, service.aclose)
                await service.open()
            stack.push_async_callback(_shielded, runtime._templates.aclose)
            stack.push_async_callback(_shielded, runtime._stop)
            runtime._watch_over(tasks)
            yield runtime

    async def start(self) -> None:
        """Start all plugins, and tell who waits for that."""
        await self._roster.start_all(self._idling)
        self._reactor.spawn(self._idling.learn)
        await self._idling.learned()
        await self._hooks.moments.startup()
        self._bus.post("system:startup", None, Origin(HOST))
        if self._hot_reloader is not None:
            self._reactor.spawn(self._hot_reloader.run)

    def usage(self, plugin_id: str) -> Usage:
        """Memory and CPU of a plugin's worker at the last look. Raises `UnknownPlugin`."""
        worker = self._roster.plugin(plugin_id).worker
        return Usage() if worker is None else self._watch.usage(worker)

    def _surroundings(
        self, groups: CgroupTree | NoCgroup, grants: Callable[[], Mapping[str, Sequence[str]]]
    ) -> Surroundings:
        config = self._config
        roster = self._roster
        reactor = self._reactor
        return Surroundings(
            reactor=reactor,
            quarters=SharedQuarters(reactor, self._templates, self._machine, config, groups),
            tools=self.tools,
            services=ServiceRouter(
                reactor, (method for service in self.services for method in service.methods)
            ),
            registries=self.services,
            config=config,
            restart_gate=anyio.Semaphore(config.restarts_at_once),
            offered=self._offered,
            make_room=self._idling.make_room,
            grants=grants,
            protected=lambda: protected_paths(roster.roots, config.state_folder),
        )

    def _watch_over(self, tasks: TaskGroup) -> None:
        """Begin what looks at the plugins again and again."""
        disk = DiskWatch(self._reactor.now, self._roster.live_workers)
        recycler = Recycler(self._roster.plugins, self.usage, self._reactor)
        for watch in (self._watch, disk, self.health, recycler, self._idling):
            tasks.start_soon(watch.run)

    async def _stop(self) -> None:
        self._bus.post("system:shutdown", None, Origin(HOST))
        await self._hooks.moments.shutdown()
        await self._bus.settle(self._config.events.shutdown_wait)
        await self._roster.stop_all(_DRAIN)


async def _shielded(end: Callable[[], Awaitable[None]]) -> None:
    with anyio.CancelScope(shield=True):
        await end()
