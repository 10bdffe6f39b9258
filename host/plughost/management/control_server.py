"""The running host's end of the control socket. A client's mistake ends its connection only."""

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import msgspec
from msgspec import Raw

from plughost.errors import HostMisuse, InvalidParams, PlughostError
from plughost.exchange.calls import CallContext
from plughost.host import Host
from plughost.lifecycle.commands import DEADLINE
from plughost.reactor import Reactor, current_reactor
from plughost.rpc.calls import OpenCall
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
    ProtocolError,
    decode_value,
    encode,
)

from .background import background_tasks
from .control import (
    CONTROL_LIMITS,
    HOST_CALL,
    HOST_COMMAND,
    HOST_CONFIGURE,
    HOST_HEALTH,
    HOST_LIST,
    HOST_SCHEMA,
    HOST_TOOLS,
    CallTool,
    CheckHealth,
    Configure,
    GetSchema,
    HealthInfo,
    ListPlugins,
    ListTools,
    RunCommand,
    peer_of,
)
from .event_feed import last_events, live_events, traces_of
from .event_records import HOST_EVENTS, HOST_TRACES, ListEvents, ListTraces
from .status import command_result, plugin_statuses, tools_of

__all__ = ["ControlServer"]

_log: Final = logging.getLogger("plughost.control")

ReadGrants: TypeAlias = Callable[[], Mapping[str, Sequence[str]]]

_MAX_CONNECTIONS: Final = 64
_PROGRESS_INTERVAL: Final = 0.05  # seconds; a person sees no more, and a slow client keeps up
_FLUSH_TIMEOUT: Final = 2.0  # seconds that clients have to read their last answers


