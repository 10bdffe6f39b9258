"""A plugin as who calls it sees it: the worker that answers, the wait for one, the counters."""

from dataclasses import dataclass
from typing import Any, Final

import anyio
import msgspec

from plughost.config import Limits
from plughost.errors import CallTimeout, InvalidParams, NotRunning, Overloaded, PlughostError
from plughost.reactor import Reactor
from plughost.rpc.calls import CallTimes
from plughost.rpc.worker import Worker
from plughost_protocol import CallMeta, encode

from .changes import Changes
from .states import State

__all__ = ["Callee", "PluginStats"]

_COMING: Final = (State.LOADING, State.RESTARTING, State.ACTIVE)
"""A worker is there, or is about to be."""


@dataclass(slots=True)
class PluginStats:
    """What has happened to a plugin since the host started."""

    calls: int = 0
    errors: int = 0
    timeouts: int = 0
    invalid: int = 0
    """Of the errors, those that were the callers' own: parameters that do not fit."""
    restarts: int = 0
    """Workers that were started in place of a dead one."""
    swaps: int = 0
    """Workers that took the place of one that ran."""


class Callee:
    """The calls of one plugin, over the lives of its workers."""

    def __init__(self, plugin_id: str, reactor: Reactor) -> None:
        self.id = plugin_id
        self.stats = PluginStats()
        self.error = ""
        """Why it is in `error`, in one line."""
        self.active_worker: Worker | None = None
        """The worker that takes calls now."""
        self._state = State.UNLOADED
        self._reactor = reactor
        self._callers = Changes(reactor)

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_wanted(self) -> bool:
        """Whether it runs, is about to, or would if somebody needed it."""
        return self._state in (State.LOADING, State.ACTIVE, State.SLEEPING, State.RESTARTING)

    @property
    def is_available(self) -> bool:
        """Whether it takes calls: it has a worker, or gets one for them."""
        return self.active_worker is not None or self._state is State.SLEEPING

    @property
    def limits(self) -> Limits:
        """The limits of its worker."""
        raise NotImplementedError

    def wake(self) -> bool:
        """Whether a worker is started because somebody needs it: it sleeps."""
        raise NotImplementedError

    async def wait_for_worker(self, timeout: float) -> Worker:
        """The worker, once there is one. Raises `TimeoutError`, `NotRunning`, `Overloaded`."""
        with anyio.fail_after(timeout):
            while self.active_worker is None:
                # Still active without a worker: it has died, and what follows is being decided.
                if self._state not in _COMING and not self.wake():
                    raise NotRunning(self.id, self._state, self.error)
                if len(self._callers) >= self.limits.calls_in_flight:
                    raise Overloaded(self.id, "calls waiting", self.limits.calls_in_flight)
                await self._callers.next()
        return self.active_worker

    async def call_handler(
        self,
        method: str,
        params: object,
        *,
        label: str,
        timeout: float | None = None,
        meta: CallMeta | None = None,
        wait: bool = True,
    ) -> Any:
        """The answer of what the plugin has registered, counted as a call; see `PluginCaller`."""
        limits = self.limits
        timeout = min(timeout or limits.call_timeout, limits.call_total)
        end = self._reactor.now() + timeout
        meta = meta or CallMeta()
        try:
            worker = self.active_worker
            if worker is None and not wait and not self.wake():
                raise NotRunning(self.id, self._state, self.error)
            if worker is None:
                try:
                    worker = await self.wait_for_worker(timeout)
                except TimeoutError:
                    raise CallTimeout(label, timeout) from None
                timeout = max(end - self._reactor.now(), 0.001)
            answer = await worker.channel.request(
                method,
                encode(params),
                CallTimes(timeout=timeout, total=limits.call_total),
                msgspec.structs.replace(meta, timeout_ms=max(1, int(timeout * 1000))),
                label=label,
            )
        except PlughostError as exc:
            self.count(exc)
            raise
        self.count(None)
        return answer

    def count(self, error: PlughostError | None) -> None:
        stats = self.stats
        stats.calls += 1
        if error is not None:
            stats.errors += 1
            stats.timeouts += isinstance(error, CallTimeout)
            stats.invalid += isinstance(error, InvalidParams)
