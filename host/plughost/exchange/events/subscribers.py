"""One plugin as a subscriber: its subscriptions, what waits for them, and the deliveries.

A subscription gets its events one after the other: the next one leaves when the last one is
handled, so that order and deadlines are exact. Different subscriptions run side by side, within a
window. While the plugin has no worker, events wait; a new worker gets those that its own
subscriptions match. While one is loaded beside another, an event is for the one that serves, if
that subscribes to it; what that one has not begun is the new one's, once the new one serves. An
event with which a worker died is delivered once more, and no third time.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Final

from plughost.catalog.event_names import EventPattern
from plughost.errors import (
    CallTimeout,
    NotRunning,
    Overloaded,
    PlughostError,
    ToolError,
    WorkerDied,
)
from plughost.reactor import Waiter
from plughost_protocol.events import EVENT_METHOD, DeliverEvent

from .backlog import Backlog, Entry
from .event import Admitted
from .pacing import Pacer, Pacing
from .subscription import Common, EventStats, Subscription

__all__ = ["PluginSubscriber"]

_RETRY: Final = 0.1  # seconds, where the worker has too many calls open
_DELIVERIES: Final = 2  # of one event: where its worker died with it, once more


class PluginSubscriber:
    """The subscriptions of one plugin, over the lives of its workers."""

    def __init__(self, plugin_id: str, common: Common) -> None:
        self.plugin_id = plugin_id
        self.stats = EventStats()
        self._common = common
        self._generation = 0
        self._standing = 0
        """The generation that is delivered to; a newer one is still being loaded."""
        self._received = 0
        """The number of the last event that the standing generation has got."""
        self._subscriptions: dict[tuple[int, int], Subscription] = {}
        self._backlog = self._new_backlog()
        self._ready: deque[Subscription] = deque()
        self._held: dict[Entry[Subscription], None] = {}  # they wait for quiet
        self._held_bytes = 0
        self._in_flight = 0
        self._parked: Waiter[Subscription | None] | None = None
        self._told_of_loss = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a handler, and none runs."""
        return not self._in_flight and not len(self._backlog)

    @property
    def waiting(self) -> int:
        """Events that wait, those among them that wait for quiet."""
        return len(self._backlog) + len(self._held)

    # The life of the plugin

    def on_loading(self) -> None:
        """Subscriptions from now on are the new worker's; those before live until it is active."""
        self.on_abandoned()
        self._generation += 1

    def on_abandoned(self) -> None:
        """A worker that did not become active leaves nothing behind."""
        found = self._subscriptions.values()
        for entry in self._end([s for s in found if s.generation != self._standing]):
            self._end_delivery(entry, "its worker ended")

    def on_active(self) -> None:
        """The worker of the last `on_loading` takes calls: it gets what waits."""
        self._standing = self._generation
        old = [s for s in self._subscriptions.values() if s.generation != self._generation]
        self._hand_over(self._end(old))
        untold = {s.pattern: s.lost for s in old}
        for subscription in self._subscriptions.values():
            subscription.lost += untold.get(subscription.pattern, 0)
        self.resume()

    def resume(self) -> None:
        """Deliver what waits."""
        for subscription in self._subscriptions.values():
            self._wake(subscription)
        self._fill()

    def close(self) -> None:
        """The plugin is unloaded: it has no subscriptions and nothing waits."""
        for entry in self._end(self._subscriptions.values()):
            self._end_delivery(entry, "unloaded")
        self._ready.clear()
        if self._parked is not None:
            self._parked.set_result(None)
            self._parked = None

    # Subscriptions

    def subscribe(
        self,
        number: int,
        pattern: EventPattern,
        pacing: Pacing[Entry[Subscription]],
        *,
        once: bool,
        loading: bool = False,
    ) -> None:
        """Add a subscription, of the worker that serves or of the one that is being loaded.

        Raises `Overloaded`; the same number again takes its place.
        """
        generation = self._generation if loading else self._standing
        limit = self._common.config.subscriptions
        if sum(other == generation for other, _ in self._subscriptions) >= limit:
            raise Overloaded(self.plugin_id, "event subscriptions", limit)
        self.unsubscribe(number, loading=loading)
        common = self._common
        pacer = Pacer(pacing, lambda: common.reactor, self._queue, self._pass_over)
        subscription = self._subscriptions[generation, number] = Subscription(
            self.receive,
            number,
            pattern,
            pacer,
            generation=generation,
            once=once,
        )
        common.index.add(pattern, subscription)

    def unsubscribe(self, number: int, *, loading: bool = False) -> None:
        """Take one back, and what waits for it."""
        generation = self._generation if loading else self._standing
        subscription = self._subscriptions.get((generation, number))
        if subscription is not None:
            for entry in self._end([subscription]):
                self._end_delivery(entry, "unsubscribed")

    def _end(self, subscriptions: Iterable[Subscription]) -> list[Entry[Subscription]]:
        """Remove subscriptions. Answers with what waited for them."""
        waiting = []
        for subscription in list(subscriptions):
            self._common.index.remove(subscription)
            self._subscriptions.pop((subscription.generation, subscription.id), None)
            waiting += self._backlog.take_all(subscription)
            held = subscription.pacer.stop()
            if held is not None:
                self._let_go(held)
                waiting.append(held)
        return waiting

    # Events

    def receive(self, subscription: Subscription, admitted: Admitted, attempts: int = 0) -> None:
        """Queue an event for a subscription that matches it."""
        common = self._common
        if subscription.generation == self._standing:
            self._received = admitted.number
        elif self._is_received(admitted):
            return
        if subscription.once:
            # The next event must not find it; what waits for it is still delivered.
            common.index.remove(subscription)
        delivery = common.trace.queued(admitted.event, self.plugin_id, subscription.text)
        entry = Entry(subscription, admitted, delivery)
        entry.attempts = attempts
        subscription.pacer.offer(entry)
        if subscription.pacer.holds:
            self._hold(entry)

    def _is_received(self, admitted: Admitted) -> bool:
        """Whether the standing generation gets this event, too."""
        return admitted.number == self._received or any(
            isinstance(receiver, Subscription)
            and receiver is self._subscriptions.get((self._standing, receiver.id))
            for receiver in self._common.index.match(admitted.name)
        )

    def _hand_over(self, entries: Iterable[Entry[Subscription]]) -> None:
        """Give what an earlier worker has not handled to the subscriptions of this one."""
        shares: dict[Subscription, list[tuple[Admitted, int]]] = {}
        for entry in _unique(entries):
            taken = False
            for receiver in self._common.index.match(entry.admitted.name):
                if isinstance(receiver, Subscription) and receiver is self._subscriptions.get(
                    (self._standing, receiver.id)
                ):
                    share = shares.setdefault(receiver, [])
                    if not (receiver.once and share):
                        share.append((entry.admitted, entry.attempts))
                        taken = True
            self._end_delivery(entry, "its worker ended", failed=not taken)
        for subscription, share in shares.items():
            waiting: list[tuple[int, Callable[[], None]]] = [
                (admitted.number, partial(self.receive, subscription, admitted, attempts))
                for admitted, attempts in share
            ]
            waiting += [
                (entry.admitted.number, partial(self._queue, entry))
                for entry in self._backlog.take_all(subscription)
            ]
            for _, put in sorted(waiting, key=itemgetter(0)):
                put()

    def _hold(self, entry: Entry[Subscription]) -> None:
        """Count an event that waits for quiet; where too much does, the oldest waits no more."""
        self._held[entry] = None
        self._held_bytes += entry.admitted.size
        while self._held_bytes > self._common.config.queue_bytes:
            next(iter(self._held)).lane.pacer.hurry()

    def _let_go(self, entry: Entry[Subscription]) -> None:
        if entry in self._held:
            del self._held[entry]
            self._held_bytes -= entry.admitted.size

    def _queue(self, entry: Entry[Subscription]) -> None:
        self._let_go(entry)
        for lost in self._backlog.put(entry):
            self._lose(lost, "lost")
        self._wake(entry.lane)

    def _pass_over(self, entry: Entry[Subscription]) -> None:
        self._let_go(entry)
        self.stats.passed_over += 1
        self._end_delivery(entry, "passed over")

    def _lose(self, entry: Entry[Subscription], outcome: str) -> None:
        self.stats.lost += 1
        lane = entry.lane
        lane.lost += 1
        if lane.once and lane is self._subscriptions.get((lane.generation, lane.id)):
            self._common.index.add(lane.pattern, lane)  # the next one, then
        if not self._told_of_loss:
            self._told_of_loss = True
            self._common.log(
                self.plugin_id,
                "warning",
                f"events for {lane.text} are lost: its handlers are too slow for them",
            )
        self._end_delivery(entry, outcome)

    def _end_delivery(
        self, entry: Entry[Subscription], outcome: str, *, failed: bool = True
    ) -> None:
        """Note what became of it, for the trace and for who waits for a reply."""
        self._common.trace.ended(entry.admitted.event, entry.delivery, outcome)
        if failed:
            self._common.replies.failed(entry.admitted.event)

    # Deliveries

    def _wake(self, subscription: Subscription) -> None:
        """Have a subscription that has events delivered to, once it is its turn."""
        if subscription.generation != self._standing:
            return
        if not subscription.busy and self._backlog.waits(subscription):
            subscription.busy = True
            self._ready.append(subscription)
            self._fill()

    def _fill(self) -> None:
        common = self._common
        if not common.plugins.active(self.plugin_id):
            if self._ready:
                common.plugins.wake(self.plugin_id, "event")
            for subscription in self._ready:
                subscription.busy = False
            self._ready.clear()  # until it is active again
        while self._ready and self._in_flight < common.config.in_flight:
            self._in_flight += 1
            subscription = self._ready.popleft()
            if self._parked is None:
                common.reactor.spawn(self._work, subscription)
            else:
                self._parked.set_result(subscription)
                self._parked = None

    async def _work(self, subscription: Subscription) -> None:
        """Deliver, again and again: to begin a task takes longer than all else of a delivery."""
        more: Subscription | None = subscription
        while more is not None:
            await self._deliver_to(more)
            if self._parked is not None or not self._subscriptions:
                return  # one that waits is enough
            waiter: Waiter[Subscription | None] = self._common.reactor.waiter()
            self._parked = waiter
            try:
                more = await waiter
            finally:
                if self._parked is waiter:  # it is cancelled
                    self._parked = None

    async def _deliver_to(self, subscription: Subscription) -> None:
        try:
            while (entry := self._backlog.take(subscription)) is not None:
                if not await self._deliver(entry):
                    break
                if self._ready:  # the others have their turn
                    break
        finally:
            self._in_flight -= 1
            subscription.busy = False
        if self._common.plugins.active(self.plugin_id):
            self._wake(subscription)
            self._fill()

    async def _deliver(self, entry: Entry[Subscription]) -> bool:
        """Whether the worker is there for the next one."""
        common, event = self._common, entry.admitted.event
        subscription = entry.lane
        lost, subscription.lost = subscription.lost, 0
        params = DeliverEvent(
            subscription.id, entry.admitted.wire, lost=lost, redelivered=entry.attempts > 0
        )
        common.trace.started(event, entry.delivery)
        common.replies.received(event, self.plugin_id)
        try:
            await common.plugins.call(
                self.plugin_id,
                EVENT_METHOD,
                params,
                label=f"{self.plugin_id}.on({subscription.text})",
                meta=event.meta,
                wait=False,
            )
        except NotRunning:
            subscription.lost += lost
            self._return(entry)
            return False
        except Overloaded:
            subscription.lost += lost
            self._return(entry)
            common.reactor.call_at(common.reactor.now() + _RETRY, self.resume)
            return False
        except WorkerDied as exc:
            entry.attempts += exc.outcome_unknown
            if entry.attempts < _DELIVERIES:
                self._return(entry)
            else:
                self._lose(entry, "lost: its worker died with it twice")
            return False
        except PlughostError as exc:
            self._fail(entry, exc)
        else:
            self.stats.delivered += 1
            self._end_delivery(entry, "handled", failed=False)
        if subscription.once:
            self._end([subscription])
        if not self._backlog.waits(subscription):
            self._told_of_loss = False
        return True

    def _return(self, entry: Entry[Subscription]) -> None:
        """It was not delivered: it waits again, or goes to the worker that has come meanwhile."""
        entry.delivery.outcome = "waiting"
        subscription = entry.lane
        if subscription is self._subscriptions.get((subscription.generation, subscription.id)):
            self._backlog.put_back(entry)
        else:
            self._hand_over([entry])

    def _fail(self, entry: Entry[Subscription], exc: PlughostError) -> None:
        self.stats.failed += 1
        event = entry.admitted.event
        log = self._common.log
        log(self.plugin_id, "error", f"a handler of {event.name} failed: {exc}")
        details = exc.stack if isinstance(exc, CallTimeout) else getattr(exc, "traceback", "")
        for line in details.splitlines()[-50:] if isinstance(exc, ToolError | CallTimeout) else ():
            log(self.plugin_id, "error", line)
        self._end_delivery(entry, f"failed: {exc}"[:200])

    def _new_backlog(self) -> Backlog[Subscription]:
        config = self._common.config
        return Backlog(config.queue, config.queue_bytes)


def _unique(entries: Iterable[Entry[Subscription]]) -> list[Entry[Subscription]]:
    """One entry for each event, in their order: the one with the most attempts."""
    found: dict[int, Entry[Subscription]] = {}
    for entry in entries:
        known = found.setdefault(entry.admitted.number, entry)
        if entry.attempts > known.attempts:
            found[entry.admitted.number] = entry
    return [found[number] for number in sorted(found)]
