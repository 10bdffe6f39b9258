"""The worker's own calls to the host: each is answered once, and the call it serves waits."""

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Raw

from plughost.config import Limits
from plughost.errors import Overloaded, PlughostError
from plughost_protocol import Call, Error, ErrorCode, Failure, Message, Result, encode

from .calls import OpenCall

__all__ = ["REFUSAL", "RequestOwner", "Requests", "frame_limit"]

REFUSAL: Final = 100
"""Frames that a request counts for which only an impatient worker makes.

Who asks on all the same is read slowly: its refusals must not fill our time.
"""


class AnswerTooLarge(PlughostError):
    """Raised when an answer does not fit in a frame."""

    code = ErrorCode.RESULT_TOO_LARGE


class RequestOwner(Protocol):
    """The channel, as its requests need it."""

    @property
    def backlog(self) -> int: ...
    @property
    def now(self) -> Callable[[], float]: ...
    def send(self, message: Message) -> None: ...
    def send_payload(self, payload: bytes) -> None: ...
    def open_call(self, call_id: int) -> OpenCall | None: ...
    @property
    def watch(self) -> Callable[[OpenCall], None]: ...
    @property
    def violated(self) -> Callable[[str], None]: ...
    @property
    def charge(self) -> Callable[[int], None]: ...


class Requests:
    """Requests that the worker has made and the host has not answered."""

    def __init__(
        self, channel: RequestOwner, limits: Limits, on_call: Callable[[Call], None]
    ) -> None:
        self._channel = channel
        self._limits = limits
        self._on_call = on_call
        # With the call that each one serves, and the bytes of its parameters.
        self._open: dict[int, tuple[OpenCall | None, int]] = {}
        self._size = 0
        self._last_id = 0

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def count(self) -> int:
        """How many there have been so far; what skips numbers counts more."""
        return self._last_id

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._open

    def parent_of(self, request_id: int) -> OpenCall | None:
        """The call that a request is made for."""
        parent, _ = self._open.get(request_id, (None, 0))
        return parent

    def received(self, message: Call) -> None:
        """A request has come: hand it on, refuse it at a bound, or call it a violation."""
        channel, limits = self._channel, self._limits
        if message.id <= self._last_id:
            channel.violated(f"call id {message.id} after {self._last_id}")
            return
        if channel.backlog >= 2 * limits.max_outgoing:
            channel.violated("it does not read the answers to its calls")
            return
        self._last_id = message.id
        parent = channel.open_call(message.meta.parent)
        size = memoryview(message.params).nbytes
        self._open[message.id] = parent, size
        self._size += size
        if parent is not None:
            parent.request_began(channel.now())
        if len(self._open) > limits.requests_in_flight:
            self._refuse_more(message.id, "requests in flight", limits.requests_in_flight)
        elif self._size > 2 * limits.max_frame:
            # On its way to another plugin a request is held four times over.
            self._refuse_more(message.id, "bytes of requests in flight", 2 * limits.max_frame)
        else:
            self._on_call(message)

    def _refuse_more(self, request_id: int, what: str, limit: int) -> None:
        self._channel.charge(REFUSAL)
        self.refuse(request_id, Overloaded("", what, limit))

    def answer(self, request_id: int, value: object) -> None:
        """Answer with a value. Raises `TypeError` for what msgpack cannot hold."""
        limits = self._limits
        if self._channel.backlog >= limits.max_outgoing:
            raise Overloaded("", "answers that its worker does not read", limits.max_outgoing)
        raw = Raw(encode(value))
        payload = encode(Result(request_id, raw))
        # Encoded anew, a value that came in one frame need not fit in another.
        if len(payload) > limits.max_frame:
            size = memoryview(raw).nbytes
            raise AnswerTooLarge(f"the answer takes {size} bytes: {frame_limit(limits)}")
        self._end(request_id)
        self._channel.send_payload(payload)

    def refuse(self, request_id: int, error: PlughostError, failure: Failure | None = None) -> None:
        """Answer with an error."""
        self._end(request_id)
        failure = failure or Failure(
            type=type(error).__name__,
            permission=getattr(error, "permission", ""),
            retry_after=getattr(error, "retry_after", 0.0),
        )
        # A tool's own code may have grown when it was cleaned.
        code = error.code[:100] or ErrorCode.INTERNAL
        self._channel.send(Error(request_id, code, str(error)[:10_000], Raw(encode(failure))))

    def _end(self, request_id: int) -> None:
        parent, size = self._open.pop(request_id)
        self._size -= size
        if parent is not None:
            parent.request_ended(self._channel.now())
            self._channel.watch(parent)


def frame_limit(limits: Limits) -> str:
    """The bound, in words."""
    return f"a frame holds at most {limits.max_frame} bytes"
