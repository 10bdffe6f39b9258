"""The host service `hooks`: register and take back one's own, and have others asked."""

from collections.abc import Callable, Mapping
from typing import Any

from plughost.catalog.event_names import EventPattern
from plughost.errors import InvalidParams
from plughost.exchange.events.bus import EventBus
from plughost.exchange.events.catalogue import RESERVED, is_reserved
from plughost.exchange.events.errors import EventRefused, InvalidEvent
from plughost.exchange.events.event import Origin
from plughost.exchange.events.names import plain_name
from plughost.reactor import Reactor
from plughost.service_config import HooksConfig
from plughost.services.plugins import PluginCaller
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost_protocol import MalformedMessage, decode_value
from plughost_protocol.hooks import (
    HOOKS_COLLECT,
    HOOKS_LIST,
    HOOKS_REGISTER,
    HOOKS_UNREGISTER,
    CollectAnswers,
    HookInfo,
    HookPosition,
    ListHooks,
    OnFailure,
    RegisterHook,
    UnregisterHook,
)

from .event_hooks import EventHookChain, HookResult
from .kinds import HOOKS, HookKind, Subject
from .middleware import Middleware
from .moments import Moments
from .registry import Hook, HookPlugin, HookRegistry
from .runner import HookLog, HookRunner

__all__ = ["HookService"]


