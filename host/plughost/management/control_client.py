"""The command's end of the control socket."""

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw

from plughost.errors import CallTimeout, PlughostError, ProtocolViolation
from plughost.reactor import Reactor, current_reactor
from plughost.rpc.calls import CallTimes, OpenCall, ProgressCallback
from plughost.rpc.channel import Channel
from plughost.rpc.received import failure_in
from plughost.text import clean
from plughost_protocol import (
    MAX_FRAME,
    Call,
    CallMeta,
    Error,
    ErrorCode,
    Message,
    encode,
)

from .background import background_tasks
from .control import (
    CONTROL_LIMITS,
    HOST_ACTIVATE,
    HOST_CALL,
    HOST_CANARY,
    HOST_COMMAND,
    HOST_CONFIGURE,
    HOST_HEALTH,
    HOST_LIST,
    HOST_SCHEMA,
    HOST_TOOLS,
    ActivatePlugins,
    ActOnCanary,
    CallTool,
    CheckHealth,
    CommandResult,
    Configure,
    GetSchema,
    HealthInfo,
    ListPlugins,
    ListTools,
    PluginStatus,
    RunCommand,
    ToolInfo,
    peer_of,
)
from .event_records import (
    HOST_EVENTS,
    HOST_TRACES,
    EventInfo,
    ListEvents,
    ListTraces,
    TraceInfo,
)
from .exit_codes import HOST_GONE, UNREACHABLE
from .problems import CommandFailed, Problem

__all__ = ["ControlClient", "HostError", "HostGone"]

_CONNECT_TIMEOUT: Final = 2.0  # seconds; the kernel accepts for a host that lives
_ASK_TIMEOUT: Final = 15.0  # seconds; a host that still starts answers when it is up
_CONFIGURE_TIMEOUT: Final = 120.0  # seconds
_CALL_TIMEOUT: Final = 86_400.0  # seconds; the host has its own limit, and keeps it
_MARGIN: Final = 5.0  # seconds that the host has to say itself that a call timed out


