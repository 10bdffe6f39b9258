"""From a plugin's request to the host service that answers it, past the one check."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import anyio
import msgspec

from plughost.errors import InvalidParams, PlughostError, RateLimited
from plughost.policy.policy import Policy
from plughost.policy.rates import RateLimiter
from plughost.reactor import Reactor
from plughost.rpc.calls import OpenCall
from plughost.rpc.worker import Worker
from plughost_protocol import Call, CallMeta, ErrorCode, ProtocolError, check_values

__all__ = ["Request", "ServiceMethod", "ServiceRouter"]

_log: Final = logging.getLogger("plughost.services")

_REFUSAL: Final = 100  # frames that a request over the rate counts for


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and on behalf of which call."""

    plugin_id: str
    policy: Policy
    worker: Worker
    meta: CallMeta
    parent: OpenCall | None
    """The host's call to this plugin that the request serves; None for the plugin's own doing."""

    @property
    def user_id(self) -> str:
        """The user for whom that call runs; empty where there is none."""
        return "" if self.parent is None else self.parent.meta.user_id


@dataclass(frozen=True, slots=True)
class ServiceMethod:
    """One row of a service's table."""

    name: str
    """`SERVICE.METHOD`."""
    permission: str | None
    """Its name in the table of permissions; None where nothing is needed."""
    params: Any
    """The type that the parameters are decoded to."""
    handler: Callable[[Request, Any], Awaitable[object]]
    scope: Callable[[Any], str] = lambda _: ""
    """What of the parameters the permission's scope is held against."""
    counted: bool = True
    """Whether it uses up the plugin's rate: not where it goes on with what was counted."""


class _NoMethod(PlughostError):
    code = ErrorCode.UNKNOWN_METHOD


class _Cancelled(PlughostError):
    code = ErrorCode.CANCELLED


class ServiceRouter:
    """Answers the requests of all plugins, each in a task of its own."""

    def __init__(self, reactor: Reactor, methods: Iterable[ServiceMethod]) -> None:
        self._reactor = reactor
        self._methods = {
            method.name: (method, msgspec.msgpack.Decoder(method.params).decode)
            for method in methods
        }
        # None until the task has begun: a scope cannot be made in a callback of the loop.
        self._scopes: dict[tuple[Worker, int], anyio.CancelScope | None] = {}

    def start(self, worker: Worker, policy: Policy, rates: RateLimiter, call: Call) -> None:
        """Begin to answer a request, or refuse it at once where there are too many."""
        known = self._methods.get(call.method)
        if known is None or known[0].counted:
            try:
                rates.take(call.method.partition(".")[0])
            except RateLimited as exc:
                # Who asks on all the same is read slowly: its refusals must not fill our time.
                worker.channel.charge(_REFUSAL)
                worker.channel.requests.refuse(call.id, exc)
                return
        parent = worker.channel.requests.parent_of(call.id)
        request = Request(worker.plugin_id, policy, worker, call.meta, parent)
        self._scopes[worker, call.id] = None
        self._reactor.spawn(self._answer, request, call)

    def cancel(self, worker: Worker, call_id: int) -> None:
        """The plugin no longer wants the answer."""
        if scope := self._scopes.get((worker, call_id)):
            scope.cancel()
        else:  # its task finds it gone
            self._scopes.pop((worker, call_id), None)

    async def _answer(self, request: Request, call: Call) -> None:
        channel = request.worker.channel
        key = request.worker, call.id
        error: PlughostError = _Cancelled("cancelled")
        try:
            with anyio.CancelScope() as scope:
                if key in self._scopes:
                    self._scopes[key] = scope
                    channel.requests.answer(call.id, await self._run(request, call))
                    return
        except PlughostError as exc:
            error = exc
        except Exception:  # noqa: BLE001 - our bug, not the plugin's: the others go on
            _log.exception("%s for plugin %s failed", call.method, request.plugin_id)
            error = PlughostError(f"the host failed at {call.method}; its log says why")
        finally:
            self._scopes.pop(key, None)
        channel.requests.refuse(call.id, error)

    async def _run(self, request: Request, call: Call) -> object:
        known = self._methods.get(call.method)
        if known is None:
            raise _NoMethod(f"this host offers no {call.method!r}")
        method, decode = known
        try:
            check_values(call.params)
            params = decode(call.params)
        except (ProtocolError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
            raise InvalidParams(call.method, [str(exc)]) from exc
        if method.permission is not None:
            request.policy.check(method.permission, method.scope(params))
        return await method.handler(request, params)
