"""The workers of one plugin, one after the other: its state, its restarts, its editions."""

from collections.abc import Mapping
from typing import Any, Final

import anyio

from plughost.catalog.config_schema import ConfigSchema
from plughost.catalog.discovery import Found
from plughost.config import Limits
from plughost.errors import PlughostError, StartFailed
from plughost.exchange.entry import CompileBudget
from plughost.exits import Cause, WorkerExit
from plughost.policy.policy import Policy
from plughost.policy.rates import RateLimiter
from plughost.rpc.standing import Standing
from plughost.rpc.worker import Worker
from plughost.supervision.logbook import LogBook, Topic
from plughost.supervision.restart import GiveUp, RestartTracker
from plughost.units import format_seconds

from .callee import Callee
from .changes import Changes
from .edition import Edition
from .outgoing import Outgoing
from .states import Event, State, next_state
from .surroundings import Surroundings

__all__ = ["Succession"]

_LIVE: Final = (State.LOADING, State.ACTIVE, State.RESTARTING, State.DISABLED)
_STACK_LINES: Final = 100  # of a dead worker's threads, in its plugin's log


class Succession(Callee):
    """Starts a worker, and another one for each that dies, as the restart policy says."""

    def __init__(self, found: Found, book: LogBook, surroundings: Surroundings) -> None:
        config, reactor = surroundings.config, surroundings.reactor
        super().__init__(found.manifest.id, reactor)
        self.log = book
        self.last_exit: WorkerExit | None = None
        """How the last worker ended; one that was replaced ended as planned, and does not count."""
        self.reload_error = ""
        """Why the last reload failed, while the edition before it goes on; else empty."""
        self.rates = RateLimiter(self.id, config.rates_of(self.id), reactor.now)
        self.budget = CompileBudget()
        self._surroundings = surroundings
        self._registries = surroundings.registries
        own = config.of(self.id)
        self._edition = Edition(found, own.config, self, surroundings)
        self._incoming: Edition | None = None
        self._outgoing = Outgoing(reactor, self._changed)
        self._changes = Changes(reactor)
        self._runs = False
        self._lives = 0
        self._due = 0.0
        self._tracker = RestartTracker(own.restart or config.restart, reactor.now)

    # What it is

    @property
    def found(self) -> Found:
        """Its folder, and its manifest as it was last loaded."""
        return self._edition.found

    @property
    def version(self) -> str:
        return self._edition.found.manifest.version

    @property
    def limits(self) -> Limits:
        return self._edition.limits

    @property
    def policy(self) -> Policy:
        """What it may do."""
        return self._edition.policy

    @property
    def timeout(self) -> float:
        """The deadline, in seconds, of what it offers without one."""
        return self._edition.timeout

    @property
    def config(self) -> Mapping[str, Any]:
        """The operator's values for it, as it was last loaded with them."""
        return self._edition.config

    @config.setter
    def config(self, values: Mapping[str, Any]) -> None:
        self._edition.config = values

    @property
    def config_schema(self) -> ConfigSchema:
        """What its configuration may be."""
        return self._edition.config_schema

    @property
    def worker(self) -> Worker | None:
        """The worker that lives, ready or not; of several, the one that has come to stay."""
        return self._edition.worker

    @property
    def workers(self) -> list[Worker]:
        """All that live, those included that replace it and that it replaces."""
        editions = [self._edition, *self._outgoing]
        if self._incoming is not None:
            editions.append(self._incoming)
        return [edition.worker for edition in editions if edition.worker is not None]

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self.worker.pid if self.worker is not None else None

    @property
    def template_pid(self) -> int | None:
        """The process that its workers come from: the first that the host started for it."""
        return self._edition.quarters.template_pid

    @property
    def restarts(self) -> int:
        """How many times a worker was started in place of a dead one."""
        return self.stats.restarts

    @property
    def uptime(self) -> float:
        """Seconds since the worker was ready; 0 without one."""
        if self.active_worker is None:
            return 0.0
        return self._surroundings.reactor.now() - self._edition.since

    @property
    def is_unresponsive(self) -> bool:
        """Whether its worker's message loop is silent for longer than it may be."""
        return self.worker is not None and self.worker.unresponsive

    def __repr__(self) -> str:
        calls = sum(worker.channel.open_calls for worker in self.workers)
        return f"<Plugin {self.id} {self._state.name} pid={self.pid} calls={calls}>"

    # One worker after the other

    def _edition_of(self, found: Found, config: Mapping[str, Any] | None = None) -> Edition:
        values = self._edition.config if config is None else config
        return Edition(found, values, self, self._surroundings)

    async def _first_worker(self) -> None:
        self._tracker.forgive()
        self._supervise()
        while self._state is State.LOADING:
            await self._changes.next()
        if self._state is not State.ACTIVE:
            raise StartFailed(self.id, self.error, self.last_exit)

    async def _end_of_run(self) -> None:
        """Return when what is left of an earlier life has been given back."""
        while self._runs:
            await self._changes.next()

    def _supervise(self, *, begun: bool = False) -> None:
        """Have one worker after the other from now on; `begun`: the first one serves already."""
        self._lives += 1
        if self._runs:  # the run before has ended, but not yet given all back
            spawn = self._surroundings.reactor.spawn
            spawn(self._run_next, self._lives, self._edition if begun else None)
        else:
            self._runs = True
            self._surroundings.reactor.spawn(self._run, begun)

    async def _run_next(self, life: int, begun: Edition | None) -> None:
        await self._end_of_run()
        is_next = life == self._lives and self._state in _LIVE
        if is_next and (self._is(State.LOADING) if begun is None else self._edition is begun):
            self._runs = True
            await self._run(begun is not None)
        elif begun is not None:  # stopped meanwhile
            await begun.quarters.release()

    async def _run(self, begun: bool) -> None:
        """One worker after the other, until it is stopped or given up."""
        try:
            if not begun:
                await self._start_worker()
            while await self._is_due_again():
                async with self._surroundings.restart_gate:
                    if self._state is State.RESTARTING and self._incoming is None:
                        self._move(Event.RETRY)
                        self.stats.restarts += 1
                        await self._start_worker()
        finally:
            with anyio.CancelScope(shield=True):
                await self._edition.quarters.release()
            self._runs = False
            self._changed()

    async def _start_worker(self) -> None:
        edition = self._edition
        try:
            lease, values = await edition.prepare()
        except PlughostError as exc:
            if self._state is State.LOADING:  # else it was stopped meanwhile
                self._on_refused(exc)
            return
        if not self._is(State.LOADING):
            return
        try:
            entries = await edition.load(lease, values)
        except StartFailed:
            return
        worker = edition.live_worker
        if self._is(State.LOADING) and worker is not None:
            edition.offers.install(entries)
            edition.since = self._surroundings.reactor.now()
            self._activate(worker)

    def _activate(self, worker: Worker) -> None:
        worker.standing = Standing.SERVING
        self.active_worker = worker
        self.error = self.reload_error = ""
        self._move(Event.LOADED)
        for registry in self._registries:
            registry.on_active(self.id)
        self._changed()

    async def _is_due_again(self) -> bool:
        """Wait until a worker is to be started in place of a dead one; False if none will be."""
        now = self._surroundings.reactor.now
        while True:
            worker = self._edition.worker
            end = None if worker is None else worker.exit
            if worker is not None and end is None:
                await self._changes.next()
            elif self._incoming is not None:
                # It may be there before a restart would be: calls wait for either.
                if end is not None and self._state is State.ACTIVE:
                    self._fall(str(end))
                await self._changes.next()
            elif end is not None:
                self._judge(end)
            elif self._state is not State.RESTARTING:
                return False
            elif (left := self._due - now()) <= 0:
                return True
            else:
                with anyio.move_on_after(left):
                    await self._changes.next()

    def _judge(self, end: WorkerExit) -> None:
        """What follows from a worker's death."""
        edition = self._edition
        edition.worker = None
        now = self._surroundings.reactor.now()
        uptime = now - edition.since if edition.since else 0.0
        edition.since = 0.0
        if self._state is State.DRAINING:
            return
        self._note_stack(end)
        if self._state is State.DISABLED:
            self._move(Event.DIED)
            self.log.note("warning", f"{end}; it is disabled, so it stays down")
            return
        decision = self._tracker.died(end, uptime)
        if isinstance(decision, GiveUp):
            about: Topic = "load_failure" if end.cause is Cause.LOAD_FAILED else ""
            self._give_up(f"{end} ({decision.reason})", about)
            return
        self._due = now + decision.delay
        self.log.note("warning", f"{end}; starting again in {format_seconds(decision.delay)}")
        if self._state is not State.RESTARTING:
            self._fall(str(end))

    def _note_stack(self, end: WorkerExit) -> None:
        for line in end.stack.splitlines()[:_STACK_LINES]:
            self.log.note("warning", line)

    def _fall(self, reason: str) -> None:
        """Its worker is dead, and another one will come."""
        self.error = reason
        self._move(Event.DIED)
        self._changed()

    def _on_refused(self, exc: PlughostError) -> None:
        """There can be no worker."""
        self._give_up(exc.reason if isinstance(exc, StartFailed) else str(exc), "load_failure")

    def _give_up(self, reason: str, about: Topic = "") -> None:
        self.error = reason
        self.log.note("error", f"{reason}; it stays down until someone acts", about)
        self._move(Event.GAVE_UP)
        self._changed()

    def on_worker_exit(self, edition: Edition, worker: Worker, exit: WorkerExit) -> None:
        if self.active_worker is worker:
            self.active_worker = None
        if edition is self._edition:
            self.last_exit = exit
        elif edition in self._outgoing and exit.cause is not Cause.STOPPED:
            self.log.note("warning", f"the worker that was replaced: {exit}")
        self._changes.tell()

    # Its state

    def _is(self, state: State) -> bool:
        """Whether it is in this state by now: after a wait, it may be another one."""
        return self._state is state

    def _move(self, event: Event) -> None:
        self._state = next_state(self._state, event)
        for registry in self._registries:
            if self._state in (State.UNLOADED, State.ERROR):
                registry.on_unloaded(self.id)
            elif self._state is State.RESTARTING:
                registry.on_died(self.id)

    def _changed(self) -> None:
        self._callers.tell()
        self._changes.tell()