class HookService(HostService):
    """The hooks of one host. There before the host runs, so that the application can have some."""

    def __init__(
        self, config: HooksConfig, plugins: Mapping[str, HookPlugin], bus: EventBus
    ) -> None:
        self.registry = HookRegistry(plugins, config.hooks)
        self._config = config
        self._plugins = plugins
        self._bus = bus
        self._loading: set[str] = set()
        self._watch: Callable[[Middleware | None], None] = lambda _: None
        self._reactor: Reactor
        runner = HookRunner(config, self.registry)
        self._runner = runner
        self._middleware = Middleware(runner)
        self._chain = EventHookChain(runner, bus.config.max_size)
        self.moments = Moments(runner, self._active)
        self.methods = (
            ServiceMethod(
                HOOKS_REGISTER,
                "hooks:register",
                RegisterHook,
                self._on_register,
                _known,
                registers=True,
            ),
            ServiceMethod(
                HOOKS_UNREGISTER, None, UnregisterHook, self._on_unregister, withdraws=True
            ),
            ServiceMethod(HOOKS_LIST, None, ListHooks, self._on_list),
            ServiceMethod(HOOKS_COLLECT, "events:emit", CollectAnswers, self._on_collect, _emitted),
        )

    def attach(
        self,
        reactor: Reactor,
        plugins: PluginCaller,
        log: HookLog,
        watch: Callable[[Middleware | None], None],
    ) -> None:
        """The host begins to run. `watch` is called with the middleware while there is some."""
        self._reactor = reactor
        self._caller = plugins
        self._runner.attach(reactor, plugins, log)
        self._watch = watch
        self.registry.changed = self._on_change
        self._on_change()

    def _active(self) -> list[str]:
        return sorted(name for name in self._plugins if self._caller.active(name))

    def _on_change(self) -> None:
        self._watch(self._middleware if self._middleware.is_wanted else None)
        # Once there it stays: an event that waits for a hook must not be overtaken by one that
        # comes when there is no hook any more.
        if any(map(self.registry.of, ("filter_event", "validate_event", "handle_event"))):
            self._bus.hooks = self._chain

    # The life of plugins

    def on_loading(self, plugin_id: str) -> None:
        self._loading.add(plugin_id)
        self.registry.on_loading(plugin_id)

    def on_active(self, plugin_id: str) -> None:
        self.registry.on_active(plugin_id)
        if plugin_id in self._loading:
            self._loading.discard(plugin_id)
            if self.moments.has_started:
                self._reactor.spawn(self.moments.welcome, plugin_id)

    def on_asleep(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self.registry.on_active(plugin_id)

    def on_abandoned(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self.registry.on_abandoned(plugin_id)

    def on_unloaded(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self.registry.on_unloaded(plugin_id)

    # What there is

    def add(
        self,
        hook_id: int,
        owner: str,
        name: str,
        position: HookPosition = "plain",
        only: str = "",
        on_failure: OnFailure | None = None,
        timeout: float | None = None,
        **more: Any,
    ) -> Hook:
        """Register a hook. Raises `InvalidParams` for what cannot be, `Overloaded`."""
        kind = _kind(name)
        _check(kind, only, on_failure)
        hook = Hook(
            hook_id,
            owner,
            kind,
            position,
            only,
            on_failure or kind.on_failure,
            timeout or self._config.timeout,
            self.registry.stats_of(owner, name),
            **more,
        )
        self.registry.add(hook)
        return hook

    async def collect(
        self, name: str, raw: bytes, origin: Origin, *, first: bool
    ) -> list[HookResult]:
        """Emit an event, and what hooks answer to it. Raises what emitting raises."""
        event = await self._bus.emit(name, raw, origin, tell_hooks=False)
        return [] if event is None else await self._chain.collect(event, first=first)

    # Requests

    def _on_register(self, request: Request, params: RegisterHook) -> None:
        kind = _kind(params.hook)
        if kind.subject is Subject.EVENT:
            _check(kind, params.only, params.on_failure)
            # Of all events it sees those that it may subscribe to: some, then.
            if params.only or not request.policy.scopes("events:subscribe"):
                pattern = EventPattern.parse(params.only or "*")
                request.policy.check("events:subscribe", str(pattern))
        self.add(
            params.id,
            request.plugin_id,
            params.hook,
            params.position,
            params.only,
            params.on_failure,
            params.timeout,
            policy=request.policy,
            loading=request.is_loading,
        )

    def _on_unregister(self, request: Request, params: UnregisterHook) -> None:
        self.registry.remove(request.plugin_id, params.id, loading=request.is_loading)

    def _on_list(self, request: Request, params: ListHooks) -> list[HookInfo]:  # noqa: ARG002
        return [
            HookInfo(
                hook.kind.name,
                hook.position,
                hook.only,
                hook.on_failure,
                hook.timeout,
                hook.stats.runs,
                hook.stats.failures,
            )
            for hook in self.registry.own(request.plugin_id, loading=request.is_loading)
        ]

    async def _on_collect(self, request: Request, params: CollectAnswers) -> list[Any]:
        raw = bytes(params.data)
        try:
            decode_value(raw)
        except MalformedMessage as exc:
            raise InvalidEvent(params.name, f"its data cannot be sent: {exc.reason}") from exc
        meta = None if request.parent is None else request.parent.meta
        origin = Origin.of_call(request.plugin_id, meta)
        answers = await self.collect(params.name, raw, origin, first=params.first)
        return [(answer.plugin, answer.value) for answer in answers]


def _kind(name: str) -> HookKind:
    kind = HOOKS.get(name)
    if kind is None:
        raise InvalidParams(
            "hooks.register", [f"$.hook: there is no {name[:60]!r}; there are {', '.join(HOOKS)}"]
        )
    return kind


def _known(params: RegisterHook) -> str:
    return _kind(params.hook).name


def _check(kind: HookKind, only: str, on_failure: OnFailure | None) -> None:
    problem = ""
    if on_failure == "closed" and not kind.may_close:
        problem = f"$.on_failure: {kind.name} cannot be closed: there is nothing that it can stop"
    elif only and kind.subject is Subject.NONE:
        problem = f"$.only: {kind.name} is for neither events nor tools"
    elif only and kind.subject is Subject.EVENT:
        try:
            EventPattern.parse(only)
        except ValueError as exc:
            problem = f"$.only: {exc}"
    if problem:
        raise InvalidParams("hooks.register", [problem])


def _emitted(params: CollectAnswers) -> str:
    plain = plain_name(params.name)
    if is_reserved(plain):
        raise EventRefused(
            params.name,
            f"only the host emits events whose names begin with {', '.join(sorted(RESERVED))}",
        )
    return plain
