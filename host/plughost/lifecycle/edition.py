"""One edition of a plugin: a reading of its manifest, what follows from it, and its worker."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import anyio
import anyio.to_thread

from plughost.catalog.activation import Activation
from plughost.catalog.config_schema import ConfigSchema
from plughost.catalog.discovery import Found
from plughost.config import HostConfig, Limits, revealed, without_secrets
from plughost.errors import PlughostError, StartFailed
from plughost.exchange.entry import Provider
from plughost.exchange.tools import ToolEntry
from plughost.exits import Cause, WorkerExit
from plughost.policy.policy import Policy
from plughost.policy.rates import RateLimiter
from plughost.rpc.assignment import Assignment
from plughost.rpc.standing import StandIn
from plughost.rpc.worker import Worker
from plughost.services.registrations import Record
from plughost.supervision.logbook import LogBook
from plughost.units import parse_bytes, parse_share
from plughost_protocol import Call, Description

from .offered import Offered, offered_key
from .offers import Offers
from .quarters import Lease, Quarters
from .surroundings import Surroundings

__all__ = ["Edition", "EditionOwner", "NoRoom", "limits_for"]


class EditionOwner(Provider, Protocol):
    """The plugin, as its editions need it."""

    log: LogBook
    rates: RateLimiter

    def on_worker_exit(self, edition: "Edition", worker: Worker, exit: WorkerExit) -> None:
        """A worker of the edition is dead and reaped."""


class NoRoom(StartFailed):
    """Raised when the host runs as many workers as it may."""


class Edition:
    """What the host has made of one reading of a plugin. It has one worker at a time."""

    def __init__(
        self,
        found: Found,
        config: Mapping[str, Any],
        owner: EditionOwner,
        around: Surroundings,
    ) -> None:
        """`config` is the operator's, defaults not filled in."""
        self.found = found
        self.config = config
        self.limits = limits_for(found, around.config)
        self.policy = Policy(owner.id, found.manifest.asks(), around.grants())
        self.timeout = found.manifest.limits.timeout or self.limits.call_timeout
        """The deadline, in seconds, of what it offers without one."""
        self.offers = Offers(owner, self.policy, around.tools)
        self.quarters = Quarters(found, self.policy, self.limits, owner.log, around.quarters)
        self.worker: Worker | None = None
        self.since = 0.0
        """When its worker was ready, on the reactor's clock; 0 before."""
        own = around.config.of(owner.id)
        self.activation = Activation.parse(
            found.manifest.activation if own.activation is None else own.activation
        )
        """What starts it."""
        self.offered: Offered | None = None
        """What its worker offered when it was loaded; of a plugin that is started at its first
        use, else nobody asks."""
        self.stand_in = StandIn(owner.id, self.limits, self.timeout)
        """In the place of its worker, while the plugin sleeps."""
        self._key = ""
        self._owner = owner
        self._around = around
        self._draining: anyio.CancelScope | None = None

    @cached_property
    def config_schema(self) -> ConfigSchema:
        """What its configuration may be."""
        return ConfigSchema(self.found.manifest.config_schema)

    @property
    def live_worker(self) -> Worker | None:
        """Its worker, until that is dead and reaped."""
        return self.worker if self.worker is not None and self.worker.exit is None else None

    async def prepare(self) -> tuple[Lease, Mapping[str, Any]]:
        """What its next worker needs, and the plugin's own configuration.

        Raises `PlughostError` where there can be no worker.
        """
        around, plugin_id = self._around, self._owner.id
        if refusal := self.policy.refusal(around.protected):
            raise StartFailed(plugin_id, refusal)
        try:
            values = self.config_schema.complete(revealed(self.config))
        except ValueError as exc:
            why = without_secrets(str(exc), self.config)
            reason = f"its configuration does not fit its config_schema: {why}"
            raise StartFailed(plugin_id, reason) from exc
        await self._find_room()  # first: else who waits for room starts one template after another
        lease = await self.quarters.prepare()
        if self.activation.is_lazy:
            self._key = await self.key()
        # Last: whoever awaits anything between this and `load` may find its place taken.
        await self._find_room()
        return lease, values

    async def _find_room(self) -> None:
        around, plugin_id = self._around, self._owner.id
        most = around.config.totals.workers
        if most is None:
            return
        if not await around.make_room(plugin_id, most):
            reason = f"the host runs {most} workers, as many as its total allows"
            raise NoRoom(plugin_id, reason)

    async def load(self, lease: Lease, values: Mapping[str, Any]) -> list[ToolEntry]:
        """Start a worker and load the plugin in it; the tools that it offers.

        Raises `StartFailed` once the worker is dead and reaped.
        """
        worker = self.worker = Worker(
            self._around.reactor,
            lease.template,
            Assignment(
                plugin=self.found,
                limits=self.limits,
                grants=tuple(map(str, self.policy.granted)),
                config=values,
                plan=lease.plan,
                timeout=self.timeout,
                tenancy=lease.tenancy,
            ),
            self._owner.log,
            self,
        )
        record = self._around.services.record(worker) if self.activation.is_lazy else None
        self._tell_loading()
        description = await worker.start()
        try:
            entries = await self.offers.prepare(description, worker)
        except PlughostError as exc:  # what it offers is not acceptable
            worker.end(Cause.LOAD_FAILED, str(exc))
            await worker.wait()
            raise StartFailed(self._owner.id, str(exc), worker.exit) from exc
        if record is not None:
            await self._write_down(record, description)
        return entries

    async def _write_down(self, record: Record, description: Description) -> None:
        if record.is_too_long:
            # Not what an earlier worker offered: that would stand for this one, too.
            self.offered = None
            self._owner.log.note(
                "warning",
                "it does not fall asleep until it is started anew: it registers more while it is "
                "loaded than is kept",
            )
            return
        # Its files may have changed while they were read.
        same = self._key == await self.key()
        self.offered = Offered(self._key if same else "", description, record.made)

    async def key(self) -> str:
        """What decides what it offers, as it is now; empty where it cannot be said."""
        granted = list(map(str, self.policy.granted))
        try:
            return await anyio.to_thread.run_sync(offered_key, self.found, self.config, granted)
        except OSError:  # it is being changed
            return ""

    async def recall(self, offered: Offered) -> list[ToolEntry]:
        """Register without a worker what one has offered; the tools.

        Raises `PlughostError` for what is not acceptable, or not granted, any more.
        """
        self._tell_loading()
        await self._around.services.register(self.stand_in, self.policy, offered.registrations)
        return await self.offers.prepare(offered.description, self.stand_in)

    def _tell_loading(self) -> None:
        for registry in self._around.registries:
            registry.on_loading(self._owner.id)

    async def retire(self, seconds: float) -> None:
        """End its worker in good order once its calls have ended or time is up.

        The time is `seconds`, or what `hurry` says. Returns when it is reaped, even if cancelled.
        """
        worker = self.live_worker
        if worker is None:
            return
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + seconds) as self._draining:
                await worker.channel.drained()
        finally:
            self._draining = None
            await worker.stop()

    def hurry(self, seconds: float) -> None:
        """Give a worker that `retire` waits for no more than so many seconds."""
        if self._draining is not None:
            self._draining.deadline = min(
                self._draining.deadline, anyio.current_time() + max(seconds, 0.0)
            )

    async def discard(self, reason: str) -> None:
        """Kill its worker, if it has one, and give back what it lives in."""
        worker = self.live_worker
        with anyio.CancelScope(shield=True):
            if worker is not None:
                worker.end(Cause.STOPPED, reason)
                await worker.wait()
            await self.quarters.release()

    # WorkerOwner

    def on_confined(self, worker: Worker) -> None:
        self.quarters.open_network(worker.process.take_sockets())

    def on_request(self, worker: Worker, call: Call) -> None:
        self._around.services.start(worker, self.policy, self._owner.rates, call)

    def on_request_cancelled(self, worker: Worker, call_id: int) -> None:
        self._around.services.cancel(worker, call_id)

    def on_exit(self, worker: Worker, exit: WorkerExit) -> None:
        self.quarters.close_network()
        self._around.services.forget(worker)
        self._owner.on_worker_exit(self, worker, exit)


def limits_for(found: Found, config: HostConfig) -> Limits:
    """The operator's limits, where the plugin does not ask for less."""
    limits = config.limits_of(found.manifest.id)
    wishes = found.manifest.limits
    memory = limits.memory if wishes.memory is None else parse_bytes(wishes.memory)
    cpu = limits.cpu if wishes.cpu is None else parse_share(wishes.cpu)
    return replace(limits, memory=min(memory, limits.memory), cpu=min(cpu, limits.cpu))
