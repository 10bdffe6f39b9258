"""The plugin: its tools and what it does when it is loaded, enabled, disabled and unloaded."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .tools import MARK, Handler, Tool, ToolOptions

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
    _functions: list[tuple[Handler, ToolOptions]] | None = None

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
            if self._functions is None:  # a subclass need not call __init__
                self._functions = []
            self._functions.append((target, ToolOptions(**options)))
            return target

        return register if function is None else register(function)

    def tools(self) -> Iterator[Tool]:
        """The declared tools. Raises `PluginMistake` on one that cannot be."""
        for function, options in self._functions or []:
            yield Tool(function, options)
        seen: set[str] = set()
        for owner in type(self).__mro__:
            for attribute, value in vars(owner).items():
                marked = getattr(value, MARK, None)
                # An override in a subclass stands for the method that it overrides.
                if isinstance(marked, ToolOptions) and attribute not in seen:
                    yield Tool(getattr(self, attribute), marked)
                seen.add(attribute)
