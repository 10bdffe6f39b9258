"""What a running host does for the clients of its control socket: one handler for each method."""

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import anyio.to_thread
import msgspec
from msgspec import Raw, structs

from plughost.errors import HostMisuse, InvalidParams, PlughostError
from plughost.exchange.calls import CallContext
from plughost.host import Host
from plughost.lifecycle.canary import Canary
from plughost.lifecycle.commands import DEADLINE
from plughost.rpc.calls import ProgressCallback
from plughost_protocol import Call, ErrorCode, ProtocolError, decode_value

from .control import (
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
    Configure,
    GetSchema,
    HealthInfo,
    ListPlugins,
    ListTools,
    RunCommand,
)
from .event_feed import last_events, live_events, traces_of
from .event_records import HOST_EVENTS, HOST_TRACES, ListEvents, ListTraces
from .status import command_result, plugin_status, plugin_statuses, tools_of

__all__ = ["Client", "ControlMethods", "ReadGrants"]

ReadGrants: TypeAlias = Callable[[], Mapping[str, Sequence[str]]]


class Client(Protocol):
    """Who asks."""

    def progress(self, call: Call) -> ProgressCallback:
        """What tells the client how far its call is."""

    def follows(self, call: Call) -> None:
        """This call only looks on: it ends when the host does."""

    async def send_items(self, call: Call, items: AsyncIterable[object]) -> None:
        """Send them all, as fast as the client takes them."""


class ControlMethods:
    """Answers what clients ask of one host."""

    def __init__(self, host: Host, grants: ReadGrants | None = None) -> None:
        """`grants` reads what is granted by now, in a thread, before plugins are loaded."""
        self._host = host
        self._grants = grants

    async def answer(self, call: Call, client: Client) -> object:
        """What the method gives. Raises `PlughostError`."""
        method = _METHODS.get(call.method)
        if method is None:
            raise _UnknownMethod(f"this host offers no {call.method!r}: its version is another")
        try:
            params = method.decode(call.params)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
            raise InvalidParams(call.method, [str(exc)]) from exc
        return await method.handler(self, call, params, client)

    async def list_plugins(self, _call: Call, _params: ListPlugins, _client: Client) -> object:
        return plugin_statuses(self._host)

    async def run_command(self, _call: Call, params: RunCommand, _client: Client) -> object:
        if self._grants is not None and params.command in ("load", "reload", "enable"):
            self._host.grants = await anyio.to_thread.run_sync(self._grants)
        outcomes = await self._host.command(
            params.command,
            params.plugins,
            cascade=params.cascade,
            deadline=params.deadline or DEADLINE,
            canary=None if params.canary is None else Canary(**structs.asdict(params.canary)),
        )
        return list(map(command_result, outcomes))

    async def activate(self, _call: Call, params: ActivatePlugins, _client: Client) -> object:
        return await self._host.activate(params.command, deadline=params.deadline or DEADLINE)

    async def act_on_canary(self, _call: Call, params: ActOnCanary, _client: Client) -> object:
        deadline = params.deadline or DEADLINE
        if params.act == "promote":
            await self._host.promote(params.plugin, deadline=deadline)
        elif params.act == "roll_back":
            await self._host.roll_back(params.plugin, deadline=deadline)
        return plugin_status(self._host, self._host.plugin(params.plugin))

    async def check_health(self, _call: Call, params: CheckHealth, _client: Client) -> object:
        found = await self._host.health(*filter(None, [params.plugin]))
        infos = [msgspec.convert(h, HealthInfo, from_attributes=True) for h in found.values()]
        return sorted(infos, key=lambda health: health.plugin)

    async def list_tools(self, _call: Call, params: ListTools, _client: Client) -> object:
        return tools_of(self._host, params.plugin)

    async def list_events(self, call: Call, params: ListEvents, client: Client) -> object:
        if not call.meta.credit:
            return last_events(self._host, params)
        client.follows(call)
        async with aclosing(live_events(self._host, params)) as events:
            await client.send_items(call, events)
        return None

    async def list_traces(self, _call: Call, params: ListTraces, _client: Client) -> object:
        return traces_of(self._host, params)

    async def call_tool(self, call: Call, params: CallTool, client: Client) -> object:
        try:
            arguments = decode_value(params.params)
        except ProtocolError as exc:
            raise InvalidParams(params.tool, [str(exc)]) from exc
        if not isinstance(arguments, dict):
            raise InvalidParams(params.tool, ["$ must be an object"])
        context = CallContext(
            timeout=params.timeout, caller="plughost call", on_progress=client.progress(call)
        )
        if not call.meta.credit:
            return await self._host.call(params.tool, arguments, context=context)
        tool = self._host.tools.get(params.tool)
        if tool is not None and not tool.streams:
            raise HostMisuse(f"{params.tool} does not stream: call it without credit")
        async with self._host.stream(params.tool, arguments, context=context) as items:
            await client.send_items(call, items)
        return None

    async def config_schema(self, _call: Call, params: GetSchema, _client: Client) -> object:
        return self._host.plugin(params.plugin).config_schema.schema

    async def configure(self, call: Call, params: Configure, _client: Client) -> object:
        try:
            values = decode_value(params.values)
        except ProtocolError as exc:
            raise InvalidParams(call.method, [str(exc)]) from exc
        if not isinstance(values, dict) or not all(isinstance(v, dict) for v in values.values()):
            raise InvalidParams(call.method, ["$.values must be an object of objects"])
        return await self._host.configure(values, replace=params.replace)


class _UnknownMethod(PlughostError):
    """Raised when a client asks for what this host does not offer: it may be a newer one."""

    code = ErrorCode.UNKNOWN_METHOD


@dataclass(frozen=True, slots=True)
class _Method:
    decode: Callable[[Raw], Any]
    handler: Callable[[ControlMethods, Call, Any, Client], Awaitable[object]]


_METHODS: Final[dict[str, _Method]] = {
    name: _Method(msgspec.msgpack.Decoder(params).decode, handler)
    for name, params, handler in (
        (HOST_COMMAND, RunCommand, ControlMethods.run_command),
        (HOST_ACTIVATE, ActivatePlugins, ControlMethods.activate),
        (HOST_CANARY, ActOnCanary, ControlMethods.act_on_canary),
        (HOST_HEALTH, CheckHealth, ControlMethods.check_health),
        (HOST_LIST, ListPlugins, ControlMethods.list_plugins),
        (HOST_TOOLS, ListTools, ControlMethods.list_tools),
        (HOST_EVENTS, ListEvents, ControlMethods.list_events),
        (HOST_TRACES, ListTraces, ControlMethods.list_traces),
        (HOST_SCHEMA, GetSchema, ControlMethods.config_schema),
        (HOST_CONFIGURE, Configure, ControlMethods.configure),
        (HOST_CALL, CallTool, ControlMethods.call_tool),
    )
}
