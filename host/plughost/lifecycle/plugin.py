"""One plugin in the host: its workers one after the other, and the calls that wait for them."""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from plughost.catalog.config_schema import ConfigSchema
from plughost.catalog.discovery import Found
from plughost.config import HostConfig, Limits, revealed, without_secrets
from plughost.errors import CallTimeout, NotRunning, Overloaded, PlughostError, StartFailed
from plughost.exchange.entry import CompileBudget
from plughost.exchange.tools import ToolRegistry
from plughost.exits import Cause, WorkerExit
from plughost.policy.policy import Policy
from plughost.policy.rates import RateLimiter
from plughost.reactor import Reactor, Waiter
from plughost.rpc.assignment import Assignment
from plughost.rpc.calls import CallTimes
from plughost.rpc.worker import Worker
from plughost.services.router import ServiceRouter
from plughost.services.service import HostService
from plughost.supervision.logbook import LogBook
from plughost.supervision.restart import GiveUp, RestartTracker
from plughost.units import format_seconds, parse_bytes, parse_share
from plughost_protocol import (
    PLUGIN_DISABLE,
    PLUGIN_ENABLE,
    Call,
    CallMeta,
    encode,
)

from .offers import Offers
from .quarters import Quarters, SharedQuarters
from .states import Event, State, next_state

__all__ = ["HostedPlugin", "PluginStats", "Surroundings", "limits_for"]


_STACK_LINES: Final = 100  # of a dead worker's threads, in its plugin's log


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all plugins of a host share."""

    reactor: Reactor
    quarters: SharedQuarters
    tools: ToolRegistry
    services: ServiceRouter
    registries: tuple[HostService, ...]
    """Those that are told of each plugin's life."""
    config: HostConfig
    restart_gate: anyio.Semaphore
    live_workers: Callable[[], Sized]
    protected: tuple[Path, ...]
    """Paths that no plugin is granted: other plugins' folders, and what the host lives on."""


@dataclass(slots=True)
class PluginStats:
    """What has happened to a plugin since the host started."""

    calls: int = 0
    errors: int = 0
    timeouts: int = 0
    restarts: int = 0


