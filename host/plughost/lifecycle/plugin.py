"""One plugin in the host: started, stopped, disabled, and swapped while it serves."""

from collections.abc import Mapping
from typing import Any

import anyio

from plughost.catalog.discovery import Found
from plughost.errors import HostMisuse, PlughostError, StartFailed
from plughost.exchange.tools import ToolEntry
from plughost.exits import Cause
from plughost.rpc.standing import Registrant, Standing
from plughost.rpc.worker import Worker
from plughost.supervision.logbook import LogBook
from plughost_protocol import PLUGIN_DISABLE, PLUGIN_ENABLE, ToolSpec

from .candidacy import Candidacy
from .edition import Edition
from .states import Event, State, next_state
from .surroundings import Surroundings
from .trial import Trial
from .turns import Turns

__all__ = ["HostedPlugin"]


class HostedPlugin(Candidacy):
    """A plugin, whatever its state. Its workers and editions come and go; this stays."""

    def __init__(self, found: Found, book: LogBook, surroundings: Surroundings) -> None:
        super().__init__(found, book, surroundings)
        self.turns = Turns(self.id)
        """Whose command may act on it."""

    # Its life

    async def start(self, found: Found | None = None) -> None:
        """Start it, and return when it is active. Raises `StartFailed` if the first try fails.

        `found` is a new reading of it. After that, its workers are restarted as the policy says,
        until `stop`.
        """
        next_state(self._state, Event.START)
        await self._end_of_run()
        if found is not None:
            self._edition = self._edition_of(found)
        self._move(Event.START)
        await self._first_worker()

    async def stop(self, drain: float = 0.0) -> None:
        """End its worker in good order, once its calls have ended or `drain` seconds passed.

        Returns when it has ended, even if cancelled.
        """
        if self._state in (State.UNLOADED, State.DRAINING):
            return
        self._move(Event.STOP)
        self.active_worker = None
        self.drop_trial("the plugin was stopped", drain)
        if self._incoming is not None and (worker := self._incoming.live_worker) is not None:
            worker.end(Cause.STOPPED, "stopped while it was loading")
        self._outgoing.hurry(drain)
        self._changed()
        try:
            await self._edition.retire(drain)
        finally:
            with anyio.CancelScope(shield=True):
                while self._runs or self._incoming is not None or self._outgoing:
                    await self._changes.next()
            self._edition.offers.install([])
            self._move(Event.STOPPED)
            self._changed()

    async def disable(self) -> None:
        """Take no more calls, and run `on_disable`; the worker lives on with what it holds."""
        self._move(Event.DISABLE)
        worker, self.active_worker = self.active_worker, None
        self.drop_trial("the plugin was disabled")
        self._changed()
        if worker is not None:
            await self._tell(worker, PLUGIN_DISABLE)

    async def enable(self) -> None:
        """Take calls again, and run `on_enable`. Raises `StartFailed` where that takes a start."""
        next_state(self._state, Event.ENABLE)
        worker = self._edition.live_worker
        if worker is None:
            await self._end_of_run()
            self._move(Event.ENABLE)
            await self._first_worker()
            return
        self._move(Event.ENABLE)
        try:
            await self._tell(worker, PLUGIN_ENABLE)
        finally:  # who has lost patience with `on_enable` wants it enabled all the same
            if self._is(State.LOADING) and worker.exit is None:
                self._activate(worker)

    def refuse(self, reason: str) -> None:
        """It cannot be started at all, for this reason."""
        self._give_up(reason, "load_failure")

    @property
    def can_be_swapped(self) -> bool:
        """Whether another edition can take the place of what serves, or stands in for it."""
        return self._state in (State.ACTIVE, State.RESTARTING, State.SLEEPING)

    async def swap(self, found: Found, config: Mapping[str, Any] | None = None) -> None:
        """Load a new edition beside the one that runs, and turn everything over to it at once.

        The worker before it ends when its calls have. Raises `StartFailed` where the new edition
        does not load, `HostMisuse` where none runs: all is as it was then. Cancelled, it is so
        too, or the new edition serves, and nothing is on trial any more.
        """
        incoming, entries = await self._load_incoming(found, config)
        self.drop_trial(f"version {found.manifest.version} was loaded without a trial")
        self._turn_over(incoming, entries)

    async def _load_incoming(
        self, found: Found, config: Mapping[str, Any] | None = None, trial: Trial | None = None
    ) -> tuple[Edition, list[ToolEntry]]:
        """A new edition, loaded beside the one that runs; for a trial, while that goes on."""
        while self._outgoing.is_full():
            await self._changes.next()
        if not self.can_be_swapped:
            raise HostMisuse(f"a plugin that is {self._state} cannot be swapped")
        if self._incoming is not None:
            raise HostMisuse("it is being swapped already")
        incoming = self._incoming = self._edition_of(found, config)
        try:
            entries = await self._load_beside(incoming)
            self._check_on_trial(trial)
        except BaseException as exc:
            await self._abandon(incoming, exc)
            raise
        return incoming, entries

    async def alone(self) -> None:
        """Return when no worker lives that another one has replaced, or that was put to sleep."""
        while self._outgoing:
            await self._changes.next()

    def keep(self, reason: str) -> None:
        """What is in its folder by now cannot take the place of what runs, for this reason."""
        self.reload_error = reason
        self.log.note("error", f"not reloaded, {reason}; what runs goes on", "load_failure")

    async def settled(self) -> None:
        """Return when it is no longer loading, and no worker's death is being judged."""
        while self._state is State.LOADING or (
            self._state is State.ACTIVE and self.active_worker is None
        ):
            await self._changes.next()

    async def _tell(self, worker: Worker, method: str) -> None:
        try:
            await worker.ask(method, None, self.limits.call_timeout)
        except PlughostError as exc:  # its own hook failed; the operator's word holds
            self.log.note("error", str(exc))

    # A worker in place of one that runs

    async def _load_beside(self, incoming: Edition) -> list[ToolEntry]:
        """The tools of the new edition. Raises `StartFailed`."""
        try:
            lease, values = await incoming.prepare()
        except StartFailed:
            raise
        except PlughostError as exc:
            raise StartFailed(self.id, str(exc)) from exc
        self._check_still_wanted()
        entries = await incoming.load(lease, values)
        self._check_still_wanted()
        worker = incoming.worker
        if worker is None or worker.exit is not None:
            end = None if worker is None else worker.exit
            raise StartFailed(self.id, str(end), end)
        return entries

    def _check_still_wanted(self) -> None:
        if not self.can_be_swapped:
            raise StartFailed(self.id, f"it is {self._state} by now")

    def _turn_over(self, incoming: Edition, entries: list[ToolEntry]) -> None:
        """In one step, all that comes from now on is the new worker's."""
        outgoing, self._edition, self._incoming = self._edition, incoming, None
        worker = incoming.worker
        assert worker is not None  # noqa: S101 - it is loaded
        if outgoing.worker is not None:
            outgoing.worker.standing = Standing.OUTGOING
        worker.standing = Standing.SERVING
        incoming.offers.install(entries)
        incoming.since = self._surroundings.reactor.now()
        self.active_worker = worker
        self.error = self.reload_error = ""
        self.stats.swaps += 1
        if self._is(State.SLEEPING):
            self._move(Event.WAKE)
            self._supervise(begun=True)
        elif self._is(State.RESTARTING):
            self._move(Event.RETRY)
        if self._is(State.LOADING):
            self._move(Event.LOADED)
        for registry in self._registries:
            registry.on_swapped(self.id)
            if incoming.found is not outgoing.found:
                registry.on_new_version(self.id)
        before, after = outgoing.found.manifest.version, self.version
        self._keep_offered()
        self.log.note("info", f"version {after} has taken the place of version {before}", "swap")
        self._outgoing.add(outgoing)
        self._changed()

    async def _abandon(self, incoming: Edition, error: BaseException) -> None:
        """The swap has failed: what runs goes on."""
        if incoming.worker is not None:
            incoming.worker.standing = Standing.OUTGOING
        for registry in self._registries:
            registry.on_abandoned(self.id)
        try:
            await incoming.discard("its plugin goes on without it")
        finally:
            reason = error.reason if isinstance(error, StartFailed) else "it was given up"
            self.keep(f"version {incoming.found.manifest.version}: {reason}")
            self._incoming = None
            self._changed()
            self.wake_if_called()

    # What it offers

    def add_tool(self, worker: Registrant, spec: ToolSpec) -> None:
        """Offer one more tool, of this worker. Raises `OfferRefused`."""
        self._edition_with(worker).offers.add(spec, worker)

    def remove_tool(self, worker: Registrant, name: str) -> None:
        """Take a tool of this worker back. Raises `UnknownTool`."""
        self._edition_with(worker).offers.remove(name, worker)

    def _edition_with(self, worker: Registrant) -> Edition:
        incoming = self._incoming
        if incoming is not None and worker in (incoming.worker, incoming.stand_in):
            return incoming
        return self._edition
