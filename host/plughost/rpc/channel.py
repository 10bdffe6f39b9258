"""The host's end of one worker's pipes: every call ends exactly once.

All of it runs in callbacks of the event loop: no task, no cancel scope and no timer of its own
for a call. One timer per channel looks after all deadlines; it is set only while a call that
is open could be the next to end.
"""

import math
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from plughost.config import Limits
from plughost.errors import InvalidParams, Overloaded, PlughostError, ProtocolViolation
from plughost.reactor import Reactor, TimerHandle, Waiter
from plughost_protocol import (
    MAX_CHUNK,
    Ack,
    Call,
    CallMeta,
    Cancel,
    Chunk,
    Credit,
    Error,
    ErrorCode,
    Failure,
    FrameDecoder,
    Message,
    Notify,
    Ping,
    Pong,
    Progress,
    ProtocolError,
    Result,
    decode_message,
    decode_value,
    encode,
)

from .calls import STREAM_WINDOW, CallTimes, OpenCall, ProgressCallback
from .writer import FrameWriter

__all__ = ["Channel", "ChannelOwner"]

# Not more: glibc maps and unmaps a larger buffer at every read, which costs 1.4 to 2.5 times.
_READ_SIZE: Final = 64 * 1024
_MAX_PIPE: Final = 1024 * 1024  # bytes; the kernel's default for fs.pipe-max-size
_PAUSE: Final = 0.1  # seconds for which the pipe of a flooding worker is left alone, at least
_PONG_BACKLOG: Final = 64 * 1024  # bytes; who does not read needs no pong
_NIL: Final = Raw(encode(None))


class _AnswerTooLarge(PlughostError):
    code = ErrorCode.RESULT_TOO_LARGE


class ChannelOwner(Protocol):
    """Who is told of what the other side does by itself."""

    def on_call(self, call: Call) -> None:
        """It asks for something: to be answered by `answer` or `refuse`, exactly once."""

    def on_cancel(self, call_id: int) -> None:
        """It no longer wants the answer to a call that is open still."""

    def on_message(self, message: Message) -> None:
        """It sent a message that belongs to no call."""

    def on_deadline(self, call: OpenCall) -> None:
        """The deadline passed, and `Cancel` was sent. To be ended with `call.fail`."""

    def on_hung(self, call: OpenCall) -> None:
        """The call did not stop within the grace time."""

    def on_violation(self, detail: str) -> None:
        """It broke the protocol. Nothing more is read."""

    def on_closed(self) -> None:
        """It closed its end, or died."""

    def error_of(self, call: OpenCall, message: Error) -> PlughostError:
        """The exception for an answer that is an error."""


