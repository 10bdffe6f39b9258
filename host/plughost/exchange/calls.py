"""A call of what a plugin offers: check, send, wait, check again; once more where allowed."""

import math
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import Raw

from plughost.errors import (
    CallTimeout,
    HostMisuse,
    InvalidParams,
    PlughostError,
    TooDeep,
    WorkerDied,
)
from plughost.exits import Cause
from plughost.reactor import Reactor
from plughost.rpc.calls import CallTimes, ProgressCallback
from plughost.rpc.worker import Worker
from plughost.services.router import Request
from plughost_protocol import CallMeta, MalformedMessage, decode_checked

from .chain import current_chain, joined, links_of
from .entry import Entry

__all__ = ["CallContext", "Caller", "Outcome", "decode_params", "in_chain"]


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
    """Who calls, as the tool sees it; for a plugin's call, the chain of calls that led here."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise HostMisuse(f"CallContext.timeout is {self.timeout}: it must be more than 0")
        for name in ("user_id", "request_id", "trace", "caller"):
            if len(getattr(self, name)) > _MAX_TEXT:
                raise HostMisuse(f"CallContext.{name} is longer than {_MAX_TEXT} characters")


_NO_CONTEXT: Final = CallContext()
_LEAST: Final = 0.001  # seconds; of a deadline that has just passed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of many calls ended: with a value or an error, never both."""

    tool: str
    value: Any = None
    error: PlughostError | None = None


class Caller:
    """Runs calls from the application and from plugins."""

    def __init__(self, reactor: Reactor, max_depth: int) -> None:
        self.now = reactor.now
        self._max_depth = max_depth

    async def call(
        self,
        entry: Entry,
        params: Mapping[str, Any],
        context: CallContext | None = None,
        within: float = math.inf,
    ) -> Any:
        """The result, `within` so many seconds. Raises what `Host.call` says."""
        context = context or _NO_CONTEXT
        provider = entry.provider
        try:
            payload = entry.encode(params)
            times, meta = _prepare(entry, context, within)
            end = self.now() + times.total
            while True:
                worker = provider.active_worker or await self._worker(entry, times, end)
                try:
                    value = await worker.channel.request(
                        entry.method,
                        payload,
                        times,
                        meta,
                        label=entry.label,
                        on_progress=context.on_progress,
                    )
                    break
                except WorkerDied as exc:
                    other = entry.instead()
                    if not _may_try_again(entry, other, exc):
                        raise
                    if other is not entry:  # of another version, with a schema of its own
                        entry, provider = other, other.provider
                        payload = entry.encode(params)
                        times, meta = _prepare(entry, context, within)
                    times = replace(times, total=max(end - self.now(), 0.0))
            entry.check_result(value)
        except PlughostError as exc:
            provider.count(exc)
            raise
        provider.count(None)
        return value

    async def stream(
        self, entry: Entry, params: Mapping[str, Any], context: CallContext | None = None
    ) -> AsyncGenerator[Any, None]:
        """The items as they come; of what does not stream, its one result."""
        context = context or _NO_CONTEXT
        if not entry.streams:
            yield await self.call(entry, params, context)
            return
        provider = entry.provider
        try:
            payload = entry.encode(params)
            times, meta = _prepare(entry, context)
            end = self.now() + times.total
            worker = provider.active_worker or await self._worker(entry, times, end)
            items = worker.channel.stream(
                entry.method,
                payload,
                times,
                meta,
                label=entry.label,
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

    def nested(
        self, request: Request, label: str, timeout: float | None
    ) -> tuple[CallContext, float]:
        """What goes with a plugin's own call of `label`, and the seconds that are left for it.

        Raises `TooDeep` where calls go round in a circle, or too far.
        """
        parent = request.parent
        meta = CallMeta() if parent is None else parent.meta
        here = request.plugin_id if parent is None else parent.label
        chain = [*links_of(meta.caller), here]
        caller = joined(chain)
        if label in chain or len(chain) >= self._max_depth or len(caller) > _MAX_TEXT:
            raise TooDeep([*chain, label], self._max_depth)
        context = CallContext(
            timeout=timeout,
            user_id=meta.user_id,
            request_id=meta.request_id,
            trace=meta.trace,
            caller=caller,
        )
        return context, math.inf if parent is None else parent.remaining(self.now())

    async def _worker(self, entry: Entry, times: CallTimes, end: float) -> Worker:
        try:
            return await entry.provider.wait_for_worker(end - self.now())
        except TimeoutError:
            raise CallTimeout(entry.label, times.total) from None


def in_chain(context: CallContext | None) -> CallContext | None:
    """What goes with the application's call, with the chain that it is made in."""
    chain = current_chain()
    if not chain:
        return context
    if context is None:
        return CallContext(caller=chain)
    return context if context.caller else replace(context, caller=chain)


def decode_params(label: str, raw: Raw) -> dict[str, Any]:
    """The parameters that a plugin sends, which the router has checked. Raises `InvalidParams`."""
    try:
        params = decode_checked(raw)
    except MalformedMessage as exc:
        raise InvalidParams(label, [f"$ {exc.reason}"]) from exc
    if not isinstance(params, dict):
        raise InvalidParams(label, ["$ must be an object"])
    return params


def _prepare(
    entry: Entry, context: CallContext, within: float = math.inf
) -> tuple[CallTimes, CallMeta]:
    """How long the call may take, and what goes with it."""
    if context is _NO_CONTEXT:
        return entry.times, entry.meta
    times = entry.times
    if context.timeout is not None or within < times.total:
        total = max(min(context.timeout or times.total, times.total, within), _LEAST)
        timeout = min(context.timeout or times.timeout, total)
        times = CallTimes(timeout=timeout, total=total, idle=times.idle)
    meta = CallMeta(
        timeout_ms=max(1, int(times.timeout * 1000)),
        caller=context.caller,
        user_id=context.user_id,
        request_id=context.request_id,
        trace=context.trace,
    )
    return times, meta


def _may_try_again(entry: Entry, other: Entry, died: WorkerDied) -> bool:
    """What was never sent always may; what was sent only if it is idempotent, in the version
    that it was sent to and in the one that would get it now."""
    if other is not entry and not died.outcome_unknown:
        return True
    # A call that took its worker over the memory limit would do so again.
    if died.exit.cause in (Cause.STOPPED, Cause.LOAD_FAILED, Cause.MEMORY):
        return False
    return (entry.idempotent and other.idempotent) or not died.outcome_unknown
