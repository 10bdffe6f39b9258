"""Calling a tool: check, send, wait, check again; and once more where that is allowed."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from plughost.errors import (
    CallTimeout,
    HostMisuse,
    InvalidParams,
    PlughostError,
    TooDeep,
    UnknownTool,
    WorkerDied,
)
from plughost.exits import Cause
from plughost.reactor import Reactor
from plughost.rpc.calls import CallTimes, ProgressCallback
from plughost.rpc.worker import Worker
from plughost.services.router import Request
from plughost_protocol import CallMeta, ExecuteTool, MalformedMessage, decode_value

from .tools import ToolEntry, ToolRegistry

__all__ = ["CallContext", "Outcome", "ToolCaller"]


_MAX_TEXT: Final = 1000  # characters; the protocol's bound for what goes with a call


@dataclass(frozen=True, slots=True)
class CallContext:
    """What goes with a call. Nothing of it is needed."""

    timeout: float | None = None
    """Seconds of wall time that the caller gives it; never more than the operator's total."""
    user_id: str = ""
    request_id: str = ""
    trace: str = ""
    """A W3C `traceparent`."""
    on_progress: ProgressCallback | None = None
    """Called with done, total (or None) and a message when the tool reports progress."""
    caller: str = ""
    """Who calls, as the tool sees it; for a plugin's call, the chain of tools that led here."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise HostMisuse(f"CallContext.timeout is {self.timeout}: it must be more than 0")
        for name in ("user_id", "request_id", "trace", "caller"):
            if len(getattr(self, name)) > _MAX_TEXT:
                raise HostMisuse(f"CallContext.{name} is longer than {_MAX_TEXT} characters")


_NO_CONTEXT: Final = CallContext()
_LINK: Final = " > "


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of many calls ended: with a value or an error, never both."""

    tool: str
    value: Any = None
    error: PlughostError | None = None


class ToolCaller:
    """Runs calls from the application and from plugins."""

    def __init__(self, registry: ToolRegistry, reactor: Reactor, max_depth: int) -> None:
        self._registry = registry
        self._now = reactor.now
        self._max_depth = max_depth

    async def call(
        self, name: str, params: Mapping[str, Any], context: CallContext | None = None
    ) -> Any:
        """The tool's result. Raises what `Host.call` says."""
        entry = self._registry.find(name)
        context = context or _NO_CONTEXT
        provider = entry.provider
        try:
            payload = entry.encode(params)
            times, meta = _prepare(entry, context)
            end = self._now() + times.total
            while True:
                worker = provider.active_worker or await self._worker(entry, times, end)
                try:
                    value = await worker.channel.request(
                        entry.method,
                        payload,
                        times,
                        meta,
                        label=entry.tool.name,
                        on_progress=context.on_progress,
                    )
                    break
                except WorkerDied as exc:
                    if not _may_try_again(entry, exc):
                        raise
                    times = replace(times, total=max(end - self._now(), 0.0))
            entry.check_result(value)
        except PlughostError as exc:
            provider.count(exc)
            raise
        provider.count(None)
        return value

    async def stream(
        self, name: str, params: Mapping[str, Any], context: CallContext | None = None
    ) -> AsyncGenerator[Any, None]:
        """The tool's items as they come; of a tool that does not stream, its one result."""
        entry = self._registry.find(name)
        context = context or _NO_CONTEXT
        if not entry.streams:
            yield await self.call(name, params, context)
            return
        provider = entry.provider
        try:
            payload = entry.encode(params)
            times, meta = _prepare(entry, context)
            end = self._now() + times.total
            worker = provider.active_worker or await self._worker(entry, times, end)
            items = worker.channel.stream(
                entry.method,
                payload,
                times,
                meta,
                label=entry.tool.name,
                on_progress=context.on_progress,
            )
            try:
                async for item in items:
                    yield item
            finally:
                await items.aclose()
        except PlughostError as exc:
            provider.count(exc)
            raise
        provider.count(None)

    async def execute(self, request: Request, params: ExecuteTool) -> Any:
        """A plugin's call of a tool: within its own call's deadline, and not in a circle."""
        parent = request.parent
        meta = CallMeta() if parent is None else parent.meta
        here = request.plugin_id if parent is None else parent.label
        chain = [*filter(None, meta.caller.split(_LINK)), here]
        name = self.full_name(params.tool)
        if name in chain or len(chain) >= self._max_depth:
            raise TooDeep([*chain, name], self._max_depth)
        wanted = [params.timeout, None if parent is None else parent.remaining(self._now())]
        context = CallContext(
            timeout=min((seconds for seconds in wanted if seconds is not None), default=None),
            user_id=meta.user_id,
            request_id=meta.request_id,
            trace=meta.trace,
            caller=_LINK.join(chain),
        )
        try:
            arguments = decode_value(params.params)
        except MalformedMessage as exc:
            raise InvalidParams(name, [f"$ {exc.reason}"]) from exc
        if not isinstance(arguments, dict):
            raise InvalidParams(name, ["$ must be an object"])
        return await self.call(name, arguments, context)

    def full_name(self, name: str) -> str:
        """`PLUGIN.TOOL` for a tool's name for models too; any other name as it is."""
        try:
            return self._registry.find(name).tool.name
        except UnknownTool:
            return name

    async def _worker(self, entry: ToolEntry, times: CallTimes, end: float) -> Worker:
        try:
            return await entry.provider.wait_for_worker(end - self._now())
        except TimeoutError:
            raise CallTimeout(entry.tool.name, times.total) from None


def _prepare(entry: ToolEntry, context: CallContext) -> tuple[CallTimes, CallMeta]:
    """How long the call may take, and what goes with it."""
    if context is _NO_CONTEXT:
        return entry.times, entry.meta
    times = entry.times
    if context.timeout is not None:
        total = min(context.timeout, times.total)
        times = CallTimes(timeout=total, total=total, idle=times.idle)
    meta = CallMeta(
        timeout_ms=max(1, int(times.timeout * 1000)),
        caller=context.caller,
        user_id=context.user_id,
        request_id=context.request_id,
        trace=context.trace,
    )
    return times, meta


def _may_try_again(entry: ToolEntry, died: WorkerDied) -> bool:
    """What was never sent always may; what was sent only if the tool is idempotent."""
    # A call that took its worker over the memory limit would do so again.
    if died.exit.cause in (Cause.STOPPED, Cause.LOAD_FAILED, Cause.MEMORY):
        return False
    return entry.idempotent or not died.outcome_unknown
