"""The host's calls: read, acknowledged, run, answered."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw

from plughost_protocol import (
    EXIT_OUT_OF_MEMORY,
    MAX_CHUNK,
    TOOL_PREFIX,
    Ack,
    Call,
    Cancel,
    Chunk,
    Credit,
    Error,
    ErrorCode,
    Failure,
    MalformedMessage,
    Message,
    Ping,
    Pong,
    Result,
    Welcome,
    WireLimits,
    check_values,
    encode,
)
from plughost_sdk import CallCancelled, CurrentCall, HostError, ToolError
from plughost_sdk.calls import running_call
from plughost_sdk.link import Handler

from .connection import Connection
from .loader import one_line, places, plugin_traceback, words
from .outgoing import Outgoing
from .threads import Threads

__all__ = ["Dispatcher"]

_MAX_MESSAGE: Final = 10_000  # characters of an exception's text; a plugin may raise a novel
_NIL: Final = Raw(encode(None))


class _Running:
    """A call whose handler runs: what cancelling it means, and a stream's credit."""

    __slots__ = ("call", "credit", "credited", "task")

    def __init__(self, call: CurrentCall, credit: int) -> None:
        self.call = call
        self.credit = credit
        self.credited: asyncio.Event | None = None
        self.task: asyncio.Task[None] | None = None


