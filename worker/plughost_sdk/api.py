"""What a plugin asks of the host."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from msgspec import Raw

from plughost_protocol import (
    TOOLS_EXECUTE,
    TOOLS_REGISTER,
    TOOLS_UNREGISTER,
    ExecuteTool,
    UnregisterTool,
    encode,
)

from .errors import PluginMistake
from .manifest import Manifest
from .tools import Handler, Tool, ToolOptions

__all__ = ["HostLink", "PluginAPI"]


class HostLink(Protocol):
    """The wire below the API: the worker's connection, or a fake in a plugin's own tests."""

    async def request(self, method: str, params: object, timeout: float | None = None) -> Any:
        """The host's answer. Raises `HostError`, `PermissionDenied`."""

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell the caller of the running call how far it has come."""

    def run_blocking(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on the worker's loop and wait for it, from a thread beside it."""


class PluginAPI:
    """The host, as a loaded plugin sees it. Every request is checked against the grants."""

    def __init__(
        self,
        link: HostLink,
        manifest: Manifest,
        config: Mapping[str, Any],
        tools: dict[str, Tool],
    ) -> None:
        self._link = link
        self._tools = tools
        self._loaded = False
        self.manifest = manifest
        self.plugin_id = manifest.id
        self.config = config
        self.logger = logging.getLogger(manifest.id)
        """A standard logger whose records become the plugin's log in the host."""
        self.blocking = BlockingAPI(self, link)
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
        if tool.name in self._tools:
            raise PluginMistake(f"tool {tool.name!r} is registered already")
        self._tools[tool.name] = tool
        if self._loaded:  # before that, the host learns of it with all the others
            try:
                await self._link.request(TOOLS_REGISTER, tool.spec)
            except BaseException:
                del self._tools[tool.name]
                raise

    async def unregister_tool(self, name: str) -> None:
        """Take a tool back. Raises `KeyError` for a name that is not registered."""
        tool = self._tools[name]
        if self._loaded:
            await self._link.request(TOOLS_UNREGISTER, UnregisterTool(name=tool.name))
        del self._tools[name]

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell the caller how far the running call has come; starts an idle timeout anew."""
        self._link.progress(done, total, message)


class BlockingAPI:
    """`PluginAPI` for code in a thread: `api.blocking.call(...)` returns the result itself."""

    def __init__(self, api: PluginAPI, link: HostLink) -> None:
        self._api = api
        self._link = link

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._api, name)
        if not inspect.iscoroutinefunction(method):
            return method

        def wait(*args: Any, **kwargs: Any) -> Any:
            return self._link.run_blocking(lambda: method(*args, **kwargs))

        return wait
