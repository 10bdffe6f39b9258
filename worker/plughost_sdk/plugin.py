"""The plugin: its tools and what it does when it is loaded, enabled, disabled and unloaded."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .declarations import Declared, declared_methods
from .tools import Handler, Tool, ToolOptions

if TYPE_CHECKING:
    from .api import PluginAPI

__all__ = ["Plugin"]

F = TypeVar("F", bound=Handler)


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

    async def on_unload(self) -> None:
        """Called before the worker ends in good order."""

    async def on_enable(self) -> None:
        """Called when the operator enables the plugin after having disabled it."""

    async def on_disable(self) -> None:
        """Called when the operator disables the plugin: its worker lives on, uncalled."""

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

    def tools(self) -> Iterator[Tool]:
        """The declared tools. Raises `PluginMistake` on one that cannot be."""
        for function, options in self.declared("tool"):
            yield Tool(function, options)

    def declared(self, kind: str) -> Iterator[Declared]:
        """Functions and methods that a decorator of this kind stands on, with its options."""
        for declared, function, options in self._declared or ():
            if declared == kind:
                yield function, options
        yield from declared_methods(self, kind)

    def _declare(self, target: F, kind: str, options: Any) -> F:
        if self._declared is None:  # a subclass need not call __init__
            self._declared = []
        self._declared.append((kind, target, options))
        return target
