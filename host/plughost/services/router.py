"""From a plugin's request to the host service that answers it, past the one check."""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

import anyio.lowlevel
import msgspec
from msgspec import Raw

from plughost.errors import InvalidParams, PlughostError, RateLimited, Superseded
from plughost.policy.policy import Policy
from plughost.policy.rates import RateLimiter
from plughost.reactor import Reactor
from plughost.rpc.calls import OpenCall
from plughost.rpc.jobs import Jobs
from plughost.rpc.requests import REFUSAL, Requests
from plughost.rpc.standing import Registrant, Standing
from plughost.rpc.worker import Worker
from plughost_protocol import Call, CallMeta, ErrorCode, ProtocolError, check_values

from .registrations import Record, Registration

__all__ = ["Request", "ServiceMethod", "ServiceRouter"]

_log: Final = logging.getLogger("plughost.services")

_UNCOUNTED: Final = 20  # frames that a request counts for which no rate holds
# What takes longer is paid for by not being read, so that no plugin has more than a quarter of
# the loop's time for it: 200,000 values in maps take a second to be checked.
_FREE: Final = 0.001  # seconds
_PRICE: Final = 4


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and on behalf of which call."""

    plugin_id: str
    policy: Policy
    worker: Registrant
    meta: CallMeta
    parent: OpenCall | None
    """The host's call to this plugin that the request serves; None for the plugin's own doing."""

    @property
    def user_id(self) -> str:
        """The user for whom that call runs; empty where there is none."""
        return "" if self.parent is None else self.parent.meta.user_id

    @property
    def is_loading(self) -> bool:
        """Whether what it registers is the next generation, of a worker that is being loaded."""
        return self.worker.standing is Standing.LOADING


@dataclass(frozen=True, slots=True)
class ServiceMethod:
    """One row of a service's table."""

    name: str
    """`SERVICE.METHOD`."""
    permission: str | None
    """Its name in the table of permissions; None where nothing is needed."""
    params: Any
    """The type that the parameters are decoded to."""
    handler: Callable[[Request, Any], object]
    """Gives the answer, or an awaitable of it. What it gives at once costs no task."""
    scope: Callable[[Any], str] = lambda _: ""
    """What of the parameters the permission's scope is held against."""
    counted: bool = True
    """Whether it uses up the plugin's rate: not where it goes on with what was counted."""
    registers: bool = False
    """Whether it adds to what the plugin offers: not for a worker that was replaced, or is on
    trial."""
    withdraws: bool = False
    """Whether it takes back what the plugin offers: of a worker that was replaced, nothing is
    left."""
    by_name: bool = False
    """Whether what it adds is the plugin's, whichever worker asked: also for one on trial."""

    def check(self, policy: Policy, params: Any) -> None:
        """The one check of a request against permissions. Raises `PermissionDenied`."""
        if self.permission is not None:
            policy.check(self.permission, self.scope(params))


class _NoMethod(PlughostError):
    code = ErrorCode.UNKNOWN_METHOD


class _Cancelled(PlughostError):
    code = ErrorCode.CANCELLED


