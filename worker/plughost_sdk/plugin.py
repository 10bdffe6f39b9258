"""The plugin: its tools and what it does when it is loaded, enabled, disabled and unloaded."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .declarations import Declared, declared_methods
from .events import EventHandler, EventOptions
from .hooks import HookName, HookOptions, OnFailure
from .scheduler import Missed, TaskOptions, When, task_options
from .services import service_options
from .tools import Handler, Tool, ToolOptions

if TYPE_CHECKING:
    from .api import PluginAPI

__all__ = ["Plugin", "health_check"]

F = TypeVar("F", bound=Handler)
E = TypeVar("E", bound=EventHandler)


class Plugin:
    """A plugin. Use an instance and decorate functions, or subclass it and decorate methods.

    >>> plugin = Plugin()
    >>> @plugin.tool
    ... def shout(text: str) -> str:
    ...     return text.upper()
    """

    _api: "PluginAPI | None" = None
    _declared: list[tuple[str, Handler, Any]] | None = None

    async def on_load(self, api: "PluginAPI") -> None:
        """Called once, before any tool."""

    async def on_configure(self, config: Mapping[str, Any]) -> None:
        """Called with the operator's new values, which are in `api.config` already.

        A plugin that does not have its own, or whose own raises, gets a new worker for them.
        """

    async def on_unload(self) -> None:
        """Called before the worker ends in good order."""

    async def on_enable(self) -> None:
        """Called when the operator enables the plugin after having disabled it."""

    async def on_disable(self) -> None:
        """Called when the operator disables the plugin: its worker lives on, uncalled."""

    def health(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - a subclass has none
        """Have a function say how the plugin does; a subclass defines a method `health(self)`.

        Async or blocking. It returns nothing or `"healthy"`, `"degraded: WHY"`,
        `"unhealthy: WHY"`, or a mapping with `status`, `reason` and details.
        """
        return self._declare(args[0], "health", None)

    @property
    def api(self) -> "PluginAPI":
        """The way to the host. Raises `RuntimeError` before the plugin is loaded."""
        if self._api is None:
            raise RuntimeError("plugin.api is there from on_load on, not while the module loads")
        return self._api

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: dict[str, Any] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        idempotent: bool = False,
    ) -> Callable[[F], F]: ...
    def tool(self, function: Any = None, /, **options: Any) -> Any:
        """Make a function a tool of this plugin; options as for `plughost_sdk.tool`."""

        def register(target: F) -> F:
            return self._declare(target, "tool", ToolOptions(**options))

        return register if function is None else register(function)

    @overload
    def task(self, function: F, /) -> F: ...
    @overload
    def task(
        self,
        when: When | None = None,
        /,
        *,
        every: float | timedelta | None = None,
        name: str | None = None,
        timezone: str | None = None,
        overlap: bool = False,
        missed: Missed = "run_once",
        jitter: float | None = None,
        immediately: bool = False,
        timeout: float | None = None,
    ) -> Callable[[F], F]: ...
    def task(self, when: Any = None, /, **options: Any) -> Any:
        """Have a function run by a schedule; options as for `plughost_sdk.task`."""
        if callable(when):
            return self._declare(when, "task", TaskOptions())
        made = task_options(when, **options)
        return lambda target: self._declare(target, "task", made)

    def on(
        self,
        pattern: str,
        /,
        *,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> Callable[[E], E]:
        """Have a function called with each event that matches; options as for `api.events.on`."""
        options = EventOptions(pattern, throttle, debounce, max_wait)
        return lambda target: self._declare(target, "on", options)

    def hook(
        self,
        name: HookName,
        /,
        *,
        tryfirst: bool = False,
        trylast: bool = False,
        only: str = "",
        on_failure: OnFailure | None = None,
        timeout: float | None = None,
    ) -> Callable[[F], F]:
        """Have a function called at a hook of the host; options as for `api.hooks.register`."""
        options = HookOptions(name, tryfirst, trylast, only, on_failure, timeout)
        return lambda target: self._declare(target, "hook", options)

    def service(
        self,
        name: str,
        /,
        *,
        method: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
    ) -> Callable[[F], F]:
        """Make a function a method of a service, or a class's public methods all of it.

        A class is made once, without arguments. Options as for `plughost_sdk.service`; those of
        a class hold for each of its methods that has none of its own.
        """
        options = service_options(
            name,
            method,
            description=description,
            input_schema=input_schema,
            timeout=timeout,
            idempotent=idempotent,
        )
        return lambda target: self._declare(target, "service", options)

    def tools(self) -> Iterator[Tool]:
        """The declared tools. Raises `PluginMistake` on one that cannot be."""
        for function, options in self.declared("tool"):
            yield Tool(function, options)

    def declared(self, kind: str) -> Iterator[Declared]:
        """Functions and methods that a decorator of this kind stands on, with its options."""
        for declared, function, options in self._declared or ():
            if declared == kind:
                yield function, options
        yield from declared_methods(self, kind, Plugin)

    def _declare(self, target: F, kind: str, options: Any) -> F:
        if self._declared is None:  # a subclass need not call __init__
            self._declared = []
        self._declared.append((kind, target, options))
        return target


def health_check(plugin: Plugin) -> Callable[[], Any] | None:
    """What says how the plugin does, if anything."""
    declared = [function for function, _ in plugin.declared("health")]
    if declared:
        return declared[-1]
    own = getattr(type(plugin), "health", None)
    # One that takes arguments, or is a tool, has only the name in common.
    if own is Plugin.health or not inspect.isfunction(own) or own.__dict__:
        return None
    try:
        inspect.signature(plugin.health).bind()
    except TypeError:
        return None
    return plugin.health
