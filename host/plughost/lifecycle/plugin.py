"""One plugin in the host: started, stopped, disabled, and given new versions."""

from collections.abc import Mapping
from typing import Any

import anyio

from plughost.catalog.discovery import Found
from plughost.errors import PlughostError
from plughost.exits import Cause
from plughost.rpc.standing import Registrant
from plughost.rpc.worker import Worker
from plughost_protocol import PLUGIN_DISABLE, PLUGIN_ENABLE, ToolSpec

from .candidacy import Candidacy
from .edition import Edition
from .states import Event, State, next_state

__all__ = ["HostedPlugin"]


class HostedPlugin(Candidacy):
    """A plugin, whatever its state. Its workers and editions come and go; this stays."""

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

    async def swap(self, found: Found, config: Mapping[str, Any] | None = None) -> None:
        """Load a new edition beside the one that runs, and turn everything over to it at once.

        The worker before it ends when its calls have. Raises `StartFailed` where the new edition
        does not load, `HostMisuse` where none runs: all is as it was then. Cancelled, it is so
        too, or the new edition serves, and nothing is on trial any more.
        """
        incoming, entries = await self._load_incoming(found, config)
        self.drop_trial(f"version {found.manifest.version} was loaded without a trial")
        self._turn_over(incoming, entries)

    async def _tell(self, worker: Worker, method: str) -> None:
        try:
            await worker.ask(method, None, self.limits.call_timeout)
        except PlughostError as exc:  # its own hook failed; the operator's word holds
            self.log.note("error", str(exc))

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
