"""One client of the control socket, in the running host: its requests, and what it is sent."""

import logging
import socket
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from typing import Final

import anyio
from msgspec import Raw

from plughost.errors import PlughostError
from plughost.reactor import Reactor
from plughost.rpc.calls import OpenCall, ProgressCallback
from plughost.rpc.channel import Channel
from plughost.rpc.jobs import Jobs
from plughost_protocol import (
    Call,
    Chunk,
    Credit,
    Error,
    ErrorCode,
    Failure,
    Message,
    Pong,
    Progress,
    encode,
)

from .control import CONTROL_LIMITS, peer_of
from .control_methods import ControlMethods

__all__ = ["ControlConnection"]

_log: Final = logging.getLogger("plughost.control")

_PROGRESS_INTERVAL: Final = 0.05  # seconds; a person sees no more, and a slow client keeps up


class ControlConnection:
    """One client, as the owner of its channel."""

    def __init__(
        self,
        connection: socket.socket,
        reactor: Reactor,
        methods: ControlMethods,
        on_end: Callable[["ControlConnection"], None],
    ) -> None:
        self._socket = connection
        self._reactor = reactor
        self._methods = methods
        self._on_end = on_end
        self._jobs: Jobs[int] = Jobs(reactor)
        self._credits: dict[int, _Credits] = {}
        self._following: set[int] = set()
        fd = connection.fileno()
        self.channel = Channel(reactor, fd, fd, CONTROL_LIMITS, self)

    @property
    def open_requests(self) -> int:
        return len(self._jobs)

    @property
    def open_calls(self) -> int:
        """The same without those that only look on, until the host ends."""
        return len(self._jobs) - len(self._following)

    def close(self) -> None:
        """End the connection; what it asked for and has not got is cancelled."""
        if self._socket.fileno() < 0:
            return
        self.channel.close(lambda _: PlughostError("the client has gone"))
        self._jobs.cancel_all()
        self._socket.close()
        self._on_end(self)

    # Client

    def progress(self, call: Call) -> ProgressCallback:
        """What tells the client how far its call is, now and then."""
        next_at = 0.0

        def send(done: float, total: float | None, message: str) -> None:
            nonlocal next_at
            now = self._reactor.now()
            if now >= next_at or done == total:
                next_at = now + _PROGRESS_INTERVAL
                if not self.channel.backlog:
                    self.channel.send(Progress(call.id, done, total, message))

        return send

    def follows(self, call: Call) -> None:
        """This call only looks on: nothing waits for its end."""
        self._following.add(call.id)

    async def send_items(self, call: Call, items: AsyncIterable[object]) -> None:
        """Send them all, as fast as the client takes them."""
        allowed = self._credits[call.id] = _Credits(call.meta.credit)
        async for item in items:
            await allowed.take()
            self.channel.send(Chunk(call.id, Raw(encode(item))))

    # Answers

    async def _answer(self, call: Call) -> None:
        try:
            answer = Raw(encode(await self._methods.answer(call, self)))
            if memoryview(answer).nbytes > CONTROL_LIMITS.max_frame - 1024:
                raise _TooLarge(call.method)  # noqa: TRY301 - answered as all others are
            self._drop_if_it_does_not_read()
            self.channel.requests.answer(call.id, answer)
        except PlughostError as exc:
            self._refuse(call, exc)
        except Exception:  # noqa: BLE001 - our bug: the host and its other clients go on
            _log.exception("%s for a client failed", call.method)
            self._refuse(call, PlughostError(f"the host failed at {call.method}; its log says why"))
        finally:
            self._credits.pop(call.id, None)
            self._following.discard(call.id)

    def _refuse(self, call: Call, error: PlughostError) -> None:
        details = getattr(error, "traceback", "") or getattr(error, "stack", "")
        type_name = getattr(error, "type", "") or type(error).__name__
        self.channel.requests.refuse(call.id, error, Failure(type=type_name, traceback=details))

    def _drop_if_it_does_not_read(self) -> bool:
        """Whether it asked for more than it takes, and was cut off."""
        too_much = self.channel.backlog > CONTROL_LIMITS.max_outgoing
        if too_much:
            self.close()
        return too_much

    # ChannelOwner

    def on_call(self, call: Call) -> None:
        if not self._drop_if_it_does_not_read():
            self._jobs.start(
                call.id,
                lambda: self._answer(call),
                lambda: self._refuse(call, _Cancelled("cancelled")),
            )

    def on_cancel(self, call_id: int) -> None:
        self._jobs.cancel(call_id)

    def on_message(self, message: Message) -> None:
        match message:
            case Credit(call_id, chunks):
                if stream := self._credits.get(call_id):
                    stream.add(chunks)
            case Pong():
                pass
            case _:
                self.on_violation(f"{type(message).__name__} is not a client's to send")

    def on_violation(self, detail: str) -> None:
        with suppress(OSError):
            _log.warning("the client with pid %s: %s", peer_of(self._socket).pid, detail)
        self.close()

    def on_closed(self) -> None:
        self.close()

    # The host asks nothing of its clients, so that none of these happens.

    def on_deadline(self, call: OpenCall) -> None:
        raise NotImplementedError

    def on_hung(self, call: OpenCall) -> None:
        raise NotImplementedError

    def error_of(self, call: OpenCall, message: Error) -> PlughostError:
        raise NotImplementedError


class _Credits:
    """Chunks that a client still takes of one stream."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._more = anyio.Event()

    def add(self, chunks: int) -> None:
        self._left += chunks
        self._more.set()

    async def take(self) -> None:
        """Return when there is one, which is then used up."""
        while self._left == 0:
            self._more = anyio.Event()
            await self._more.wait()
        self._left -= 1


class _Cancelled(PlughostError):
    """Raised towards the client that took its request back."""

    code = ErrorCode.CANCELLED


class _TooLarge(PlughostError):
    """Raised when an answer does not fit in a frame."""

    code = ErrorCode.RESULT_TOO_LARGE

    def __init__(self, method: str) -> None:
        super().__init__(f"the answer to {method} is too large for a frame")
