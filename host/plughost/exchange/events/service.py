"""The host service `events`: what plugins ask of the bus, and what the host tells of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from msgspec import Raw

from plughost.errors import PlughostError
from plughost.services.router import Request, ServiceMethod
from plughost.services.scheduler.tasks import TaskOutcome
from plughost.services.service import HostService
from plughost_protocol import CallMeta, MalformedMessage, decode_value
from plughost_protocol.events import (
    EVENTS_EMIT,
    EVENTS_HISTORY,
    EVENTS_REPLY,
    EVENTS_REQUEST,
    EVENTS_SUBSCRIBE,
    EVENTS_UNSUBSCRIBE,
    EmitEvent,
    EventHistory,
    ReplyToEvent,
    RequestByEvent,
    Subscribe,
    Unsubscribe,
    WireEvent,
)

from .bus import EventBus
from .catalogue import RESERVED, is_reserved
from .errors import EventRefused, InvalidEvent
from .event import HOST, Origin, check_size
from .names import parse_pattern, plain_name
from .pacing import Pacing

__all__ = ["EventService", "PluginView"]

_MAX_ERROR: Final = 1000  # characters
_HISTORY_BYTES: Final = 1024 * 1024  # of one answer


class PluginView(Protocol):
    """A plugin, as its events tell of it."""

    @property
    def version(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def state(self) -> str: ...


class EventService(HostService):
    """Answers plugins, and emits the events of their lives."""

    def __init__(self, bus: EventBus, look: Callable[[str], PluginView]) -> None:
        self._bus = bus
        self._look = look
        self._loading: set[str] = set()
        self._loaded: set[str] = set()
        self._unloaded: set[str] = set()
        self._asleep: set[str] = set()
        self.methods = (
            ServiceMethod(
                EVENTS_SUBSCRIBE,
                "events:subscribe",
                Subscribe,
                self._subscribe,
                _pattern_of,
                registers=True,
            ),
            ServiceMethod(EVENTS_UNSUBSCRIBE, None, Unsubscribe, self._unsubscribe, withdraws=True),
            ServiceMethod(EVENTS_EMIT, "events:emit", EmitEvent, self._emit, _name_of),
            ServiceMethod(EVENTS_REQUEST, "events:emit", RequestByEvent, self._request, _name_of),
            ServiceMethod(EVENTS_REPLY, None, ReplyToEvent, self._reply),
            ServiceMethod(
                EVENTS_HISTORY, "events:subscribe", EventHistory, self._history, _pattern_of
            ),
        )

    def announce(
        self, name: str, data: object, *, user_id: str = "", meta: CallMeta | None = None
    ) -> None:
        """Emit an event of the host's own: for other services. `meta`: of the call it is due to."""
        origin = Origin.of_call(HOST, meta)
        self._bus.post(name, data, replace(origin, user_id=user_id or origin.user_id))

    def on_task_executed(self, outcome: TaskOutcome) -> None:
        """A scheduled task has run."""
        data = {
            "plugin": outcome.plugin_id,
            "task": outcome.task_id,
            "name": outcome.name,
            "started": outcome.started,
            "duration": round(outcome.seconds * 1000, 3),
            "success": not outcome.error,
        }
        self.announce("scheduler:task_executed", data | _error(outcome.error))

    async def aclose(self) -> None:
        await self._bus.close()

    # The life of plugins

    def on_loading(self, plugin_id: str) -> None:
        self._loading.add(plugin_id)
        self._bus.subscriber(plugin_id).on_loading()

    def on_active(self, plugin_id: str) -> None:
        subscriber = self._bus.subscriber(plugin_id)
        if plugin_id not in self._loading:
            subscriber.resume()
            self._tell("enabled", plugin_id)
            return
        self._loading.discard(plugin_id)
        subscriber.on_active()
        version = self._look(plugin_id).version
        if plugin_id in self._asleep:
            self._asleep.discard(plugin_id)
            self._tell("awake", plugin_id)
        elif plugin_id in self._loaded:
            self._tell("restarted", plugin_id, version=version)
        else:
            self._tell_loaded(plugin_id)

    def on_asleep(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        if plugin_id not in self._loaded:
            self._tell_loaded(plugin_id)
        self._asleep.add(plugin_id)
        self._tell("asleep", plugin_id)
        self._bus.subscriber(plugin_id).on_active()

    def on_still_asleep(self, plugin_id: str) -> None:
        self._bus.subscriber(plugin_id).resume()

    def _tell_loaded(self, plugin_id: str) -> None:
        version = self._look(plugin_id).version
        self._loaded.add(plugin_id)
        self._tell("loaded", plugin_id, version=version)
        if plugin_id in self._unloaded:
            self._tell("reloaded", plugin_id, version=version)

    def on_swapped(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self._asleep.discard(plugin_id)
        self._bus.subscriber(plugin_id).on_active()
        self._tell("reloaded", plugin_id, version=self._look(plugin_id).version)

    def on_abandoned(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self._bus.subscriber(plugin_id).on_abandoned()

    def on_canary(self, plugin_id: str, step: str, about: Mapping[str, object]) -> None:
        self._tell(f"canary_{step}", plugin_id, **about)

    def on_died(self, plugin_id: str) -> None:
        self._tell("crashed", plugin_id, reason=self._look(plugin_id).error[:_MAX_ERROR])

    def on_unloaded(self, plugin_id: str) -> None:
        self._loading.discard(plugin_id)
        self._asleep.discard(plugin_id)
        self._bus.subscriber(plugin_id).close()
        plugin = self._look(plugin_id)
        if plugin_id in self._loaded:
            self._loaded.discard(plugin_id)
            self._unloaded.add(plugin_id)
            self._tell("unloaded", plugin_id)
        if plugin.state == "error":
            self._tell("error", plugin_id, reason=plugin.error[:_MAX_ERROR])

    def on_forgotten(self, plugin_id: str) -> None:
        self._unloaded.discard(plugin_id)
        self._bus.forget(plugin_id)

    def _tell(self, what: str, plugin_id: str, **more: object) -> None:
        self._bus.post(f"plugin:{what}", {"plugin": plugin_id, **more}, Origin(HOST))

    # Requests

    def _subscribe(self, request: Request, params: Subscribe) -> None:
        self._bus.subscriber(request.plugin_id).subscribe(
            params.id,
            parse_pattern(params.pattern),
            Pacing(params.throttle, params.debounce, params.max_wait),
            once=params.once,
            loading=request.is_loading,
        )

    def _unsubscribe(self, request: Request, params: Unsubscribe) -> None:
        self._bus.subscriber(request.plugin_id).unsubscribe(params.id, loading=request.is_loading)

    def _emit(self, request: Request, params: EmitEvent) -> object:
        if self._bus.hooks is not None:
            return self._emit_through_hooks(request, params)
        stats = self._bus.subscriber(request.plugin_id).stats
        try:
            raw = self._data(params.name, params.data)
            event = self._bus.emit_now(params.name, raw, _origin(request), params.correlation_id)
        except PlughostError:
            stats.refused += 1
            raise
        stats.emitted += 1
        return event.id

    async def _emit_through_hooks(self, request: Request, params: EmitEvent) -> str | None:
        stats = self._bus.subscriber(request.plugin_id).stats
        try:
            raw = self._data(params.name, params.data)
            event = await self._bus.emit(params.name, raw, _origin(request), params.correlation_id)
        except PlughostError:
            stats.refused += 1
            raise
        if event is None:
            stats.refused += 1
            return None
        stats.emitted += 1
        return event.id

    async def _request(self, request: Request, params: RequestByEvent) -> Raw:
        timeout = params.timeout
        if request.parent is not None:
            timeout = min(timeout, request.parent.remaining(self._bus.reactor.now()))
        raw = self._data(params.name, params.data)
        reply = await self._bus.request(
            params.name, raw, _origin(request), timeout, params.correlation_id
        )
        self._bus.subscriber(request.plugin_id).stats.emitted += 1
        return Raw(reply)

    def _reply(self, request: Request, params: ReplyToEvent) -> bool:
        raw = self._data(f"reply to {params.event}", params.data)
        return self._bus.reply(params.event, request.plugin_id, raw)

    def _history(self, request: Request, params: EventHistory) -> list[WireEvent]:  # noqa: ARG002
        pattern = parse_pattern(params.pattern)
        return [e.wire for e in self._bus.history.last(pattern, params.limit, _HISTORY_BYTES)]

    def _data(self, name: str, data: Raw) -> bytes:
        """The data that a plugin sends, which those who get it need not fear."""
        raw = bytes(data)
        check_size(name, len(raw), self._bus.config.max_size)
        try:
            decode_value(raw)
        except MalformedMessage as exc:
            raise InvalidEvent(name, f"its data cannot be sent: {exc.reason}") from exc
        return raw


def _error(text: str) -> dict[str, str]:
    return {"error": text[:_MAX_ERROR]} if text else {}


def _origin(request: Request) -> Origin:
    return Origin.of_call(
        request.plugin_id, None if request.parent is None else request.parent.meta
    )


def _pattern_of(params: Subscribe | EventHistory) -> str:
    return str(parse_pattern(params.pattern))


def _name_of(params: EmitEvent | RequestByEvent) -> str:
    plain = plain_name(params.name)
    if is_reserved(plain):
        raise EventRefused(
            params.name,
            f"only the host emits events whose names begin with {', '.join(sorted(RESERVED))}: "
            "begin the name with something of your own",
        )
    return plain