class ControlServer:
    """Answers clients for one host.

    >>> async with ControlServer.on(listener) as server:  # doctest: +SKIP
    ...     async with Host(["plugins"]) as host:
    ...         server.serve(host)
    """

    def __init__(
        self, listener: socket.socket, reactor: Reactor, grants: ReadGrants | None = None
    ) -> None:
        self._grants = grants
        self._listener = listener
        self._reactor = reactor
        self._connections: set[_Connection] = set()
        self._accepting = False
        self._host: Host | None = None

    @classmethod
    @asynccontextmanager
    async def on(
        cls, listener: socket.socket, grants: ReadGrants | None = None
    ) -> AsyncIterator["ControlServer"]:
        """A server whose tasks end with the block.

        `grants` reads what is granted by now, in a thread, before plugins are loaded.
        """
        async with background_tasks() as tasks:
            server = cls(listener, current_reactor(tasks), grants)
            try:
                yield server
            finally:
                server.stop_accepting()
                for connection in list(server._connections):
                    connection.close()

    def serve(self, host: Host) -> None:
        """Accept clients from now on; who connected before has waited in the backlog."""
        self._host = host
        self._accepting = True
        self._reactor.add_reader(self._listener.fileno(), self._on_connect)

    def stop_accepting(self) -> None:
        """Accept no further clients; those that are there are answered still."""
        if self._accepting:
            self._accepting = False
            self._reactor.remove_reader(self._listener.fileno())

    @property
    def open_calls(self) -> int:
        """Requests that have no answer yet, without those that only look on."""
        return sum(connection.open_calls for connection in self._connections)

    async def flush(self) -> None:
        """Return when every answer has left, or when clients had time enough to read theirs."""
        with anyio.move_on_after(_FLUSH_TIMEOUT):
            # A socket that takes all that is left has no event.
            while any(c.open_requests or c.channel.backlog for c in self._connections):  # noqa: ASYNC110
                await anyio.sleep(0.01)

    def _on_connect(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client has gone again, or we are out of descriptors
            return
        peer = peer_of(connection)
        if not peer.is_trusted or len(self._connections) >= _MAX_CONNECTIONS:
            _log.warning("process %s of user %s was turned away", peer.pid, peer.uid)
            connection.close()
            return
        assert self._host is not None  # noqa: S101 - set before anything is accepted
        connection.setblocking(False)
        self._connections.add(
            _Connection(
                connection, self._reactor, self._host, self._grants, self._connections.discard
            )
        )


@dataclass(frozen=True, slots=True)
class _Method:
    decode: Callable[[Raw], Any]
    handler: Callable[["_Connection", Call, Any], Awaitable[object]]


class _Cancelled(PlughostError):
    """Raised towards the client that took its request back."""

    code = ErrorCode.CANCELLED


class _UnknownMethod(PlughostError):
    """Raised when a client asks for what this host does not offer: it may be a newer one."""

    code = ErrorCode.UNKNOWN_METHOD


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


class _Connection:
    """One client, as the owner of its channel."""

    def __init__(
        self,
        connection: socket.socket,
        reactor: Reactor,
        host: Host,
        grants: ReadGrants | None,
        on_end: Callable[["_Connection"], None],
    ) -> None:
        self._socket = connection
        self._reactor = reactor
        self._host = host
        self._grants = grants
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

    async def _answer(self, call: Call) -> None:
        try:
            answer = Raw(encode(await self._run(call)))
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

    async def _run(self, call: Call) -> object:
        method = _METHODS.get(call.method)
        if method is None:
            raise _UnknownMethod(f"this host offers no {call.method!r}: its version is another")
        try:
            params = method.decode(call.params)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
            raise InvalidParams(call.method, [str(exc)]) from exc
        return await method.handler(self, call, params)

    async def list_plugins(self, _call: Call, _params: ListPlugins) -> object:
        return plugin_statuses(self._host)

    async def run_command(self, _call: Call, params: RunCommand) -> object:
        if self._grants is not None and params.command in ("load", "reload", "enable"):
            self._host.grants = await anyio.to_thread.run_sync(self._grants)
        outcomes = await self._host.command(
            params.command,
            params.plugins,
            cascade=params.cascade,
            deadline=params.deadline or DEADLINE,
        )
        return list(map(command_result, outcomes))

    async def check_health(self, _call: Call, params: CheckHealth) -> object:
        found = await self._host.health(*filter(None, [params.plugin]))
        infos = [msgspec.convert(h, HealthInfo, from_attributes=True) for h in found.values()]
        return sorted(infos, key=lambda health: health.plugin)

    async def list_tools(self, _call: Call, params: ListTools) -> object:
        return tools_of(self._host, params.plugin)

    async def list_events(self, call: Call, params: ListEvents) -> object:
        if not call.meta.credit:
            return last_events(self._host, params)
        allowed = self._credits[call.id] = _Credits(call.meta.credit)
        self._following.add(call.id)
        async with aclosing(live_events(self._host, params)) as events:
            async for event in events:
                await allowed.take()
                self.channel.send(Chunk(call.id, Raw(encode(event))))
        return None

    async def list_traces(self, _call: Call, params: ListTraces) -> object:
        return traces_of(self._host, params)

    async def call_tool(self, call: Call, params: CallTool) -> object:
        try:
            arguments = decode_value(params.params)
        except ProtocolError as exc:
            raise InvalidParams(params.tool, [str(exc)]) from exc
        if not isinstance(arguments, dict):
            raise InvalidParams(params.tool, ["$ must be an object"])
        context = CallContext(
            timeout=params.timeout, caller="plughost call", on_progress=self._progress(call.id)
        )
        if not call.meta.credit:
            return await self._host.call(params.tool, arguments, context=context)
        tool = self._host.tools.get(params.tool)
        if tool is not None and not tool.streams:
            raise HostMisuse(f"{params.tool} does not stream: call it without credit")
        allowed = self._credits[call.id] = _Credits(call.meta.credit)
        async with self._host.stream(params.tool, arguments, context=context) as items:
            async for item in items:
                await allowed.take()
                self.channel.send(Chunk(call.id, Raw(encode(item))))
        return None

    async def config_schema(self, _call: Call, params: GetSchema) -> object:
        return self._host.plugin(params.plugin).config_schema.schema

    async def configure(self, call: Call, params: Configure) -> object:
        try:
            values = decode_value(params.values)
        except ProtocolError as exc:
            raise InvalidParams(call.method, [str(exc)]) from exc
        if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
            raise InvalidParams(call.method, ["$.values must be an object of objects"])
        return await self._host.configure(values, replace=params.replace)

    def _progress(self, call_id: int) -> Callable[[float, float | None, str], None]:
        next_at = 0.0

        def send(done: float, total: float | None, message: str) -> None:
            nonlocal next_at
            now = self._reactor.now()
            if now >= next_at or done == total:
                next_at = now + _PROGRESS_INTERVAL
                if not self.channel.backlog:
                    self.channel.send(Progress(call_id, done, total, message))

        return send

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


class _TooLarge(PlughostError):
    """Raised when an answer does not fit in a frame."""

    code = ErrorCode.RESULT_TOO_LARGE

    def __init__(self, method: str) -> None:
        super().__init__(f"the answer to {method} is too large for a frame")


_METHODS: Final[dict[str, _Method]] = {
    HOST_COMMAND: _Method(msgspec.msgpack.Decoder(RunCommand).decode, _Connection.run_command),
    HOST_HEALTH: _Method(msgspec.msgpack.Decoder(CheckHealth).decode, _Connection.check_health),
    HOST_LIST: _Method(msgspec.msgpack.Decoder(ListPlugins).decode, _Connection.list_plugins),
    HOST_TOOLS: _Method(msgspec.msgpack.Decoder(ListTools).decode, _Connection.list_tools),
    HOST_EVENTS: _Method(msgspec.msgpack.Decoder(ListEvents).decode, _Connection.list_events),
    HOST_TRACES: _Method(msgspec.msgpack.Decoder(ListTraces).decode, _Connection.list_traces),
    HOST_SCHEMA: _Method(msgspec.msgpack.Decoder(GetSchema).decode, _Connection.config_schema),
    HOST_CONFIGURE: _Method(msgspec.msgpack.Decoder(Configure).decode, _Connection.configure),
    HOST_CALL: _Method(msgspec.msgpack.Decoder(CallTool).decode, _Connection.call_tool),
}