class HostedPlugin:
    """A plugin, whatever its state. Its worker comes and goes; this stays."""

    def __init__(self, found: Found, book: LogBook, surroundings: Surroundings) -> None:
        self.found = found
        self.id = found.manifest.id
        self.version = found.manifest.version
        self.log = book
        self.stats = PluginStats()
        self.last_exit: WorkerExit | None = None
        """How the last worker ended."""
        self.error = ""
        """Why it is in `error`, in one line."""
        self.limits = limits_for(found, surroundings.config)
        self.policy = Policy(self.id, found.manifest.asks(), surroundings.config.grants)
        config = surroundings.config
        self.rates = RateLimiter(self.id, config.rates_of(self.id), surroundings.reactor.now)
        self.timeout = found.manifest.limits.timeout or self.limits.call_timeout
        """The deadline, in seconds, of what it offers without one."""
        self.budget = CompileBudget()
        self.offers = Offers(self, self.policy, surroundings.tools)
        """Its tools."""
        self.active_worker: Worker | None = None
        """The worker that takes calls now."""
        self._state = State.UNLOADED
        self._surroundings = surroundings
        self._worker: Worker | None = None
        self._quarters = Quarters(found, self.policy, self.limits, book, surroundings.quarters)
        self._since = 0.0
        self._settled: list[Waiter[None]] = []
        self._stopping = anyio.Event()
        self._runs = False
        own = surroundings.config.of(self.id)
        self.config: Mapping[str, Any] = own.config
        """The operator's values, without the defaults of its `config_schema`."""
        self._tracker = RestartTracker(
            own.restart or surroundings.config.restart, surroundings.reactor.now
        )

    # What it is

    @property
    def state(self) -> State:
        return self._state

    @property
    def worker(self) -> Worker | None:
        """The worker that lives, ready or not."""
        return self._worker

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._worker.pid if self._worker is not None else None

    @property
    def template_pid(self) -> int | None:
        """The process that its workers come from: the first that the host started for it."""
        return self._quarters.template_pid

    @property
    def restarts(self) -> int:
        """How many times a worker was started in place of a dead one."""
        return self.stats.restarts

    @property
    def uptime(self) -> float:
        """Seconds since the worker was ready; 0 without one."""
        return self._surroundings.reactor.now() - self._since if self.active_worker else 0.0

    @property
    def is_unresponsive(self) -> bool:
        """Whether its worker's message loop is silent for longer than it may be."""
        return self._worker is not None and self._worker.unresponsive

    def __repr__(self) -> str:
        calls = self._worker.channel.open_calls if self._worker is not None else 0
        return f"<Plugin {self.id} {self._state.name} pid={self.pid} calls={calls}>"

    # Its life

    async def start(self) -> None:
        """Start it, and return when it is active. Raises `StartFailed` if the first try fails.

        After that, its workers are restarted as the policy says, until `stop`.
        """
        self._move(Event.START)
        await self._first_worker()

    async def _first_worker(self) -> None:
        self._tracker.forgive()
        self._runs = True
        self._stopping = anyio.Event()
        self._surroundings.reactor.spawn(self._run)
        while self._state is State.LOADING:
            await self._next_settlement()
        if self._state is not State.ACTIVE:
            raise StartFailed(self.id, self.error, self.last_exit)

    async def stop(self, drain: float = 0.0) -> None:
        """End its worker in good order, once its calls have ended or `drain` seconds passed."""
        if self._state in (State.UNLOADED, State.DRAINING):
            return
        self._move(Event.STOP)
        self.active_worker = None
        self._settle()
        worker = self._worker
        if worker is not None and worker.exit is None:
            with anyio.move_on_after(drain):
                await worker.channel.drained()
            await worker.stop()
        self._stopping.set()
        with anyio.CancelScope(shield=True):
            while self._runs:
                await self._next_settlement()
        self.offers.install([])
        self._move(Event.STOPPED)

    async def disable(self) -> None:
        """Take no more calls, and run `on_disable`; the worker lives on with what it holds."""
        self._move(Event.DISABLE)
        worker, self.active_worker = self.active_worker, None
        self._settle()
        if worker is not None:
            await self._tell(worker, PLUGIN_DISABLE)

    async def enable(self) -> None:
        """Take calls again, and run `on_enable`. Raises `StartFailed` where that takes a start."""
        self._move(Event.ENABLE)
        worker = self._worker
        if worker is None or worker.exit is not None:
            await self._first_worker()
            return
        await self._tell(worker, PLUGIN_ENABLE)
        if self._state is State.LOADING and worker.exit is None:
            self._activate(worker)

    async def _tell(self, worker: Worker, method: str) -> None:
        try:
            times = CallTimes(timeout=self.limits.call_timeout, total=self.limits.call_timeout)
            await worker.channel.request(
                method, encode(None), times, CallMeta(), label=f"{self.id} ({method})"
            )
        except PlughostError as exc:  # its own hook failed; the operator's word holds
            self.log.note("error", str(exc))

    def refuse(self, reason: str) -> None:
        """It cannot be started at all, for this reason."""
        self._give_up(reason)

    async def _run(self) -> None:
        """One worker after the other, until it is stopped or given up."""
        try:
            await self._start_worker()
            while (delay := await self._wait_for_death()) is not None:
                with anyio.move_on_after(delay):
                    await self._stopping.wait()
                async with self._surroundings.restart_gate:
                    if self._state is not State.RESTARTING:
                        return
                    self._move(Event.RETRY)
                    self.stats.restarts += 1
                    await self._start_worker()
        finally:
            with anyio.CancelScope(shield=True):
                await self._quarters.release()
            self._runs = False
            self._settle()

    async def _start_worker(self) -> None:
        around = self._surroundings
        if refusal := self.policy.refusal(around.protected):
            self._give_up(refusal)
            return
        try:
            values = ConfigSchema(self.found.manifest.config_schema).complete(revealed(self.config))
        except ValueError as exc:
            why = without_secrets(str(exc), self.config)
            self._give_up(f"its configuration does not fit its config_schema: {why}")
            return
        try:
            lease = await self._quarters.prepare()
        except PlughostError as exc:
            if self.state is State.LOADING:
                self._give_up(str(exc))
            return
        if self.state is not State.LOADING:  # it was stopped meanwhile
            return
        most = around.config.totals.workers
        if most is not None and len(around.live_workers()) >= most:
            self._give_up(f"the host runs {most} workers, as many as its total allows")
            return
        assignment = Assignment(
            plugin=self.found,
            limits=self.limits,
            grants=tuple(map(str, self.policy.granted)),
            config=values,
            plan=lease.plan,
            tenancy=lease.tenancy,
        )
        worker = Worker(around.reactor, lease.template, assignment, self.log, self)
        self._worker = worker
        for registry in around.registries:
            registry.on_loading(self.id)
        try:
            description = await worker.start()
            entries = await self.offers.prepare(description)
        except StartFailed:
            return
        except PlughostError as exc:  # what it offers is not acceptable
            worker.end(Cause.LOAD_FAILED, str(exc))
            return
        if self._state is State.LOADING and worker.exit is None:
            self.offers.install(entries)
            self._since = around.reactor.now()
            self._activate(worker)

    def _activate(self, worker: Worker) -> None:
        self.active_worker = worker
        self.error = ""
        self._move(Event.LOADED)
        for registry in self._surroundings.registries:
            registry.on_active(self.id)
        self._settle()

    async def _wait_for_death(self) -> float | None:
        """Seconds until the next start, once the worker is dead; None if there will be none."""
        worker = self._worker
        if worker is None:  # it was not even started
            return None
        await worker.wait()
        self._worker = None
        end = self.last_exit
        if self._state is State.DRAINING or end is None:
            return None
        for line in end.stack.splitlines()[:_STACK_LINES]:
            self.log.note("warning", line)
        uptime = self._surroundings.reactor.now() - self._since if self._since else 0.0
        self._since = 0.0
        if self._state is State.DISABLED:
            self._move(Event.DIED)
            self.log.note("warning", f"{end}; it is disabled, so it stays down")
            return None
        decision = self._tracker.died(end, uptime)
        if isinstance(decision, GiveUp):
            self._give_up(f"{end} ({decision.reason})")
            return None
        self.error = str(end)
        self.log.note("warning", f"{end}; starting again in {format_seconds(decision.delay)}")
        self._move(Event.DIED)
        self._settle()
        return decision.delay

    def _give_up(self, reason: str) -> None:
        self.error = reason
        self.log.note("error", f"{reason}; it stays down until someone acts")
        self._move(Event.GAVE_UP)
        self._settle()

    def _move(self, event: Event) -> None:
        self._state = next_state(self._state, event)
        for registry in self._surroundings.registries:
            if self._state in (State.UNLOADED, State.ERROR):
                registry.on_unloaded(self.id)
            elif self._state is State.RESTARTING:
                registry.on_died(self.id)

    # Provider

    async def wait_for_worker(self, timeout: float) -> Worker:
        """The worker, once there is one. Raises `TimeoutError`, `NotRunning`, `Overloaded`."""
        with anyio.fail_after(timeout):
            while self.active_worker is None:
                # Still active without a worker: it has died, and what follows is being decided.
                if self._state not in (State.LOADING, State.RESTARTING, State.ACTIVE):
                    raise NotRunning(self.id, self._state, self.error)
                if len(self._settled) >= self.limits.calls_in_flight:
                    raise Overloaded(self.id, "calls waiting", self.limits.calls_in_flight)
                await self._next_settlement()
        return self.active_worker

    async def call_handler(
        self,
        method: str,
        params: object,
        *,
        label: str,
        timeout: float | None = None,
        meta: CallMeta | None = None,
        wait: bool = True,
    ) -> Any:
        """The answer of what the plugin has registered, counted as a call; see `PluginCaller`."""
        limits = self.limits
        timeout = min(timeout or limits.call_timeout, limits.call_total)
        end = self._surroundings.reactor.now() + timeout
        meta = meta or CallMeta()
        try:
            worker = self.active_worker
            if worker is None and not wait:
                raise NotRunning(self.id, self._state, self.error)
            if worker is None:
                try:
                    worker = await self.wait_for_worker(timeout)
                except TimeoutError:
                    raise CallTimeout(label, timeout) from None
                timeout = max(end - self._surroundings.reactor.now(), 0.001)
            answer = await worker.channel.request(
                method,
                encode(params),
                CallTimes(timeout=timeout, total=limits.call_total),
                msgspec.structs.replace(meta, timeout_ms=max(1, int(timeout * 1000))),
                label=label,
            )
        except PlughostError as exc:
            self.count(exc)
            raise
        self.count(None)
        return answer

    def count(self, error: PlughostError | None) -> None:
        stats = self.stats
        stats.calls += 1
        if error is not None:
            stats.errors += 1
            stats.timeouts += isinstance(error, CallTimeout)

    async def _next_settlement(self) -> None:
        waiter = self._surroundings.reactor.waiter()
        self._settled.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._settled:
                self._settled.remove(waiter)

    def _settle(self) -> None:
        waiting, self._settled = self._settled, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # WorkerOwner

    def on_confined(self, worker: Worker) -> None:
        self._quarters.open_network(worker.process.take_sockets())

    def on_request(self, worker: Worker, call: Call) -> None:
        self._surroundings.services.start(worker, self.policy, self.rates, call)

    def on_request_cancelled(self, worker: Worker, call_id: int) -> None:
        self._surroundings.services.cancel(worker, call_id)

    def on_exit(self, worker: Worker, exit: WorkerExit) -> None:
        self._quarters.close_network()
        self._surroundings.services.forget(worker)
        if self.active_worker is worker:
            self.active_worker = None
        self.last_exit = exit


def limits_for(found: Found, config: HostConfig) -> Limits:
    """The operator's limits, where the plugin does not ask for less."""
    limits = config.limits_of(found.manifest.id)
    wishes = found.manifest.limits
    memory = limits.memory if wishes.memory is None else parse_bytes(wishes.memory)
    cpu = limits.cpu if wishes.cpu is None else parse_share(wishes.cpu)
    return replace(limits, memory=min(memory, limits.memory), cpu=min(cpu, limits.cpu))
