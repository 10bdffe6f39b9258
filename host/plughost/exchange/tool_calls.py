"""Calls of tools, by their names."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol

import anyio

from plughost.errors import NotRunning, PlughostError, UnknownTool
from plughost.services.router import Request
from plughost_protocol import ExecuteTool

from .calls import CallContext, Caller, Outcome, decode_params, in_chain
from .tools import Tool, ToolEntry, ToolRegistry

__all__ = ["CallMiddleware", "CallObserver", "ToolCaller"]


class CallObserver(Protocol):
    """Who wants to know of each call of a tool."""

    def began(self, tool: Tool, context: CallContext) -> Callable[[PlughostError | None], None]:
        """A call begins. What it answers is called with the outcome, unless it is cancelled."""


class CallMiddleware(Protocol):
    """What stands between who calls a tool and the tool."""

    async def call(
        self,
        entry: ToolEntry,
        params: Mapping[str, Any],
        context: CallContext | None,
        within: float,
        source: str,
        send: Callable[..., Coroutine[Any, Any, Any]],
    ) -> Any:
        """What becomes of the result of `send`; `source` is the plugin that calls."""

    async def before(
        self, entry: ToolEntry, params: Mapping[str, Any], context: CallContext | None
    ) -> tuple[Mapping[str, Any], CallContext]:
        """With what a tool is called that streams."""


class ToolCaller:
    """Calls tools for the application, and for plugins."""

    def __init__(
        self,
        registry: ToolRegistry,
        caller: Caller,
        comes: Callable[[str, float], Awaitable[None]],
    ) -> None:
        """`comes` waits for a plugin for so many seconds; raises `NotRunning`, `CallTimeout`."""
        self._registry = registry
        self._caller = caller
        self._comes = comes
        self._observer: CallObserver | None = None
        self._middleware: CallMiddleware | None = None

    def observe(self, observer: CallObserver | None) -> None:
        """Tell this one of each call from now on, or nobody."""
        self._observer = observer

    def put_between(self, middleware: CallMiddleware | None) -> None:
        """Send calls through this from now on, or through nothing."""
        self._middleware = middleware

    # Not async, as a frame more on the way of every call would take a few hundred nanoseconds.
    def call(
        self, name: str, params: Mapping[str, Any], context: CallContext | None = None
    ) -> Coroutine[Any, Any, Any]:
        """The tool's result. Raises what `Host.call` says, `UnknownTool` at once."""
        try:
            entry = self._registry.find(name)
        except NotRunning:
            return self._call_what_comes(name, params, context)
        context = in_chain(context)
        if self._registry.splits:
            entry = self._chosen(entry, context)
        if self._observer is None and self._middleware is None:
            return self._caller.call(entry, params, context)
        return self._observed(entry, params, context)

    async def call_many(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], context: CallContext | None = None
    ) -> list[Outcome]:
        """The outcome of each call, in their order. They run side by side."""
        asked = list(calls)
        outcomes = [Outcome(tool) for tool, _ in asked]

        async def run(position: int, tool: str, params: Mapping[str, Any]) -> None:
            try:
                value = await self.call(tool, params, context)
                outcomes[position] = Outcome(tool, value=value)
            except PlughostError as exc:
                outcomes[position] = Outcome(tool, error=exc)

        async with anyio.create_task_group() as tasks:
            for position, (tool, params) in enumerate(asked):
                tasks.start_soon(run, position, tool, params)
        return outcomes

    async def stream(
        self, name: str, params: Mapping[str, Any], context: CallContext | None = None
    ) -> AsyncGenerator[Any, None]:
        """The tool's items as they come; of a tool that does not stream, its one result."""
        context = in_chain(context)
        entry = self._chosen(await self._find(name, context), context)
        if not entry.streams:
            yield await self._observed(entry, params, context)
            return
        ended = self._began(entry, context)
        try:
            if self._middleware is not None:
                params, context = await self._middleware.before(entry, params, context)
            items = self._caller.stream(self._registry.latest(entry), params, context)
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()
        except PlughostError as exc:
            ended(exc)
            raise
        ended(None)

    async def execute(self, request: Request, params: ExecuteTool) -> Any:
        """A plugin's call of a tool: within its own call's deadline, and not in a circle."""
        name = self.full_name(params.tool)
        context, within = self._caller.nested(request, name, params.timeout)
        arguments = decode_params(name, params.params)
        try:
            entry = self._chosen(await self._find(name, context, within), context)
        except NotRunning as exc:  # why it does not is the operator's to know
            raise NotRunning(exc.plugin_id, exc.state) from None
        return await self._observed(entry, arguments, context, within, request.plugin_id)

    async def _call_what_comes(
        self, name: str, params: Mapping[str, Any], context: CallContext | None
    ) -> Any:
        context = in_chain(context)
        entry = self._chosen(await self._find(name, context), context)
        return await self._observed(entry, params, context)

    async def _find(
        self, name: str, context: CallContext | None, within: float = math.inf
    ) -> ToolEntry:
        """The tool, also of a plugin that has still to be loaded before it says what it offers."""
        try:
            return self._registry.find(name)
        except NotRunning as exc:
            wanted = None if context is None else context.timeout
            await self._comes(exc.plugin_id, min(wanted or math.inf, within))
            return self._registry.find(name)

    def _chosen(self, entry: ToolEntry, context: CallContext | None) -> ToolEntry:
        return self._registry.choose(entry, "" if context is None else context.user_id)

    async def _observed(
        self,
        entry: ToolEntry,
        params: Mapping[str, Any],
        context: CallContext | None,
        within: float = math.inf,
        source: str = "",
    ) -> Any:
        ended = self._began(entry, context)
        try:
            if self._middleware is None:
                value = await self._caller.call(entry, params, context, within)
            else:
                value = await self._middleware.call(
                    entry, params, context, within, source, self._send
                )
        except PlughostError as exc:
            ended(exc)
            raise
        ended(None)
        return value

    def _send(
        self,
        entry: ToolEntry,
        params: Mapping[str, Any],
        context: CallContext | None,
        within: float,
    ) -> Coroutine[Any, Any, Any]:
        # While hooks ran, another worker may have taken the place of the one that offered it.
        return self._caller.call(self._registry.latest(entry), params, context, within)

    def _began(
        self, entry: ToolEntry, context: CallContext | None
    ) -> Callable[[PlughostError | None], None]:
        if self._observer is None:
            return lambda _: None
        return self._observer.began(entry.tool, context or CallContext())

    def full_name(self, name: str) -> str:
        """`PLUGIN.TOOL` for a tool's name for models too; any other name as it is."""
        try:
            return self._registry.find(name).tool.name
        except (NotRunning, UnknownTool):
            return name