class Dispatcher:
    """Runs handlers for the host's calls: async ones on the loop, blocking ones in threads."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        read_fd: int,
        write_fd: int,
        on_welcome: Callable[[Welcome], None],
    ) -> None:
        self.methods: dict[str, Callable[[Raw], Awaitable[object]]] = {}
        self.connection = Connection(read_fd, write_fd, loop, self._on_messages)
        self._threads = Threads(loop)
        self.outgoing = Outgoing(self.connection, loop, self._threads)
        self.handlers = self.outgoing.handlers
        self._loop = loop
        self._on_welcome = on_welcome
        self._running: dict[int, _Running] = {}

    def close(self) -> None:
        """Wait until the threads of blocking handlers have ended."""
        self._threads.close()

    def allow(self, limits: WireLimits) -> None:
        """Keep to what the host allows; what goes beyond waits its turn in this process."""
        self.connection.max_frame = limits.max_frame
        self.outgoing.allow(limits.max_requests)
        self._threads.limit = limits.max_threads

    def _on_messages(self, messages: list[Message]) -> None:
        # Before any handler runs, or a busy handler could not be told from a dead loop.
        last = next((m.id for m in reversed(messages) if type(m) is Call), 0)
        if last:
            self.connection.send_now(Ack(last))
        for message in messages:
            self._on_message(message)

    def _on_message(self, message: Message) -> None:
        match message:
            case Call():
                self._start(message)
            case Result():
                self.outgoing.on_result(message)
            case Error():
                self.outgoing.on_error(message)
            case Cancel():
                self._cancel(message.id)
            case Credit():
                if running := self._running.get(message.id):
                    running.credit += message.chunks
                    if running.credited is not None:
                        running.credited.set()
            case Ping():
                self.connection.send(Pong(message.number))
            case Welcome():
                self._on_welcome(message)
            case _:  # a later host may tell what this worker does not know
                pass

    def _start(self, message: Call) -> None:
        method = message.method
        meta = message.meta
        call = CurrentCall(
            message.id,
            method.removeprefix(TOOL_PREFIX),
            deadline=time.monotonic() + meta.timeout_ms / 1000 if meta.timeout_ms else None,
            caller=meta.caller,
            user_id=meta.user_id,
            request_id=meta.request_id,
            trace=meta.trace,
        )
        running = _Running(call, meta.credit)
        handler = self.handlers.get(method)
        if handler is not None:
            work = self._run_handler(handler, message.params, running)
        else:
            work = self._run_method(method, message.params, message.id)
        self._running[message.id] = running
        running.task = _start_now(work, self._loop)

    async def _run_method(self, name: str, params: Raw, call_id: int) -> None:
        # No current call here: what a plugin starts in on_load outlives the loading.
        method = self.methods.get(name)
        if method is None:
            self._fail(call_id, ErrorCode.UNKNOWN_METHOD, f"no method {name!r}")
            self._running.pop(call_id, None)
            return
        try:
            self._answer(call_id, await method(params))
        except BaseException as exc:  # noqa: BLE001 - sys.exit() at import is the plugin's error
            self._fail_with(call_id, exc, ErrorCode.LOAD_FAILED)
        finally:
            self._running.pop(call_id, None)

    async def _run_handler(self, handler: Handler, params: Raw, running: _Running) -> None:
        call = running.call
        running_call.set(call)
        try:
            arguments = handler.arguments(params)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
            self._running.pop(call.id, None)
            self._fail(call.id, ErrorCode.INVALID_PARAMS, str(exc))
            return
        try:
            if handler.streams:
                result = await self._stream(handler, arguments, running)
            elif handler.is_async:
                result = await handler.run(arguments)
            else:
                result = await self._threads.run_blocking(handler.run, arguments)
            self._answer(call.id, result)
        except MemoryError:
            # The limit is reached; the host knows this exit status and says so.
            os._exit(EXIT_OUT_OF_MEMORY)
        except asyncio.CancelledError as exc:
            if call.cancelled:
                self._fail(call.id, ErrorCode.CANCELLED, "cancelled")
            else:
                self._fail_with(call.id, exc, ErrorCode.TOOL_ERROR)
        except CallCancelled:
            self._fail(call.id, ErrorCode.CANCELLED, "cancelled")
        except BaseException as exc:  # noqa: BLE001 - one call fails; the worker goes on
            self._fail_with(call.id, exc, ErrorCode.TOOL_ERROR)
        finally:
            self._running.pop(call.id, None)

    async def _stream(
        self, handler: Handler, arguments: dict[str, Any], running: _Running
    ) -> object:
        """Send the items as chunks as far as credit goes; without any credit, answer a list."""
        items = handler.run(arguments)
        chunks = items if handler.is_async else self._threads.each(items)
        try:
            if running.credit == 0:
                return [item async for item in chunks]
            async for item in chunks:
                while running.credit == 0:
                    running.credited = asyncio.Event()
                    await running.credited.wait()
                running.credit -= 1
                chunk = _checked(item)
                if len(chunk) > MAX_CHUNK:
                    raise ToolError(
                        f"a stream's item of {len(chunk)} bytes is over {MAX_CHUNK}: cut it up",
                        code=ErrorCode.RESULT_TOO_LARGE,
                    )
                self.connection.send(Chunk(running.call.id, Raw(chunk)))
            return None
        finally:
            await chunks.aclose()

    def _cancel(self, call_id: int) -> None:
        running = self._running.get(call_id)
        if running is not None:
            running.call.cancelled = True
            if running.task is not None:
                running.task.cancel()

    def _answer(self, call_id: int, value: object) -> None:
        try:
            raw = _NIL if value is None else Raw(_checked(value))
            self.connection.send(Result(call_id, raw))
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as exc:
            reason = f"the result cannot be sent: {exc}"
            self._fail(call_id, ErrorCode.RESULT_INVALID, reason)
        except OverflowError as exc:
            # msgspec's for an integer beyond 64 bits, ours for a frame that is too long.
            too_large = "frame" in str(exc)
            code = ErrorCode.RESULT_TOO_LARGE if too_large else ErrorCode.RESULT_INVALID
            self._fail(call_id, code, f"the result cannot be sent: {exc}")

    def _fail(self, call_id: int, code: str, message: str, failure: Failure | None = None) -> None:
        data = _NIL if failure is None else Raw(encode(failure))
        self.connection.send(Error(call_id, code, _sendable(message[:_MAX_MESSAGE]), data))

    def _fail_with(self, call_id: int, exc: BaseException, code: str) -> None:
        failure = Failure(
            type=_sendable(type(exc).__name__),
            traceback=_sendable(plugin_traceback(exc)),
            places=places(exc),
        )
        if isinstance(exc, ToolError):
            own = _sendable(str(exc.code))[:100]
            self._fail(call_id, own or code, words(exc), failure)
        elif isinstance(exc, HostError):
            # What the host refused the plugin, the plugin's caller learns by the same code.
            self._fail(call_id, exc.code, str(exc), failure)
        else:
            self._fail(call_id, code, one_line(exc), failure)


def _sendable(text: str) -> str:
    """The text without half characters, which UTF-8 does not hold."""
    return text.encode(errors="backslashreplace").decode()


def _checked(value: object) -> bytes:
    """The bytes of a result, which the host would take for an attack if they broke its rules."""
    data = encode(value)
    try:
        check_values(data)
    except MalformedMessage as exc:
        many = "values in one message" in exc.reason
        code = ErrorCode.RESULT_TOO_LARGE if many else ErrorCode.RESULT_INVALID
        raise ToolError(f"the result cannot be sent: {exc.reason}", code=code) from exc
    return data


if sys.version_info >= (3, 12):

    def _start_now(work: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        """A task whose first step has run when it is returned."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:

    def _start_now(work: Any, loop: Any) -> asyncio.Task[None]:
        """A task whose first step has run when it is returned: `eager_start` for 3.11.

        The step stands last in the loop's queue, and runs here as the loop would run it;
        waiting for the next turn would add a select() to each call.
        """
        task = asyncio.Task(work, loop=loop)
        loop._ready.pop()._run()  # noqa: SLF001 - 3.11 gets no releases that could change it
        return task
