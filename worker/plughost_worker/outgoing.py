"""The plugin's requests to the host, and their answers."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw

from plughost_protocol import (
    Call,
    CallMeta,
    Cancel,
    Error,
    ErrorCode,
    Failure,
    Progress,
    Result,
    decode_value,
    encode,
)
from plughost_sdk import HostError, PermissionDenied, RateLimited
from plughost_sdk.calls import running_call
from plughost_sdk.link import Handler

from .connection import Connection
from .threads import Threads

__all__ = ["Outgoing"]


class Outgoing:
    """Requests in flight towards the host: the SDK's `HostLink`."""

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, threads: Threads
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        self.run = threads.run
        self._connection = connection
        self._loop = loop
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self._slots = asyncio.Semaphore(1)

    def allow(self, requests: int) -> None:
        """Let so many requests be open at once; the others wait their turn here."""
        self._slots = asyncio.Semaphore(requests)

    async def request(self, method: str, params: object, timeout: float | None = None) -> Any:
        """The host's answer. Raises `HostError`, `PermissionDenied`."""
        call = running_call.get(None)
        async with self._slots:
            self._last_id = call_id = self._last_id + 1
            answer: asyncio.Future[Any] = self._loop.create_future()
            meta = CallMeta(
                timeout_ms=0 if timeout is None else max(1, int(timeout * 1000)),
                parent=0 if call is None else call.id,
            )
            self._connection.send(Call(call_id, method, Raw(encode(params)), meta))
            self._open[call_id] = answer
            try:
                return await answer
            except asyncio.CancelledError:
                self._connection.send(Cancel(call_id))
                raise
            finally:
                self._open.pop(call_id, None)

    def on_result(self, message: Result) -> None:
        """The host answered; an answer that nobody waits for is dropped."""
        answer = self._open.get(message.id)
        if answer is not None and not answer.done():
            answer.set_result(decode_value(message.value))

    def on_error(self, message: Error) -> None:
        """The host refused."""
        answer = self._open.get(message.id)
        if answer is not None and not answer.done():
            answer.set_exception(_exception(message))

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Report progress of the running call; outside of one there is nobody to tell."""
        call = running_call.get(None)
        if call is not None and call.id:
            self._connection.send(Progress(call.id, done, total, message[:1000]))

    def run_blocking(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on the loop and wait for it, from a thread beside it."""
        if self._connection.on_loop():
            raise RuntimeError(
                "api.blocking would stop the worker's own loop here: await the api itself"
            )
        outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

        async def run() -> None:
            try:
                outcome.set_result(await function())
            except BaseException as exc:  # noqa: BLE001 - it is raised in the waiting thread
                outcome.set_exception(exc)

        # The context carries the running call, so that the host knows whom the request is for.
        context = contextvars.copy_context()
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(run()), context=context)
        return outcome.result()


def _exception(message: Error) -> HostError:
    failure = Failure()
    with contextlib.suppress(msgspec.MsgspecError):
        failure = msgspec.msgpack.decode(message.data, type=Failure | None) or failure
    if message.code == ErrorCode.PERMISSION_DENIED:
        return PermissionDenied(message.message, failure.permission)
    if message.code == ErrorCode.RATE_LIMITED:
        return RateLimited(message.message, failure.retry_after)
    return HostError(message.code, message.message)