class HostError(PlughostError):
    """Raised when the host answers with an error; `code` is that of the error there."""

    def __init__(self, code: str, message: str, type: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.type = type
        self.traceback = traceback


class HostGone(PlughostError):
    """Raised when the host ended, or closed the connection, with a request open."""

    code = HOST_GONE

    def __init__(self, detail: str = "it closed the connection") -> None:
        super().__init__(f"the host is gone: {detail}")


class ControlClient:
    """A running host, over its control socket."""

    def __init__(self, connection: socket.socket, reactor: Reactor) -> None:
        fd = connection.fileno()
        self._reactor = reactor
        self.channel = Channel(reactor, fd, fd, CONTROL_LIMITS, self)

    @classmethod
    @asynccontextmanager
    async def connect(cls, path: Path) -> AsyncIterator["ControlClient"]:
        """The host that serves `path`. Raises `CommandFailed` where there is none."""
        with _connected(path) as connection:
            async with background_tasks() as tasks:
                client = cls(connection, current_reactor(tasks))
                try:
                    yield client
                finally:
                    client.channel.close(lambda _: HostGone())

    async def plugins(self) -> list[PluginStatus]:
        """All plugins of the host."""
        return msgspec.convert(await self._ask(HOST_LIST, ListPlugins()), list[PluginStatus])

    async def tools(self, plugin_id: str = "") -> list[ToolInfo]:
        """The tools of one plugin, or of all."""
        answer = await self._ask(HOST_TOOLS, ListTools(plugin_id))
        return msgspec.convert(answer, list[ToolInfo])

    async def command(self, params: RunCommand) -> list[CommandResult]:
        """What became of each plugin. The host keeps the deadlines."""
        answer = await self.channel.request(
            HOST_COMMAND, encode(params), _times(None), CallMeta(), label="the host"
        )
        return msgspec.convert(answer, list[CommandResult])

    async def activate(self, command: str, deadline: float | None) -> list[str]:
        """Start the plugins that are there for a command; their ids."""
        answer = await self._ask(HOST_ACTIVATE, ActivatePlugins(command, deadline))
        return msgspec.convert(answer, list[str])

    async def canary(self, params: ActOnCanary) -> PluginStatus:
        """The plugin, once that is done. The host keeps the deadline."""
        answer = await self.channel.request(
            HOST_CANARY, encode(params), _times(None), CallMeta(), label="the host"
        )
        return msgspec.convert(answer, PluginStatus)

    async def health(self, plugin_id: str = "") -> list[HealthInfo]:
        """How well one plugin does, or all."""
        answer = await self._ask(HOST_HEALTH, CheckHealth(plugin_id))
        return msgspec.convert(answer, list[HealthInfo])

    async def config_schema(self, plugin_id: str) -> dict[str, Any]:
        """What the plugin's configuration may be, as a JSON Schema."""
        return msgspec.convert(await self._ask(HOST_SCHEMA, GetSchema(plugin_id)), dict[str, Any])

    async def configure(
        self, values: Mapping[str, Mapping[str, Any]], *, replace: bool
    ) -> dict[str, str]:
        """What became of each plugin's new values."""
        params = Configure(Raw(encode(values)), replace)
        # It may take as long as a worker that drains and one that starts.
        answer = await self._ask(HOST_CONFIGURE, params, _CONFIGURE_TIMEOUT)
        return msgspec.convert(answer, dict[str, str])

    async def events(self, params: ListEvents) -> list[EventInfo]:
        """The last events."""
        return msgspec.convert(await self._ask(HOST_EVENTS, params), list[EventInfo])

    async def live_events(self, params: ListEvents) -> AsyncGenerator[EventInfo, None]:
        """The last events and those that come, until the host ends. Raises as `call`."""
        items = self.channel.stream(
            HOST_EVENTS, encode(params), _times(None), CallMeta(), label="the host"
        )
        try:
            async for item in items:
                yield msgspec.convert(item, EventInfo)
        finally:
            await items.aclose()

    async def traces(self, params: ListTraces) -> list[TraceInfo]:
        """The way of the last events."""
        return msgspec.convert(await self._ask(HOST_TRACES, params), list[TraceInfo])

    async def call(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Any:
        """A tool's result. Raises `HostError`, `HostGone`; cancelled, so is the tool."""
        return await self.channel.request(
            HOST_CALL,
            _request(tool, params, timeout),
            _times(timeout),
            CallMeta(),
            label=tool,
            on_progress=on_progress,
        )

    def stream(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> AsyncGenerator[Any, None]:
        """A streaming tool's items. Raises as `call`."""
        return self.channel.stream(
            HOST_CALL,
            _request(tool, params, timeout),
            _times(timeout),
            CallMeta(),
            label=tool,
            on_progress=on_progress,
        )

    async def _ask(self, method: str, params: object, timeout: float = _ASK_TIMEOUT) -> Any:
        times = CallTimes(timeout=timeout, total=timeout)
        return await self.channel.request(
            method, encode(params), times, CallMeta(), label="the host"
        )

    # ChannelOwner

    def on_call(self, call: Call) -> None:
        self.on_violation(f"the host asks its client for {call.method!r}")

    def on_cancel(self, call_id: int) -> None:
        """It has nothing to cancel here."""

    def on_message(self, message: Message) -> None:
        self.on_violation(f"a host does not send {type(message).__name__}")

    def on_deadline(self, call: OpenCall) -> None:
        call.fail(CallTimeout(call.label, call.times.total))

    def on_hung(self, call: OpenCall) -> None:
        """The caller has its `CallTimeout`, and closes the connection."""

    def on_violation(self, detail: str) -> None:
        self.channel.close(lambda _: ProtocolViolation(detail))

    def on_closed(self) -> None:
        self.channel.close(lambda _: HostGone())

    def error_of(self, call: OpenCall, message: Error) -> PlughostError:  # noqa: ARG002
        failure = failure_in(message)
        return HostError(
            clean(message.code), clean(message.message), clean(failure.type), failure.traceback
        )


def _request(tool: str, params: Mapping[str, Any], timeout: float | None) -> bytes:
    payload = encode(CallTool(tool, Raw(encode(params)), timeout))
    if len(payload) > MAX_FRAME:
        raise CommandFailed(
            Problem(
                f"the arguments are too large: {len(payload)} bytes",
                f"a call carries at most {MAX_FRAME} bytes",
                "give the tool a part of it at a time",
                code=ErrorCode.INVALID_PARAMS,
            )
        )
    return payload


def _times(timeout: float | None) -> CallTimes:
    seconds = _CALL_TIMEOUT if timeout is None else timeout + _MARGIN
    return CallTimes(timeout=seconds, total=seconds)


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_TIMEOUT)
        connection.connect(str(path))
        _check_peer(connection, path)
        connection.setblocking(False)
    except BaseException as exc:
        connection.close()
        if not isinstance(exc, OSError):
            raise
        if isinstance(exc, PermissionError):
            raise _unreachable(path, "it is another user's", ErrorCode.PERMISSION_DENIED) from exc
        if isinstance(exc, FileNotFoundError | ConnectionRefusedError):
            raise _unreachable(path, "no host serves this socket") from exc
        raise _unreachable(path, exc.strerror or str(exc)) from exc
    return connection


def _check_peer(connection: socket.socket, path: Path) -> None:
    """What we send is for our own host's eyes; root may look at anybody's host."""
    peer = peer_of(connection)
    if not peer.is_trusted and os.geteuid() != 0:
        why = f"user {peer.uid} serves it, not you"
        raise _unreachable(path, why, ErrorCode.PERMISSION_DENIED)


def _unreachable(path: Path, why: str, code: str = UNREACHABLE) -> CommandFailed:
    return CommandFailed(
        Problem(
            f"no host can be reached at {path}",
            why,
            "plughost run DIR, in another terminal; or --socket PATH",
            code=code,
        )
    )
