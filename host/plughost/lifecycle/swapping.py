"""Another edition of a plugin in the place of the one that serves."""

from collections.abc import Callable, Mapping
from typing import Any

from plughost.catalog.discovery import Found
from plughost.errors import HostMisuse, PlughostError, StartFailed
from plughost.exchange.tools import ToolEntry
from plughost.rpc.standing import Standing

from .edition import Edition
from .sleeper import Sleeper
from .states import Event, State

__all__ = ["Swapping"]


class Swapping(Sleeper):
    """Loads a new edition beside the one that runs, and turns everything over to it at once."""

    @property
    def can_be_swapped(self) -> bool:
        """Whether another edition can take the place of what serves, or stands in for it."""
        return self._state in (State.ACTIVE, State.RESTARTING, State.SLEEPING)

    async def alone(self) -> None:
        """Return when no worker lives that another one has replaced, or that was put to sleep."""
        while self._outgoing:
            await self._changes.next()

    async def settled(self) -> None:
        """Return when it is no longer loading, and no worker's death is being judged."""
        while self._state is State.LOADING or (
            self._state is State.ACTIVE and self.active_worker is None
        ):
            await self._changes.next()

    def keep(self, reason: str) -> None:
        """What is in its folder by now cannot take the place of what runs, for this reason."""
        self.reload_error = reason
        self.log.note("error", f"not reloaded, {reason}; what runs goes on", "load_failure")

    async def _load_incoming(
        self,
        found: Found,
        config: Mapping[str, Any] | None = None,
        still: Callable[[], None] | None = None,
    ) -> tuple[Edition, list[ToolEntry]]:
        """A new edition, loaded beside the one that runs. `still` raises `StartFailed` if it is
        not wanted any more by then."""
        while self._outgoing.is_full():
            await self._changes.next()
        if not self.can_be_swapped:
            raise HostMisuse(f"a plugin that is {self._state} cannot be swapped")
        if self._incoming is not None:
            raise HostMisuse("it is being swapped already")
        incoming = self._incoming = self._edition_of(found, config)
        try:
            entries = await self._load_beside(incoming)
            if still is not None:
                still()
        except BaseException as exc:
            await self._abandon(incoming, exc)
            raise
        return incoming, entries

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
