"""A plugin that is started at its first use: while it sleeps, what it offers stands all the same.

A *stand-in* has registered what a worker once did, and everything that comes for the plugin starts
a worker, which takes the place of the stand-in as it would take another worker's.
"""

from collections.abc import Callable
from typing import Final

import anyio.to_thread
import msgspec

from plughost.catalog.activation import Activation
from plughost.catalog.event_names import EventPattern
from plughost.errors import PlughostError
from plughost.exchange.tools import ToolEntry
from plughost.rpc.standing import Standing
from plughost.rpc.worker import Worker
from plughost.services.plugins import WakenBy
from plughost.services.registrations import Registration
from plughost_protocol.events import EVENTS_SUBSCRIBE, Subscribe
from plughost_protocol.hooks import HOOKS_REGISTER

from .edition import Edition, NoRoom
from .offered import NOTHING_KNOWN, Offered
from .states import Event, State
from .succession import Succession

__all__ = ["Sleeper"]

_SCHEDULE: Final = "scheduler.schedule"
_AGAIN: Final = 1.0  # seconds until another worker is tried where there was no room for one
# Seconds in which no event and no task starts what has made room for another one's worker: two
# plugins that emit events in on_unload would take turns for ever.
_REST: Final = 5.0


class Sleeper(Succession):
    """Starts a worker when somebody needs it."""

    _known: Offered | None = None  # as it was last kept
    _waking = False
    _called = False  # somebody needs it, while another edition of it is loaded
    _no_room = False  # there was none a moment ago
    _is_resting = False

    @property
    def activation(self) -> Activation:
        """What starts it."""
        return self._edition.activation

    @property
    def offered(self) -> Offered | None:
        """What a worker of it has offered when it was loaded, if it is known."""
        return self._edition.offered

    @property
    def is_known(self) -> bool:
        """Whether a worker has said what it offers, or one did before."""
        return self._edition.offered is not NOTHING_KNOWN

    @property
    def is_idle(self) -> bool:
        """Whether nobody needs its worker at the moment."""
        worker = self.active_worker
        return worker is not None and not worker.is_busy and not len(worker.channel.requests)

    @property
    def is_leaving(self) -> bool:
        """Whether it sleeps, and the worker that it had has not ended yet."""
        return self._state is State.SLEEPING and len(self._outgoing) > 0

    # Waking

    def wake(self) -> bool:
        """Start a worker if it sleeps. Whether one is on its way for that."""
        if self._state is State.SLEEPING:
            if self._incoming is not None:  # of a reload, whose worker will do
                self._called = True
                return True
            if self._no_room:
                return False
            self._waking = True
            self._move(Event.WAKE)
            self._supervise()
        return self._waking and self._state is State.LOADING

    def wake_by(self, by: WakenBy) -> bool:
        """Whether it takes calls now, or is started because of this."""
        if self.active_worker is not None:
            return True
        if by == "schedule" and not self.activation.schedule:
            return False
        delayed = self._is_resting or self._no_room
        if by != "hook" and delayed and self._state is State.SLEEPING:
            return True  # in a moment
        return self.wake()

    def rest(self) -> None:
        """It has made room for another one: events and tasks wait for a moment."""
        self._is_resting = True
        reactor = self._surroundings.reactor
        reactor.call_at(reactor.now() + _REST, self._rested)

    def _rested(self) -> None:
        self._is_resting = False
        self._go_on()

    def _go_on(self) -> None:
        """Whatever still waits for a worker starts one."""
        if self._state is State.SLEEPING:
            for registry in self._registries:
                registry.on_still_asleep(self.id)

    def wake_if_called(self) -> None:
        """The edition that somebody waited for has not come: another worker does."""
        called, self._called = self._called, False
        if called:
            self.wake()

    def _on_refused(self, exc: PlughostError) -> None:
        if self._waking and isinstance(exc, NoRoom):
            self._waking = False
            reactor = self._surroundings.reactor
            self._no_room = True
            reactor.call_at(reactor.now() + _AGAIN, self._try_again)
            self.error = exc.reason
            self._move(Event.SLEEP)
            self._changed()
        else:
            super()._on_refused(exc)

    def _try_again(self) -> None:
        self._no_room = False
        self._go_on()

    def _activate(self, worker: Worker) -> None:
        self._waking = False
        super()._activate(worker)
        self._keep_offered()

    def _keep_offered(self) -> None:
        """Keep what it offers, for hosts to come."""
        offered, known = self.offered, self._known
        if offered is not None and offered.key and offered != known:
            self._known = offered
            store = self._surroundings.offered
            self._surroundings.reactor.spawn(
                anyio.to_thread.run_sync, store.write, self.id, offered
            )

    # Falling asleep

    async def fall_asleep(self, offered: Offered, is_idle: Callable[[], bool]) -> bool:
        """Let this stand in the place of a worker; the worker that it has ends.

        False where it does not fall asleep: it is in use by then. Raises `PlughostError` for what
        is not acceptable, or not granted, any more. Then all is as it was.
        """
        if self._incoming is not None or self._state not in (State.UNLOADED, State.ACTIVE):
            return False
        state, worker = self._state, self.active_worker
        awake = state is State.ACTIVE
        incoming = self._incoming = self._edition_of(self.found) if awake else self._edition
        try:
            entries = await incoming.recall(self._heard_asleep(offered, state))
        except BaseException:
            self._stay_awake()
            raise
        if self._state is not state or self.active_worker is not worker or not is_idle():
            self._stay_awake()
            return False
        self._lie_down(incoming, entries, offered)
        return True

    def _heard_asleep(self, offered: Offered, state: State) -> Offered:
        """What of it stands while it sleeps."""
        activation = self.activation

        def stands(registration: Registration) -> bool:
            if registration.method == EVENTS_SUBSCRIBE:
                params = msgspec.msgpack.decode(registration.params, type=Subscribe)
                return activation.hears(EventPattern.parse(params.pattern))
            if registration.method == HOOKS_REGISTER:
                return activation.hooks
            if registration.method == _SCHEDULE:
                # Tasks stay where they are when a worker ends: not those of on_load once more.
                return activation.schedule and state is State.UNLOADED
            return True

        try:
            kept = tuple(filter(stands, offered.registrations))
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise PlughostError(f"what is kept of it cannot be read: {exc}") from exc
        return msgspec.structs.replace(offered, registrations=kept)

    def _stay_awake(self) -> None:
        self._incoming = None
        for registry in self._registries:
            registry.on_abandoned(self.id)
        self._changed()

    def _lie_down(self, incoming: Edition, entries: list[ToolEntry], offered: Offered) -> None:
        """In one step: what comes from now on wakes it."""
        outgoing, self._edition, self._incoming = self._edition, incoming, None
        worker, self.active_worker = self.active_worker, None
        incoming.offered = self._known = offered
        incoming.stand_in.standing = Standing.SERVING
        incoming.offers.install(entries)
        self.error = ""
        self._move(Event.SLEEP)
        if worker is not None:
            worker.standing = Standing.OUTGOING
            self._outgoing.add(outgoing)
        for registry in self._registries:
            registry.on_asleep(self.id)
        self._changed()
