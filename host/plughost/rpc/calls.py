"""One call in flight: its outcome, its deadline, its stream."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec import Raw

from plughost.reactor import Waiter
from plughost_protocol import CallMeta, Progress

__all__ = ["STREAM_WINDOW", "CallTimes", "OpenCall", "OpenStream", "ProgressCallback"]

STREAM_WINDOW: Final = 8
"""Chunks that a stream may be ahead of its reader."""

ProgressCallback: TypeAlias = Callable[[float, float | None, str], object]


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long a call may take, in seconds."""

    timeout: float
    """Of the worker's own time: what it waits for the host is counted apart."""
    total: float
    """Wall time, whatever happens."""
    idle: float | None = None
    """Without progress; progress starts it anew."""


class OpenCall:
    """A call that was sent and not answered. Lives until the worker answers, or dies."""

    __slots__ = (
        "_requests",
        "_waiting_since",
        "abandoned",
        "deadline",
        "hard_deadline",
        "host_wait",
        "id",
        "kill_at",
        "label",
        "meta",
        "offset",
        "on_progress",
        "sent_at",
        "times",
        "waiter",
    )

    def __init__(
        self,
        call_id: int,
        label: str,
        meta: CallMeta,
        times: CallTimes,
        now: float,
        waiter: Waiter[Any],
        on_progress: ProgressCallback | None,
    ) -> None:
        self.id = call_id
        self.label = label
        """The tool's full name, for messages."""
        self.meta = meta
        self.times = times
        self.sent_at = now
        self.hard_deadline = now + times.total
        self.deadline = min(now + (times.idle or times.timeout), self.hard_deadline)
        self.kill_at = math.inf
        """Set once the deadline has passed: if it is open still at this time, it hangs."""
        self.abandoned = False
        """Whether the caller has gone: the answer is nobody's."""
        self.waiter = waiter
        self.on_progress = on_progress
        self.host_wait = 0.0
        """Seconds for which the worker waited for the host on behalf of this call."""
        self.offset = 0
        """Bytes that were queued for the pipe before this call."""
        self._requests = 0
        self._waiting_since = 0.0

    @property
    def due(self) -> float:
        """When something must be done about it, if nothing happens before."""
        if self.kill_at is not math.inf:
            return self.kill_at
        return self.hard_deadline if self._requests else self.deadline

    def limit(self, now: float) -> tuple[float, bool]:
        """The seconds that ran out at its deadline, and whether it was the idle timeout."""
        times = self.times
        if now >= self.hard_deadline:
            return times.total, False
        return (times.timeout, False) if times.idle is None else (times.idle, True)

    def remaining(self, now: float) -> float:
        """Seconds of wall time that it may still take."""
        return max(self.hard_deadline - now, 0.0)

    def request_began(self, now: float) -> None:
        """The worker asks the host for something on behalf of this call: its clock stops."""
        if self._requests == 0:
            self._waiting_since = now
        self._requests += 1

    def request_ended(self, now: float) -> None:
        """The host has answered: the clock goes on."""
        self._requests -= 1
        if self._requests == 0:
            waited = now - self._waiting_since
            self.host_wait += waited
            self.deadline = min(self.deadline + waited, self.hard_deadline)

    def progressed(self, message: Progress, now: float) -> None:
        """The worker reported progress."""
        self.touch(now)
        if self.on_progress is not None and not self.waiter.done():
            self.on_progress(message.done, message.total, message.message)

    def touch(self, now: float) -> None:
        """Start the idle timeout anew, if there is one."""
        if self.times.idle is not None:
            self.deadline = min(now + self.times.idle, self.hard_deadline)

    def answer(self, raw: Raw) -> None:
        """End it with a value for the caller, who may have gone already."""
        if not self.waiter.done():
            self.waiter.set_result(raw)

    def fail(self, error: BaseException) -> None:
        """End it with an error for the caller, who may have gone already."""
        if not self.waiter.done():
            self.waiter.set_exception(error)

    def __repr__(self) -> str:
        return f"<OpenCall {self.id} {self.label}>"


class OpenStream(OpenCall):
    """A call that is answered by chunks, and a value or an error that ends them."""

    __slots__ = ("_error", "_new_waiter", "chunks", "credit", "ended")

    def __init__(
        self,
        call_id: int,
        label: str,
        meta: CallMeta,
        times: CallTimes,
        now: float,
        new_waiter: Callable[[], Waiter[Any]],
        on_progress: ProgressCallback | None,
    ) -> None:
        super().__init__(call_id, label, meta, times, now, new_waiter(), on_progress)
        self.chunks: deque[Raw] = deque()
        """What has come and the reader has not taken."""
        self.credit = meta.credit
        """Chunks that the worker may send still."""
        self.ended = False
        self._new_waiter = new_waiter
        self._error: BaseException | None = None

    def add(self, raw: Raw, now: float) -> None:
        """A chunk has come."""
        self.credit -= 1
        self.touch(now)
        if not self.ended:
            self.chunks.append(raw)
            self._wake()

    def answer(self, raw: Raw) -> None:  # noqa: ARG002 - a stream ends without a value
        self._end(None)

    def fail(self, error: BaseException) -> None:
        self._end(error)

    async def more(self) -> bool:
        """Wait for chunks; False once the stream has ended well. Raises what ended it badly."""
        while not self.chunks and not self.ended:
            await self.waiter
            self.waiter = self._new_waiter()
        if self.chunks:
            return True
        if self._error is not None:
            raise self._error
        return False

    def _end(self, error: BaseException | None) -> None:
        if not self.ended:
            self.ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)
