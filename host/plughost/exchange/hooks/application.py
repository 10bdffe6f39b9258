"""`Host.hooks`: hooks of the application's own, and what it learns of all of them."""

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

from plughost.errors import HostMisuse, InvalidParams
from plughost.exchange.calls import CallContext
from plughost.exchange.chain import current_chain
from plughost.exchange.events.bus import EventBus
from plughost.exchange.events.event import APPLICATION as SOURCE
from plughost.exchange.events.event import Origin, encode_data
from plughost_protocol.hooks import HookPosition, OnFailure

from .event_hooks import HookResult
from .kinds import HOOKS
from .registry import APPLICATION, Hook, HookInfo, HookStats
from .service import HookService

__all__ = ["Hooks"]

_Results: TypeAlias = list[HookResult]


class Hooks:
    """The hooks of plugins, and those of the application, which run in the same order.

    Registering works before the host is entered, so that `startup` is not missed.
    """

    def __init__(self, service: HookService, bus: EventBus) -> None:
        self._service = service
        self._registry = service.registry
        self._bus = bus
        self._ids = itertools.count(1)

    def register(
        self,
        name: str,
        callback: Callable[..., Any],
        *,
        tryfirst: bool = False,
        trylast: bool = False,
        only: str = "",
        on_failure: OnFailure | None = None,
        timeout: float | None = None,
    ) -> None:
        """Have a function called at a hook; options and what it gets are as for plugins.

        An `async def` is awaited; a plain function runs on the event loop, and must not block.
        Raises `HostMisuse` for what cannot be.
        """
        position: HookPosition = "first" if tryfirst else "last" if trylast else "plain"
        if tryfirst and trylast:
            raise HostMisuse(f"hook {name}: tryfirst or trylast, not both")
        if timeout is not None and not timeout > 0:
            raise HostMisuse(f"hook {name}: timeout is {timeout}: it must be more than 0")
        try:
            self._service.add(
                next(self._ids),
                APPLICATION,
                name,
                position,
                only,
                on_failure,
                timeout,
                callback=callback,
            )
        except InvalidParams as exc:
            raise HostMisuse(f"hook {name}: {'; '.join(exc.problems)}") from exc

    def unregister(self, name: str, callback: Callable[..., Any]) -> None:
        """Take one back. Raises `KeyError` for what is not registered."""
        found = [hook for hook in self._hooks(name) if hook.callback == callback]
        if not found:
            raise KeyError(name)
        for hook in found:
            self._registry.remove(APPLICATION, hook.id)

    def order(self, name: str) -> list[str]:
        """Whose hooks run, in their order: ids of plugins, `(app)` for the application's."""
        return [hook.owner for hook in self._hooks(name)]

    def list(self, name: str = "") -> list[HookInfo]:
        """The hooks of this name, or all, each name's in their order."""
        return [hook.info for known in ([name] if name else HOOKS) for hook in self._hooks(known)]

    def stats(self) -> dict[str, dict[str, HookStats]]:
        """What has become of them, by plugin and hook."""
        return self._registry.stats

    @property
    def started(self) -> _Results:
        """What the `startup` hooks have answered that is not None, in their order."""
        return [*self._service.moments.started]

    async def collect(
        self,
        name: str,
        data: object = None,
        *,
        first: bool = False,
        user_id: str = "",
        request_id: str = "",
        trace: str = "",
    ) -> _Results:
        """Emit an event, and return what the `handle_event` hooks answer that is not None.

        With `first` none is asked after the first that answers. Raises what `Host.emit` raises;
        an event that a hook stops has no answers.
        """
        self._check_runs()
        context = CallContext(user_id=user_id, request_id=request_id, trace=trace)  # checks them
        origin = Origin.caused(
            SOURCE, current_chain(), context.user_id, context.request_id, context.trace
        )
        raw = encode_data(name, data, self._bus.config.max_size)
        return await self._service.collect(name, raw, origin, first=first)

    async def collect_metrics(self) -> dict[str, dict[str, Any]]:
        """What plugins report of themselves, by id; who fails or is late is left out."""
        self._check_runs()
        return await self._service.moments.collect_metrics()

    def _hooks(self, name: str) -> tuple[Hook, ...]:
        if name not in HOOKS:
            raise HostMisuse(f"there is no hook {name!r}; there are {', '.join(HOOKS)}")
        return self._registry.of(name)

    def _check_runs(self) -> None:
        if not self._bus.is_attached:
            raise HostMisuse("hooks are run while the host runs: enter it first")
