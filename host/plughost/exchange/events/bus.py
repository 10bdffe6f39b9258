"""The bus: takes events, and hands them to whoever subscribes. Who emits waits for nobody."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol

import anyio

from plughost.exchange.hooks.errors import HookFailed
from plughost.reactor import Reactor
from plughost.service_config import EventsConfig
from plughost.services.plugins import PluginCaller

from .errors import EventRefused, InvalidEvent, NoSubscriber, TooManyHops
from .event import Admitted, Event, Origin, check_size, encode_data, new_event_id
from .history import History
from .hook_feed import EventHandling, HookFeed
from .names import PatternIndex, plain_name
from .replies import Replies
from .subscribers import PluginSubscriber
from .subscription import EventStats, Receiver
from .trace import Trace

__all__ = ["EventBus", "EventHooks"]

_MAX_CORRELATION: Final = 200
_POLL: Final = 0.01  # seconds; between looks at whether the last events have arrived


class EventHooks(EventHandling, Protocol):
    """What plugins' hooks have to say of each event."""

    async def pass_event(self, event: Event) -> Event | None:
        """The event, with other data perhaps; None stops it.

        Raises `EventRefused`, `HookFailed`.
        """


class EventBus:
    """All events of one host. There before the host runs, so that nothing is missed."""

    def __init__(self, config: EventsConfig, now: Callable[[], float] = time.time) -> None:
        self.config = config
        self.index: PatternIndex[Receiver] = PatternIndex()
        self.history = History(config.history, config.history_bytes)
        self.trace = Trace(config.trace, time.monotonic)
        self.replies = Replies()
        self.hooks: EventHooks | None = None
        self.cut = 0
        """Events that were too many hops from the first of them."""
        self.taken = 0
        """Events that were emitted, and not stopped."""
        self.is_attached = False
        """Whether the host runs, or is about to."""
        self.at_close: Callable[[], Awaitable[None]] | None = None
        self.reactor: Reactor
        self.plugins: PluginCaller
        self.log: Callable[[str, str, str], None]
        self._now = now
        self._subscribers: dict[str, PluginSubscriber] = {}
        self._to_hooks = HookFeed(config)

    def attach(
        self, reactor: Reactor, plugins: PluginCaller, log: Callable[[str, str, str], None]
    ) -> None:
        """The host begins to run. `log` writes into a plugin's log: its id, level and text."""
        self.is_attached = True
        self.reactor = reactor
        self.plugins = plugins
        self.log = log

    async def close(self) -> None:
        """The host ends: the application's iterators end too, and nothing more is emitted."""
        if self.at_close is not None:
            await self.at_close()
        self.is_attached = False

    # Emitting

    async def emit(
        self,
        name: str,
        raw: bytes,
        origin: Origin,
        correlation_id: str = "",
        *,
        tell_hooks: bool = True,
    ) -> Event | None:
        """Take an event; None where a hook stopped it.

        Without `tell_hooks` whoever emits asks the hooks that handle it. Raises `InvalidEvent`,
        `EventRefused`, `HookFailed`, `TooManyHops`.
        """
        event, plain = await self._passed(name, raw, origin, correlation_id)
        if event is not None:
            self._admit(event, plain, tell_hooks=tell_hooks)
        return event

    def emit_now(self, name: str, raw: bytes, origin: Origin, correlation_id: str = "") -> Event:
        """Take an event without a wait: only while `hooks` is None.

        Raises `InvalidEvent`, `TooManyHops`.
        """
        event, plain = self._made(name, raw, origin, correlation_id)
        self._admit(event, plain)
        return event

    async def request(
        self, name: str, raw: bytes, origin: Origin, timeout: float, correlation_id: str = ""
    ) -> bytes:
        """The data of the first reply to an event.

        Raises what `emit` raises, `NoSubscriber`, `NoReply`, `CallTimeout`.
        """
        event, plain = await self._passed(name, raw, origin, correlation_id, wants_reply=True)
        if event is None:
            raise EventRefused(name, "a hook stopped it, so that nobody can reply")
        if not self.index.match(plain):
            raise NoSubscriber(name)
        self.replies.expect(event, self.reactor.waiter())
        self._admit(event, plain)
        return await self.replies.wait(event, timeout)

    def reply(self, event_id: str, receiver: str, raw: bytes) -> bool:
        """Whether this reply is the first, and in time. Raises `NotYourEvent`."""
        taken = self.replies.reply(event_id, receiver, raw)
        if taken:
            self.trace.replied(event_id, receiver)
        return taken

    def post(self, name: str, data: object, origin: Origin) -> None:
        """Emit an event of the host's own, which no hook changes or stops, at once."""
        raw = encode_data(name, data, self.config.max_size)
        if origin.depth > self.config.max_hops:
            self.cut += 1
            return
        event = self._new_event(name, raw, origin, "", wants_reply=False)
        self._admit(event, plain_name(name))

    async def _passed(
        self,
        name: str,
        raw: bytes,
        origin: Origin,
        correlation_id: str,
        *,
        wants_reply: bool = False,
    ) -> tuple[Event | None, str]:
        """The event after the hooks, and its plain name."""
        event, plain = self._made(name, raw, origin, correlation_id, wants_reply=wants_reply)
        if self.hooks is None:
            return event, plain
        try:
            passed = await self.hooks.pass_event(event)
        except (EventRefused, HookFailed) as exc:
            self.trace.began(event, stopped=f"refused: {exc.reason}"[:200])
            raise
        if passed is None:
            self.trace.began(event, stopped="stopped by a hook")
            return None, plain
        check_size(name, len(passed.raw), self.config.max_size)
        return replace(event, raw=passed.raw), plain  # a hook changes the data, and nothing else

    def _made(
        self,
        name: str,
        raw: bytes,
        origin: Origin,
        correlation_id: str,
        *,
        wants_reply: bool = False,
    ) -> tuple[Event, str]:
        """The event, and its plain name."""
        plain = plain_name(name)
        check_size(name, len(raw), self.config.max_size)
        if len(correlation_id) > _MAX_CORRELATION:
            raise InvalidEvent(name, f"its correlation_id is over {_MAX_CORRELATION} characters")
        if origin.depth > self.config.max_hops:
            self.cut += 1
            raise TooManyHops(name, self.config.max_hops)
        return self._new_event(name, raw, origin, correlation_id, wants_reply=wants_reply), plain

    def _new_event(
        self, name: str, raw: bytes, origin: Origin, correlation_id: str, *, wants_reply: bool
    ) -> Event:
        return Event(
            id=new_event_id(),
            name=name,
            raw=raw,
            source=origin.source,
            timestamp=self._now(),
            correlation_id=correlation_id,
            parent=origin.parent,
            depth=origin.depth,
            user_id=origin.user_id,
            request_id=origin.request_id,
            trace=origin.trace,
            wants_reply=wants_reply,
        )

    def _admit(self, event: Event, plain: str, *, tell_hooks: bool = True) -> None:
        self.taken += 1
        admitted = Admitted(event, plain, self.taken)
        receivers = self.index.match(plain)
        self.history.add(admitted)
        self.trace.began(event)
        self.replies.sent(event, len(receivers))
        for receiver in receivers:
            receiver.receive(admitted)
        if self.hooks is not None and tell_hooks:
            self._to_hooks.put(admitted, self.hooks, self.reactor)

    # Subscribers

    def subscriber(self, plugin_id: str) -> PluginSubscriber:
        """A plugin's part in the bus, made at the first look."""
        found = self._subscribers.get(plugin_id)
        if found is None:
            found = self._subscribers[plugin_id] = PluginSubscriber(plugin_id, self)
        return found

    def forget(self, plugin_id: str) -> None:
        """Keep nothing of a plugin that is no more."""
        self._subscribers.pop(plugin_id, None)

    def stats(self) -> dict[str, EventStats]:
        """What each plugin has had to do with events."""
        return {
            plugin_id: replace(subscriber.stats, waiting=subscriber.waiting)
            for plugin_id, subscriber in self._subscribers.items()
        }

    async def settle(self, timeout: float) -> None:
        """Return when plugins have handled what waits, or when time is up."""
        with anyio.move_on_after(timeout):
            while any(  # noqa: ASYNC110 - once in a host's life, and many places to wait for
                self.plugins.active(s.plugin_id) and not s.is_idle
                for s in self._subscribers.values()
            ):
                await anyio.sleep(_POLL)
