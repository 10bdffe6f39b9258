"""`Host` for applications without an event loop: the same host, on a loop in a thread."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from os import PathLike
from typing import Any, Self

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from plughost.catalog.discovery import Discovered
from plughost.config import HostConfig
from plughost.exchange.calls import CallContext, Outcome
from plughost.exchange.events.event import Event
from plughost.exchange.service_calls import ServiceProxy
from plughost.exchange.services import Service
from plughost.exchange.tools import Tool
from plughost.host import Host
from plughost.lifecycle.canary import Canary
from plughost.lifecycle.code_plugin import Permissions
from plughost.lifecycle.commands import DEADLINE as COMMAND_DEADLINE
from plughost.lifecycle.commands import CommandOutcome
from plughost.lifecycle.configuring import Configured
from plughost.lifecycle.health import Health
from plughost.lifecycle.plugin import HostedPlugin
from plughost.lifecycle.source_changes import ReloadOutcome
from plughost.services.users.table import UserTable
from plughost.supervision.logbook import LogEntry

__all__ = ["BlockingHost"]


class BlockingHost:
    """A `Host` whose methods wait. Safe to use from several threads.

    >>> with BlockingHost(["plugins"]) as host:  # doctest: +SKIP
    ...     host.call("text-tools.count", {"text": "three small words"})
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
        self._host = Host(folders, config, there=there, on_log=on_log, on_hot_reload=on_hot_reload)
        self._stack = ExitStack()
        self._portal: BlockingPortal

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._portal.wrap_async_context_manager(self._host))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(
        self,
        tool: str,
        params: Mapping[str, Any] | None = None,
        *,
        context: CallContext | None = None,
    ) -> Any:
        """As `Host.call`."""
        return self._portal.call(partial(self._host.call, tool, params, context=context))

    def call_many(
        self,
        calls: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        context: CallContext | None = None,
    ) -> list[Outcome]:
        """As `Host.call_many`."""
        return self._portal.call(partial(self._host.call_many, calls, context=context))

    @contextmanager
    def stream(
        self,
        tool: str,
        params: Mapping[str, Any] | None = None,
        *,
        context: CallContext | None = None,
    ) -> Iterator[Iterator[Any]]:
        """As `Host.stream`, with plain iteration."""
        opened = self._host.stream(tool, params, context=context)
        with self._portal.wrap_async_context_manager(opened) as items:
            yield self._each(items.__anext__)

    def _each(self, following: Callable[[], Any]) -> Iterator[Any]:
        async def take() -> tuple[Any, ...]:
            try:
                return (await following(),)
            except StopAsyncIteration:
                return ()

        while item := self._portal.call(take):
            yield item[0]

    def emit(self, name: str, data: object = None, **about: str) -> Event | None:
        """As `Host.emit`."""
        return self._portal.call(partial(self._host.emit, name, data, **about))

    def request_event(
        self, name: str, data: object = None, *, timeout: float = 10.0, **about: str
    ) -> Any:
        """As `Host.events.request`."""
        request = self._host.events.request
        return self._portal.call(partial(request, name, data, timeout=timeout, **about))

    def on(
        self,
        pattern: str,
        callback: Callable[[Event], object],
        *,
        once: bool = False,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> Callable[[], None]:
        """As `Host.events.on`, with a callback that runs in a thread and may wait.

        Returns what ends it.
        """

        async def run(event: Event) -> None:
            await to_thread.run_sync(callback, event)

        listener = self._portal.call(
            partial(
                self._host.events.on,
                pattern,
                run,
                once=once,
                throttle=throttle,
                debounce=debounce,
                max_wait=max_wait,
            )
        )
        return partial(self._portal.call, listener.off)

    def load(self, plugin: str | PathLike[str], *, deadline: float = COMMAND_DEADLINE) -> list[str]:
        """As `Host.load`."""
        return self._portal.call(partial(self._host.load, plugin, deadline=deadline))

    def unload(
        self, plugin_id: str, *, cascade: bool = False, deadline: float = COMMAND_DEADLINE
    ) -> list[str]:
        """As `Host.unload`."""
        unload = partial(self._host.unload, plugin_id, cascade=cascade, deadline=deadline)
        return self._portal.call(unload)

    def reload(
        self,
        plugin_id: str,
        *,
        canary: Canary | None = None,
        deadline: float = COMMAND_DEADLINE,
    ) -> None:
        """As `Host.reload`."""
        reload = partial(self._host.reload, plugin_id, canary=canary, deadline=deadline)
        self._portal.call(reload)

    def promote(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """As `Host.promote`."""
        self._portal.call(partial(self._host.promote, plugin_id, deadline=deadline))

    def roll_back(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """As `Host.roll_back`."""
        self._portal.call(partial(self._host.roll_back, plugin_id, deadline=deadline))

    def enable(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """As `Host.enable`."""
        self._portal.call(partial(self._host.enable, plugin_id, deadline=deadline))

    def disable(self, plugin_id: str, *, deadline: float = COMMAND_DEADLINE) -> None:
        """As `Host.disable`."""
        self._portal.call(partial(self._host.disable, plugin_id, deadline=deadline))

    def activate(self, command: str, *, deadline: float = COMMAND_DEADLINE) -> list[str]:
        """As `Host.activate`."""
        return self._portal.call(partial(self._host.activate, command, deadline=deadline))

    def command(
        self,
        command: str,
        plugins: Iterable[str | PathLike[str]] | None = None,
        *,
        cascade: bool = False,
        canary: Canary | None = None,
        deadline: float = COMMAND_DEADLINE,
    ) -> list[CommandOutcome]:
        """As `Host.command`."""
        run = partial(self._host.command, command, plugins, cascade=cascade, canary=canary)
        return self._portal.call(partial(run, deadline=deadline))

    def health(self, *plugin_ids: str) -> dict[str, Health]:
        """As `Host.health`."""
        return self._portal.call(self._host.health, *plugin_ids)

    def configure(
        self, values: Mapping[str, Mapping[str, Any]], *, replace: bool = False
    ) -> dict[str, Configured]:
        """As `Host.configure`."""
        return self._portal.call(partial(self._host.configure, values, replace=replace))

    def load_code(
        self,
        name: str,
        code: str,
        *,
        permissions: Permissions = (),
        resources: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> HostedPlugin:
        """As `Host.load_code`."""
        load = partial(self._host.load_code, name, code, permissions=permissions)
        return self._portal.call(partial(load, resources=resources, config=config))

    def unload_code(self, name: str) -> None:
        """As `Host.unload_code`."""
        self._portal.call(self._host.unload_code, name)

    @property
    def services(self) -> "BlockingServices":
        """As `Host.services`, with methods that wait."""
        return BlockingServices(self._host, self._portal)

    @property
    def hooks(self) -> "BlockingHooks":
        """As `Host.hooks`, with methods that wait and hooks that may."""
        return BlockingHooks(self._host.hooks, self._portal)

    @property
    def memory(self) -> "BlockingPart":
        """As `Host.memory`, with methods that wait."""
        return BlockingPart(self._host.memory, self._portal)

    @property
    def scheduler(self) -> "BlockingPart":
        """As `Host.scheduler`, with methods that wait."""
        return BlockingPart(self._host.scheduler, self._portal)

    @property
    def users(self) -> "BlockingPart":
        """As `Host.users`, with methods that wait; `users.table` as well."""
        return BlockingPart(self._host.users, self._portal)

    @property
    def tools(self) -> dict[str, Tool]:
        """As `Host.tools`."""
        return self._host.tools

    @property
    def plugins(self) -> Mapping[str, HostedPlugin]:
        """As `Host.plugins`: to look at, not to drive."""
        return self._host.plugins

    @property
    def problems(self) -> dict[str, str]:
        """As `Host.problems`."""
        return self._host.problems


class BlockingPart:
    """A part of the host, such as its memory: its methods run on the loop, and wait for it."""

    __slots__ = ("_part", "_portal")

    def __init__(self, part: Any, portal: BlockingPortal) -> None:
        self._part = part
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copy, pickle and debuggers ask every object for
            raise AttributeError(name)
        value = getattr(self._part, name)
        if callable(value):
            return lambda *args, **kwargs: self._portal.call(partial(value, *args, **kwargs))
        return BlockingPart(value, self._portal) if isinstance(value, UserTable) else value


class BlockingHooks(BlockingPart):
    """As `Hooks`, for an application without an event loop."""

    __slots__ = ()

    def register(
        self, name: str, callback: Callable[..., Any], **options: Any
    ) -> Callable[[], None]:
        """As `Hooks.register`, with a callback that runs in a thread and may wait.

        Returns what takes it back.
        """

        async def run(*given: Any) -> Any:
            return await to_thread.run_sync(callback, *given)

        register: Callable[[], None] = partial(self._part.register, name, run, **options)
        self._portal.call(register)
        return partial(self._portal.call, self._part.unregister, name, run)


class BlockingServices:
    """As `Services`, for an application without an event loop."""

    def __init__(self, host: Host, portal: BlockingPortal) -> None:
        self._services = host.services
        self._portal = portal

    def get(self, name: str, *, context: CallContext | None = None) -> "BlockingProxy":
        """As `Services.get`: the object's methods return the result itself."""
        return BlockingProxy(self._services.get(name, context=context), self._portal)

    def list(self) -> Mapping[str, Service]:
        """As `Services.list`."""
        return self._services.list()


class BlockingProxy:
    """A service as an object whose methods wait."""

    __slots__ = ("_portal", "_proxy")

    def __init__(self, proxy: ServiceProxy, portal: BlockingPortal) -> None:
        self._proxy = proxy
        self._portal = portal

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._proxy, method)
        return lambda *args, **kwargs: self._portal.call(partial(call, *args, **kwargs))