class ServiceRouter:
    """Answers the requests of all plugins: at once, or in a task where a handler has to wait."""

    def __init__(self, reactor: Reactor, methods: Iterable[ServiceMethod]) -> None:
        self._methods = {
            method.name: (method, msgspec.msgpack.Decoder(method.params).decode)
            for method in methods
        }
        self._jobs: Jobs[tuple[Worker, int]] = Jobs(reactor)
        self._records: dict[Worker, Record] = {}

    def start(self, worker: Worker, policy: Policy, rates: RateLimiter, call: Call) -> None:
        """Answer a request, refuse it, or begin to."""
        channel = worker.channel
        began = channel.now()
        self._start(worker, policy, rates, call)
        took = channel.now() - began
        if took > _FREE:
            channel.charge(int(took * _PRICE * worker.limits.frames_per_second))

    def _start(self, worker: Worker, policy: Policy, rates: RateLimiter, call: Call) -> None:
        requests = worker.channel.requests
        try:
            method, decode = self._find(worker, call.method, rates)
            request = Request(
                worker.plugin_id, policy, worker, call.meta, requests.parent_of(call.id)
            )
            params = _decoded(call.method, call.params, decode)
            standing = worker.standing
            if not standing.may_register and not (method.by_name and standing is Standing.TRIAL):
                if method.withdraws:
                    requests.answer(call.id, None)
                    return
                if method.registers:
                    on_trial = standing is Standing.TRIAL
                    raise Superseded(worker.plugin_id, call.method, on_trial=on_trial)  # noqa: TRY301 - as all others
            method.check(policy, params)
            outcome = method.handler(request, params)
            record = self._record_of(worker, method)
            if not isinstance(outcome, Awaitable):
                if record is not None:
                    record.note(call.method, call.params)
                requests.answer(call.id, outcome)
                return
        except Exception as exc:  # noqa: BLE001 - our bug, not the plugin's: the others go on
            if isinstance(exc, RateLimited):
                worker.channel.charge(REFUSAL)
            requests.refuse(call.id, _public(exc, call.method, worker.plugin_id))
            return
        self._jobs.start(
            (worker, call.id),
            lambda: _answer(requests, call, worker.plugin_id, outcome, record),
            lambda: _take_back(requests, call, outcome),
        )

    def cancel(self, worker: Worker, call_id: int) -> None:
        """The plugin no longer wants the answer."""
        self._jobs.cancel((worker, call_id))

    def forget(self, worker: Worker) -> None:
        """The worker is dead: what it has asked of others is for nobody now."""
        self._records.pop(worker, None)
        for key in self._jobs:
            if key[0] is worker:
                self._jobs.cancel(key)

    def record(self, worker: Worker) -> Record:
        """Write down what the worker registers from now on, until it is loaded."""
        record = self._records[worker] = Record()
        return record

    def _record_of(self, worker: Worker, method: ServiceMethod) -> Record | None:
        """Where it is written down what this request registers or takes back."""
        if worker.standing is Standing.LOADING and (method.registers or method.withdraws):
            return self._records.get(worker)
        return None

    async def register(
        self, stand_in: Registrant, policy: Policy, registrations: Iterable[Registration]
    ) -> None:
        """Register what a worker has registered before, past the same checks.

        Raises `PlughostError` for what is no longer granted.
        """
        for registration in registrations:
            method, decode = self._methods.get(registration.method, (None, None))
            if method is None or decode is None or not (method.registers or method.withdraws):
                raise _NoMethod(f"this host registers nothing by {registration.method!r}")
            params = _decoded(method.name, registration.params, decode)
            method.check(policy, params)
            request = Request(stand_in.plugin_id, policy, stand_in, CallMeta(), None)
            outcome = method.handler(request, params)
            if isinstance(outcome, Awaitable):
                await outcome
            await anyio.lowlevel.checkpoint()  # the other plugins' calls go on meanwhile

    def _find(
        self, worker: Worker, name: str, rates: RateLimiter
    ) -> tuple[ServiceMethod, Callable[[Raw], Any]]:
        known = self._methods.get(name)
        if known is None or known[0].counted:
            rates.take(name.partition(".")[0])
        else:
            worker.channel.charge(_UNCOUNTED)
        if known is None:
            raise _NoMethod(f"this host offers no {name!r}")
        return known


async def _answer(
    requests: Requests,
    call: Call,
    plugin_id: str,
    outcome: Awaitable[object],
    record: Record | None,
) -> None:
    try:
        answer = await outcome
        if record is not None:
            record.note(call.method, call.params)
        requests.answer(call.id, answer)
    except Exception as exc:  # noqa: BLE001 - our bug, not the plugin's: the others go on
        requests.refuse(call.id, _public(exc, call.method, plugin_id))


def _take_back(requests: Requests, call: Call, outcome: Awaitable[object]) -> None:
    if isinstance(outcome, Coroutine):  # it may not have begun
        outcome.close()
    requests.refuse(call.id, _Cancelled("cancelled"))


def _decoded(method: str, params: Raw, decode: Callable[[Raw], Any]) -> Any:
    try:
        check_values(params)
        return decode(params)
    except (ProtocolError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise InvalidParams(method, [str(exc)]) from exc


def _public(exc: Exception, method: str, plugin_id: str) -> PlughostError:
    """The error as the plugin may see it."""
    if isinstance(exc, PlughostError):
        return exc
    _log.error("%s for plugin %s failed", method, plugin_id, exc_info=exc)
    return PlughostError(f"the host failed at {method}; its log says why")
