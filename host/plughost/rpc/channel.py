"""The host's end of one worker's pipes: every call ends exactly once.

All of it runs in callbacks of the event loop: no task, no cancel scope and no timer of its own
for a call. One timer per channel looks after all deadlines; it is set only while a call that
is open could be the next to end.
"""

import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol

import msgspec
from msgspec import Raw

from plughost.config import Limits
from plughost.errors import InvalidParams, Overloaded, PlughostError, ProtocolViolation
from plughost.reactor import Reactor, Waiter
from plughost_protocol import (
    MAX_CHUNK,
    Ack,
    Call,
    CallMeta,
    Cancel,
    Chunk,
    Credit,
    Error,
    Message,
    Ping,
    Pong,
    Progress,
    ProtocolError,
    Result,
    decode_value,
    encode,
)

from .calls import STREAM_WINDOW, CallTimes, OpenCall, OpenStream, ProgressCallback
from .deadlines import Deadlines
from .reader import FrameReader
from .requests import Requests, frame_limit
from .writer import FrameWriter

__all__ = ["Channel", "ChannelOwner"]

_PONG_BACKLOG: Final = 64 * 1024  # bytes; who does not read needs no pong
_NIL: Final = Raw(encode(None))  # for a caller that has gone


class ChannelOwner(Protocol):
    """Who is told of what the other side does by itself."""

    def on_call(self, call: Call) -> None:
        """It asks for something: `Channel.requests` answers or refuses it, exactly once."""

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
        self.now = reactor.now
        self.requests = Requests(self, limits, owner.on_call)
        """The other side's own calls, to be answered here."""
        self.when_called: Callable[[], None] | None = None
        """Called once, when the next call begins."""
        self._reactor = reactor
        self._limits = limits
        self._owner = owner
        self._open: dict[int, OpenCall] = {}
        self._last_id = 0
        self._acked = 0
        self._idle: list[Waiter[None]] = []
        self._error_of: Callable[[bool], PlughostError] | None = None  # once it is closed
        self._deadlines = Deadlines(reactor, self._open.values, self._on_due)
        self.watch = self._deadlines.watch
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            Result: self._on_result,
            Ack: self._on_ack,
            Error: self._on_error,
            Chunk: self._on_chunk,
            Progress: self._on_progress,
            Call: self._on_call,
            Cancel: self._on_cancel,
            Ping: self._on_ping,
        }
        self._writer = FrameWriter(reactor, write_fd, self.hang_up)
        self._reader = FrameReader(
            reactor, read_fd, limits, self._on_message, owner.on_violation, owner.on_closed
        )
        self.violated = self._reader.violated
        self.charge = self._reader.charge

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
        call_id, payload = self._prepare(method, params, meta, label)
        now = self.now()
        waiter = self._reactor.waiter()
        call = OpenCall(call_id, label, meta, times, now, waiter, on_progress)
        self._begin(call, payload, now)
        try:
            raw = await waiter
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
        call_id, payload = self._prepare(method, params, meta, label)
        now = self.now()
        new_waiter = self._reactor.waiter
        stream = OpenStream(call_id, label, meta, times, now, new_waiter, on_progress)
        self._begin(stream, payload, now)
        taken = 0
        try:
            while await stream.more():
                raw = stream.chunks.popleft()
                taken += 1
                if 2 * taken >= STREAM_WINDOW and call_id in self._open:
                    stream.credit += taken
                    self.send(Credit(call_id, taken))
                    taken = 0
                yield self._value(raw)
        finally:
            self._abandon(stream)

    def _prepare(self, method: str, params: bytes, meta: CallMeta, label: str) -> tuple[int, bytes]:
        """The next id and the call's bytes, unless a bound or the end of the worker forbids it."""
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
            raise InvalidParams(label, [f"$ takes {len(params)} bytes: {frame_limit(limits)}"])
        return call_id, payload

    def _begin(self, call: OpenCall, payload: bytes, now: float) -> None:
        if self.when_called is not None:
            told, self.when_called = self.when_called, None
            told()
        self._last_id = call.id
        self._open[call.id] = call
        call.offset = self._writer.queued
        self._writer.send(payload, now)
        self.watch(call)

    def _abandon(self, call: OpenCall) -> None:
        """The caller has gone. The worker is told, and must stop by the call's own deadline."""
        call.abandoned = True
        if call.id in self._open and call.kill_at is math.inf:
            self.send(Cancel(call.id))
            call.answer(_NIL)

    def _value(self, raw: Raw) -> Any:
        try:
            return decode_value(raw)
        except ProtocolError as exc:
            self.violated(str(exc))
            raise ProtocolViolation(str(exc)) from exc

    # The other side's state

    @property
    def open_calls(self) -> int:
        """Calls that the worker has not answered."""
        return len(self._open)

    @property
    def calls(self) -> int:
        """Calls that were sent so far, those included that drive the plugin's life."""
        return self._last_id

    def open_call(self, call_id: int) -> OpenCall | None:
        """The call of this id, while the worker has not answered it."""
        return self._open.get(call_id)

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
                return self.now() - call.sent_at
        return 0.0

    def has_acknowledged_calls(self) -> bool:
        """Whether a handler may be at work: something that explains a busy loop."""
        return any(call.id <= self._acked for call in self._open.values())

    @property
    def unsolicited(self) -> int:
        """Frames from the other side that answered no call."""
        return self._reader.unsolicited

    def half_frame_for(self) -> float:
        """Seconds for which a frame has been incomplete."""
        return self._reader.half_frame_for()

    # Its end

    def send(self, message: Message) -> None:
        """Send a message; of one that is closed, nobody would read it."""
        self.send_payload(encode(message))

    def send_payload(self, payload: bytes) -> None:
        """Send a message that is encoded already."""
        if self._error_of is None:
            self._writer.send(payload, self.now())

    def hang_up(self) -> None:
        """Write nothing more; what the worker still sends is read."""
        self._writer.close()

    def drain(self) -> None:
        """Take in what the pipe still holds of a worker that has ended."""
        self._reader.drain()

    def close(self, error_of: Callable[[bool], PlughostError]) -> None:
        """End all open calls with `error_of(sent)`, and touch the descriptors no more."""
        if self._error_of is not None:
            return
        self._error_of = error_of
        self._reader.stop()
        written = self._writer.written
        self._writer.close()
        self._deadlines.close()
        open_calls = list(self._open.values())
        self._open.clear()
        for call in open_calls:
            call.fail(error_of(call.offset < written))
        self._settle_idle()

    # What the worker sends

    def _on_message(self, message: Message) -> None:
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)
        else:
            self._reader.charge()
            self._owner.on_message(message)

    def _on_result(self, message: Result) -> None:
        call = self._take(message.id)
        if call is not None:
            call.answer(message.value)

    def _on_error(self, message: Error) -> None:
        call = self._take(message.id)
        if call is not None:
            call.fail(self._owner.error_of(call, message))

    def _on_ack(self, message: Ack) -> None:
        if not self._acked < message.id <= self._last_id:
            self.violated(f"ack of call {message.id}, the last one was {self._last_id}")
        self._acked = message.id

    def _on_progress(self, message: Progress) -> None:
        self._reader.charge()
        call = self._known(message.id)
        if call is not None:
            call.progressed(message, self.now())
            self.watch(call)

    def _on_chunk(self, message: Chunk) -> None:
        call = self._known(message.id)
        if call is None:
            return
        if not isinstance(call, OpenStream):
            self.violated(f"a chunk for call {call.id}, which asked for no stream")
        elif call.credit == 0:
            self.violated(f"a chunk for call {call.id} without credit")
        elif memoryview(message.value).nbytes > MAX_CHUNK:
            self.violated(f"a chunk for call {call.id} over {MAX_CHUNK} bytes")
        else:
            call.add(message.value, self.now())

    def _on_call(self, message: Call) -> None:
        self._reader.charge()
        self.requests.received(message)

    def _on_cancel(self, message: Cancel) -> None:
        self._reader.charge()
        if message.id in self.requests:
            self._owner.on_cancel(message.id)

    def _on_ping(self, message: Ping) -> None:
        self._reader.charge()
        if self._writer.backlog < _PONG_BACKLOG:
            self.send(Pong(message.number))

    def _known(self, call_id: int) -> OpenCall | None:
        """The open call; a forged id is a violation, an ended call is counted."""
        call = self._open.get(call_id)
        if call is None:
            if call_id > self._last_id:
                self.violated(f"an answer to call {call_id}, which was never made")
            else:
                self.late += 1
                self._reader.charge()
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
        return call

    def _settle_idle(self) -> None:
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        self._idle.clear()

    def _on_due(self, call: OpenCall, now: float) -> None:
        if call.kill_at is not math.inf:
            call.kill_at = now + self._limits.grace  # until its worker, killed now, is reaped
            self._owner.on_hung(call)
            return
        call.kill_at = now + self._limits.grace
        self.send(Cancel(call.id))
        self._owner.on_deadline(call)
