"""What a plugin asks of the host."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from plughost_protocol import (
    TOOL_PREFIX,
    TOOLS_EXECUTE,
    TOOLS_REGISTER,
    TOOLS_UNREGISTER,
    ExecuteTool,
    UnregisterTool,
    encode,
)

from .errors import PluginMistake
from .events import Events
from .hooks import Hooks
from .http import Http
from .link import HostLink, HostPart
from .manifest import Manifest
from .memory import Memory
from .plugin import Plugin
from .scheduler import Scheduler
from .services import Services
from .storage import Storage
from .tools import Handler, Tool, ToolOptions
from .users import Users

__all__ = ["PluginAPI"]


class PluginAPI:
    """The host, as a loaded plugin sees it. Every request is checked against the grants."""

    def __init__(self, link: HostLink, manifest: Manifest, config: Mapping[str, Any]) -> None:
        self._link = link
        self._loaded = False
        self.manifest = manifest
        self.plugin_id = manifest.id
        self.config = config
        self.logger = logging.getLogger(manifest.id)
        """A standard logger whose records become the plugin's log in the host."""
        self.events = Events(link)
        self.hooks = Hooks(link, self.events, config)
        self.http = Http(link)
        self.memory = Memory(link)
        self.scheduler = Scheduler(link)
        self.services = Services(link)
        self.storage = Storage(link)
        self.users = Users(link)
        self.blocking = Blocking(self, link)
        """The same methods for blocking tools: they wait instead of being awaited."""

    async def call(
        self, tool: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """The result of another plugin's tool, named `PLUGIN.TOOL`. `timeout` is seconds.

        The deadline of the running call holds too. Needs the permission `tools:execute`.
        """
        request = ExecuteTool(tool=tool, params=Raw(encode(params or {})), timeout=timeout)
        return await self._link.request(TOOLS_EXECUTE, request, timeout)

    async def register_tool(
        self,
        handler: Handler,
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        idle_timeout: float | None = None,
        idempotent: bool = False,
    ) -> None:
        """Offer one more tool, from now on. Needs the permission `tools:register`."""
        tool = Tool(
            handler,
            ToolOptions(name, description, input_schema, timeout, idle_timeout, idempotent),
        )
        if TOOL_PREFIX + tool.name in self._link.handlers:
            raise PluginMistake(f"tool {tool.name!r} is registered already")
        self._add_tool(tool)
        if self._loaded:  # before that, the host learns of it with all the others
            try:
                await self._link.request(TOOLS_REGISTER, tool.spec)
            except BaseException:
                del self._link.handlers[TOOL_PREFIX + tool.name]
                raise

    async def unregister_tool(self, name: str) -> None:
        """Take a tool back. Raises `KeyError` for a name that is not registered."""
        if TOOL_PREFIX + name not in self._link.handlers:
            raise KeyError(name)
        if self._loaded:
            await self._link.request(TOOLS_UNREGISTER, UnregisterTool(name=name))
        del self._link.handlers[TOOL_PREFIX + name]

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell the caller how far the running call has come; starts an idle timeout anew."""
        self._link.progress(done, total, message)

    def _add_tool(self, tool: Tool) -> None:
        if TOOL_PREFIX + tool.name in self._link.handlers:
            raise PluginMistake(f"tool {tool.name!r} is declared twice: give one of them a name=")
        self._link.handlers[TOOL_PREFIX + tool.name] = tool

    def _configure(self, config: Mapping[str, Any]) -> None:
        """Take the operator's new values."""
        self.config = config
        self.hooks._configure(config)  # noqa: SLF001

    async def _declare(self, plugin: Plugin) -> None:
        """Register what the plugin's decorators declare, once its `on_load` has run."""
        for tool in plugin.tools():
            self._add_tool(tool)
        for function, options in plugin.declared("task"):
            await self.scheduler._declare(function, options)  # noqa: SLF001
        await self.services._declare(plugin.declared("service"))  # noqa: SLF001
        for function, wanted in plugin.declared("on"):
            await self.events.on(
                wanted.pattern,
                function,
                throttle=wanted.throttle,
                debounce=wanted.debounce,
                max_wait=wanted.max_wait,
            )
        for function, wanted in plugin.declared("hook"):
            await self.hooks._declare(function, wanted)  # noqa: SLF001


class Blocking:
    """The API, or a part of it, for code in a thread: methods return the result itself."""

    def __init__(self, target: object, link: HostLink) -> None:
        self._target = target
        self._link = link

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if inspect.iscoroutinefunction(value):
            return lambda *args, **kwargs: self._link.run_blocking(lambda: value(*args, **kwargs))
        if inspect.ismethod(value):  # it may give a part of the API, as `services.get` does
            return lambda *args, **kwargs: self._part(value(*args, **kwargs))
        return self._part(value)

    def _part(self, value: Any) -> Any:
        return Blocking(value, self._link) if isinstance(value, HostPart) else value