class Channel:
    """Calls to and from the process at the other end of two descriptors."""

    def __init__(
        self, reactor: Reactor, read_fd: int, write_fd: int, limits: Limits, owner: ChannelOwner
    ) -> None:
        self.late = 0
        """Answers that came after their call had ended, or twice."""
        self._reactor = reactor
        self._read_fd = read_fd
        self._limits = limits
        self._owner = owner
        self._decoder = FrameDecoder(limits.max_frame)
        self._writer = FrameWriter(reactor, write_fd, self._on_broken)
        self._open: dict[int, OpenCall] = {}
        self._last_id = 0
        self._acked = 0
        self._idle: list[Waiter[None]] = []
        self._requests: dict[int, OpenCall | None] = {}  # the worker's, with the call they serve
        self._last_request = 0
        self._timer: TimerHandle | None = None
        self._timer_at = math.inf
        self._closed = False
        self._error_of: Callable[[bool], PlughostError] | None = None  # once it is closed
        self._deaf = False  # after a violation or its end, nothing is read
        self._frame_begun: float | None = None
        self._allowance = float(limits.frames_per_second)
        self._allowance_at = reactor.now()
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            Result: self._on_result,
            Ack: self._on_ack,
            Error: self._on_error,
            Chunk: self._on_chunk,
            Progress: self._on_progress,
            Call: self._on_request,
            Cancel: self._on_cancel,
            Ping: self._on_ping,
            Pong: self._on_other,
            Notify: self._on_other,
        }
        reactor.add_reader(read_fd, self._on_readable)

    # What the host asks

    async def request(
        self,
        method: str,
        params: bytes,
        times: CallTimes,
        meta: CallMeta,
        *,
        label: str,
        on_progress: ProgressCallback | None = None,
    ) -> Any:
        """The value that the worker answers with.

        Raises what `ChannelOwner.error_of` makes of an error, `CallTimeout`, `WorkerDied`, and
        at once `Overloaded`. Cancelled, it tells the worker.
        """
        call = self._begin(method, params, times, meta, label, on_progress)
        try:
            raw = await call.waiter
        except BaseException:
            self._abandon(call)
            raise
        return self._value(raw)

    async def stream(
        self,
        method: str,
        params: bytes,
        times: CallTimes,
        meta: CallMeta,
        *,
        label: str,
        on_progress: ProgressCallback | None = None,
    ) -> AsyncGenerator[Any, None]:
        """The items that the worker sends, at most `STREAM_WINDOW` ahead. Raises as `request`."""
        meta = msgspec.structs.replace(meta, credit=STREAM_WINDOW)
        call = self._begin(method, params, times, meta, label, on_progress)
        chunks = call.chunks
        assert chunks is not None  # noqa: S101 - for the type checker
        taken = 0
        try:
            while True:
                while chunks:
                    raw = chunks.popleft()
                    taken += 1
                    if 2 * taken >= STREAM_WINDOW and call.id in self._open:
                        call.credit += taken
                        self._send(Credit(call.id, taken))
                        taken = 0
                    yield self._value(raw)
                # Settled with None when chunks have come, with a value at the end.
                waiter = call.waiter
                if await waiter is None:
                    if call.waiter is waiter:  # else the end has come too, and has its own
                        call.waiter = self._reactor.waiter()
                elif not chunks:
                    return
        finally:
            self._abandon(call)

    def _begin(
        self,
        method: str,
        params: bytes,
        times: CallTimes,
        meta: CallMeta,
        label: str,
        on_progress: ProgressCallback | None,
    ) -> OpenCall:
        limits = self._limits
        if self._error_of is not None:
            raise self._error_of(False)
        if len(self._open) >= limits.calls_in_flight:
            raise Overloaded(label, "calls in flight", limits.calls_in_flight)
        if self._writer.backlog >= limits.max_outgoing:
            raise Overloaded(label, "bytes that its worker does not read", limits.max_outgoing)
        call_id = self._last_id + 1
        payload = encode(Call(call_id, method, Raw(params), meta))
        if len(payload) > limits.max_frame:
            raise InvalidParams(label, [f"$ takes {len(params)} bytes: {_too_long(limits)}"])
        self._last_id = call_id
        now = self._reactor.now()
        call = OpenCall(call_id, label, meta, times, now, self._reactor.waiter(), on_progress)
        call.offset = self._writer.queued
        if meta.credit:
            call.chunks = deque()
            call.credit = meta.credit
        self._open[call_id] = call
        self._writer.send(payload, now)
        self._watch(call)
        return call

    def _abandon(self, call: OpenCall) -> None:
        """The caller has gone. The worker is told, and must stop by the call's own deadline."""
        call.abandoned = True
        if call.id in self._open and call.kill_at is math.inf and not self._closed:
            self._send(Cancel(call.id))
            if not call.waiter.done():
                call.waiter.set_result(_NIL)

    def _value(self, raw: Raw) -> Any:
        try:
            return decode_value(raw)
        except ProtocolError as exc:
            self._violated(str(exc))
            raise ProtocolViolation(str(exc)) from exc

    # What the worker asks

    def answer(self, call_id: int, value: object) -> None:
        """Answer a request of the worker's. Raises `TypeError` for what msgpack cannot hold."""
        limits = self._limits
        if self._writer.backlog >= limits.max_outgoing:
            raise Overloaded("", "answers that its worker does not read", limits.max_outgoing)
        payload = encode(Result(call_id, Raw(encode(value))))
        if len(payload) > self._limits.max_frame:
            # Encoded anew, a value that came in one frame need not fit in another.
            size = len(payload)
            raise _AnswerTooLarge(f"the answer takes {size} bytes: {_too_long(self._limits)}")
        if self._end_request(call_id):
            self._writer.send(payload, self._reactor.now())

    def refuse(self, call_id: int, error: PlughostError, failure: Failure | None = None) -> None:
        """Answer a request of the worker's with an error."""
        if self._end_request(call_id):
            failure = failure or Failure(
                type=type(error).__name__, permission=getattr(error, "permission", "")
            )
            # A tool's own code may have grown when it was cleaned.
            code = error.code[:100] or ErrorCode.INTERNAL
            self._send(Error(call_id, code, str(error)[:10_000], Raw(encode(failure))))

    def parent_of(self, request_id: int) -> OpenCall | None:
        """The call that a request of the worker's is made for."""
        return self._requests.get(request_id)

    def _end_request(self, call_id: int) -> bool:
        parent = self._requests.pop(call_id)
        if parent is not None:
            parent.request_ended(self._reactor.now())
            self._watch(parent)
        return not self._closed

    def _on_request(self, message: Call) -> None:
        self._count_frame()
        if message.id <= self._last_request:
            self._violated(f"call id {message.id} after {self._last_request}")
            return
        if self._writer.backlog >= 2 * self._limits.max_outgoing:
            self._violated("it does not read the answers to its calls")
            return
        self._last_request = message.id
        parent = self._open.get(message.meta.parent)
        self._requests[message.id] = parent
        if parent is not None:
            parent.request_began(self._reactor.now())
        if len(self._requests) > self._limits.requests_in_flight:
            limit = self._limits.requests_in_flight
            self.refuse(message.id, Overloaded("", "requests in flight", limit))
            return
        self._owner.on_call(message)

    # The other side's state

    @property
    def open_calls(self) -> int:
        """Calls that the worker has not answered."""
        return len(self._open)

    @property
    def backlog(self) -> int:
        """Bytes that wait for the other side to read."""
        return self._writer.backlog

    async def drained(self) -> None:
        """Return when no call is open."""
        if self._open:
            waiter = self._reactor.waiter()
            self._idle.append(waiter)
            await waiter

    def silent_for(self) -> float:
        """Seconds for which the oldest call that was not acknowledged has been out."""
        for call in self._open.values():
            if call.id > self._acked:
                return self._reactor.now() - call.sent_at
        return 0.0

    def has_acknowledged_calls(self) -> bool:
        """Whether a handler may be at work: something that explains a busy loop."""
        return any(call.id <= self._acked for call in self._open.values())

    def half_frame_for(self) -> float:
        """Seconds for which a frame has been incomplete."""
        return 0.0 if self._frame_begun is None else self._reactor.now() - self._frame_begun

    def send(self, message: Message) -> None:
        """Send a message that belongs to no call."""
        self._send(message)

    def hang_up(self) -> None:
        """Write nothing more; what the worker still sends is read."""
        self._writer.close()

    def close(self, error_of: Callable[[bool], PlughostError]) -> None:
        """End all open calls with `error_of(sent)`, and touch the descriptors no more."""
        if self._closed:
            return
        self._closed = self._deaf = True
        self._error_of = error_of
        self._reactor.remove_reader(self._read_fd)
        written = self._writer.written
        self._writer.close()
        if self._timer is not None:
            self._timer.cancel()
        open_calls, self._open = self._open, {}
        for call in open_calls.values():
            call.fail(error_of(call.offset < written))
        self._settle_idle()

    def drain(self) -> None:
        """Take in what the pipe still holds of a worker that has ended."""
        # A bound, since a process that left the worker may be writing still.
        for _ in range(_MAX_PIPE // _READ_SIZE + 1):
            if self._deaf or not self._read_once():
                break

    # Frames

    def _send(self, message: Message) -> None:
        if not self._closed:
            self._writer.send(encode(message), self._reactor.now())

    def _on_readable(self) -> None:
        self._read_once()

    def _read_once(self) -> bool:
        """Read what there is, at most 64 KiB. Whether there may be more."""
        try:
            data = os.read(self._read_fd, _READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._deaf = True
            self._reactor.remove_reader(self._read_fd)
            self._owner.on_closed()
            return False
        try:
            frames = self._decoder.feed(data)
            for frame in frames:
                self._on_message(decode_message(frame))
                if self._deaf:
                    return False
        except ProtocolError as exc:
            self._violated(str(exc))
            return False
        if self._decoder.is_idle:
            self._frame_begun = None
        elif frames or self._frame_begun is None or len(data) == _READ_SIZE:
            self._frame_begun = self._reactor.now()  # a long frame that keeps coming is fine
        if self._allowance <= 0:
            self._pause()
        return True

    def _on_message(self, message: Message) -> None:
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)
        else:
            self._owner.on_message(message)

    def _on_result(self, message: Result) -> None:
        call = self._take(message.id)
        if call is not None:
            call.waiter.set_result(message.value)

    def _on_error(self, message: Error) -> None:
        call = self._take(message.id)
        if call is not None:
            call.fail(self._owner.error_of(call, message))

    def _on_ack(self, message: Ack) -> None:
        if not self._acked < message.id <= self._last_id:
            self._violated(f"ack of call {message.id}, the last one was {self._last_id}")
        self._acked = message.id

    def _on_progress(self, message: Progress) -> None:
        self._count_frame()
        call = self._known(message.id)
        if call is not None:
            call.progressed(message, self._reactor.now())
            self._watch(call)

    def _on_cancel(self, message: Cancel) -> None:
        self._count_frame()
        if message.id in self._requests:
            self._owner.on_cancel(message.id)

    def _on_ping(self, message: Ping) -> None:
        self._count_frame()
        if self._writer.backlog < _PONG_BACKLOG:
            self._send(Pong(message.number))

    def _on_other(self, message: Message) -> None:
        self._count_frame()
        self._owner.on_message(message)

    def _known(self, call_id: int) -> OpenCall | None:
        """The open call; a forged id is a violation, an ended call is counted."""
        call = self._open.get(call_id)
        if call is None:
            if call_id > self._last_id:
                self._violated(f"an answer to call {call_id}, which was never made")
            else:
                self.late += 1
                self._count_frame()
        return call

    def _take(self, call_id: int) -> OpenCall | None:
        """The call that an answer ends, if its caller still waits."""
        call = self._known(call_id)
        if call is None:
            return None
        del self._open[call_id]
        if self._idle and not self._open:
            self._settle_idle()
        if call.abandoned or call.kill_at is not math.inf:
            self.late += 1  # past its deadline, the owner ends it once it has the stacks
            return None
        if call.waiter.done():  # the reader of a stream is at the chunks still
            call.waiter = self._reactor.waiter()
        return call

    def _settle_idle(self) -> None:
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        self._idle.clear()

    def _on_chunk(self, message: Chunk) -> None:
        call = self._known(message.id)
        if call is None:
            return
        if call.chunks is None:
            self._violated(f"a chunk for call {call.id}, which asked for no stream")
            return
        if call.credit == 0 or len(bytes(message.value)) > MAX_CHUNK:
            self._violated(f"a chunk for call {call.id} without credit, or over {MAX_CHUNK} bytes")
            return
        call.credit -= 1
        if call.kill_at is math.inf:
            call.chunks.append(message.value)
            call.touch(self._reactor.now())
            if not call.waiter.done():
                call.waiter.set_result(None)

    def _violated(self, detail: str) -> None:
        if not self._deaf:
            self._deaf = True
            self._reactor.remove_reader(self._read_fd)
            self._owner.on_violation(detail)

    def _on_broken(self) -> None:
        """The worker reads no more; its death or the end of its own pipe says why."""
        self._writer.close()

    def _count_frame(self) -> None:
        """Take from the allowance of frames that answer no call; once it is spent, reading ends."""
        self._allowance -= 1

    def _pause(self) -> None:
        """Earn the allowance anew, or read nothing until it is earned."""
        now = self._reactor.now()
        rate = float(self._limits.frames_per_second)
        self._allowance = min(self._allowance + (now - self._allowance_at) * rate, rate)
        self._allowance_at = now
        if self._allowance <= 0 and not self._deaf:
            # The pipe fills and the worker waits: nothing is lost, and nobody else is disturbed.
            self._reactor.remove_reader(self._read_fd)
            self._frame_begun = None
            pause = max(_PAUSE, -self._allowance / rate)
            self._reactor.call_at(now + pause, self._resume)

    def _resume(self) -> None:
        if not self._deaf:
            self._reactor.add_reader(self._read_fd, self._on_readable)

    # Deadlines

    def _watch(self, call: OpenCall) -> None:
        due = call.due
        if due < self._timer_at and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._reactor.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._reactor.now()
        for call in list(self._open.values()):
            if call.due > now:
                continue
            if call.kill_at is not math.inf:
                self._owner.on_hung(call)
                return
            call.kill_at = now + self._limits.grace
            self._send(Cancel(call.id))
            self._owner.on_deadline(call)
        if self._open:
            self._watch(min(self._open.values(), key=lambda call: call.due))


def _too_long(limits: Limits) -> str:
    return f"a frame holds at most {limits.max_frame} bytes"
