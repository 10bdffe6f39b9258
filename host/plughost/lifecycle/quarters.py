"""What a plugin's workers live in: the plan of their sandbox, the template process, the cgroup,
the data folder, the network."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Final

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Found
from plughost.catalog.host_names import HostRule
from plughost.catalog.scopes import path_of
from plughost.catalog.versions import fits_python
from plughost.config import HostConfig, Layer, Limits
from plughost.errors import PlughostError
from plughost.network.gateway import Gateway
from plughost.network.plan import network_plan
from plughost.network.record import Connection, Outcome
from plughost.policy.policy import Policy
from plughost.reactor import Reactor
from plughost.sandbox.cgroup import Cgroup, CgroupError, CgroupTree, NoCgroup, Tenancy
from plughost.sandbox.interpreter import find_interpreter
from plughost.sandbox.machine import Machine
from plughost.sandbox.plan import (
    Access,
    NetworkNeeds,
    PlanRefused,
    SandboxPlan,
    make_plan,
    prepare_data_folder,
)
from plughost.supervision.disk import data_folder_problem
from plughost.supervision.logbook import LogBook
from plughost.supervision.template import Template
from plughost.supervision.templates import Templates

__all__ = ["Lease", "Quarters", "SharedQuarters", "data_folder", "plan_for"]

_LEVELS: Final = {Outcome.DONE: "debug", Outcome.CUT: "info"}


@dataclass(frozen=True, slots=True)
class SharedQuarters:
    """What the quarters of all plugins share."""

    reactor: Reactor
    templates: Templates
    machine: Machine
    config: HostConfig
    groups: CgroupTree | NoCgroup
    """What holds memory, CPU and processes; where there is none, the watch does."""


def data_folder(config: HostConfig, plugin_id: str) -> Path:
    """Where a plugin keeps files of its own."""
    return config.state / "data" / plugin_id


def plan_for(
    found: Found, policy: Policy, limits: Limits, config: HostConfig, machine: Machine
) -> SandboxPlan:
    """The sandbox of one plugin's workers. Raises `PlughostError` where there can be none."""
    plugin_id = found.manifest.id
    own = config.of(plugin_id)
    python = find_interpreter(own.python)
    wanted = found.manifest.requires_python
    if wanted and not fits_python(python.version, wanted):
        raise PlughostError(
            f"it needs Python {wanted}, and {python.executable} is {python.version}: "
            f'name another with PluginConfig(python="...")'
        )
    return make_plan(
        plugin_id,
        found.code if found.text is None else None,
        data_folder(config, plugin_id),
        _access(policy, own.private_hosts),
        limits,
        config.sandbox_of(plugin_id),
        python,
        machine,
    )


def _access(policy: Policy, private_hosts: Sequence[str]) -> Access:
    rules = _rules(policy, private_hosts)
    return Access(
        readable=tuple(str(path_of(scope)) for scope in policy.scopes("fs:read")),
        writable=tuple(str(path_of(scope)) for scope in policy.scopes("fs:write")),
        variables=policy.scopes("env:read"),
        processes=policy.allows("process:spawn"),
        network=_network_needs(rules) if rules else None,
    )


def _rules(policy: Policy, private_hosts: Sequence[str]) -> tuple[HostRule, ...]:
    return tuple(
        HostRule.parse(scope, allow_private=private_hosts) for scope in policy.scopes("net:connect")
    )


def _network_needs(rules: Sequence[HostRule]) -> NetworkNeeds:
    plan = network_plan(rules)
    return NetworkNeeds(
        hosts=tuple(map(str, rules)),
        listeners=plan.listeners,
        connect_ports=plan.connect_ports,
        files={
            "/etc/hosts": plan.hosts,
            "/etc/resolv.conf": plan.resolv_conf,
            "/etc/nsswitch.conf": plan.nsswitch_conf,
        },
    )


@dataclass(frozen=True, slots=True)
class Lease:
    """What one worker gets."""

    plan: SandboxPlan
    template: Template
    tenancy: Tenancy | None


class Quarters:
    """One plugin's. Made once; a template process is taken and given back."""

    def __init__(
        self, found: Found, policy: Policy, limits: Limits, book: LogBook, around: SharedQuarters
    ) -> None:
        self._found = found
        self._policy = policy
        self._limits = limits
        self._book = book
        self._around = around
        self._id = found.manifest.id
        self._own = around.config.of(self._id)
        self._sandbox = around.config.sandbox_of(self._id)
        self._template: Template | None = None
        self._group: Cgroup | None = None
        self._network: anyio.CancelScope | None = None

    @property
    def template_pid(self) -> int | None:
        """The process id of the template."""
        return None if self._template is None else self._template.pid

    def plan(self) -> SandboxPlan:
        """The sandbox that the next worker gets. Raises `PlughostError` where there is none."""
        around = self._around
        return plan_for(self._found, self._policy, self._limits, around.config, around.machine)

    async def prepare(self) -> Lease:
        """All that the next worker needs. Raises `PlughostError`."""
        plan = self.plan()
        if waived := self._sandbox.waived:
            self._book.note("warning", f"it starts without {', '.join(waived)} of the sandbox")
        await anyio.to_thread.run_sync(self._prepare_data_folder, plan)
        if self._template is None:
            self._group = self._make_group()
            self._template = self._around.templates.take(self._own.python, self._sandbox)
            self._template.when_started(self._put_in_group)
        group = self._group
        tenancy = None if group is None else Tenancy(group, self._limits.memory)
        return Lease(plan, self._template, tenancy)

    def _prepare_data_folder(self, plan: SandboxPlan) -> None:
        prepare_data_folder(plan)
        if problem := data_folder_problem(Path(plan.data_folder), self._limits):
            raise PlanRefused(problem)

    def _make_group(self) -> Cgroup | None:
        """A group for the template, in which its workers are born. Raises `PlughostError`."""
        around = self._around
        sandbox = self._sandbox
        groups = around.groups
        if isinstance(groups, NoCgroup) and sandbox.require_cgroup:
            raise PlanRefused(f"require_cgroup cannot be met: {groups}", Layer.CGROUP)
        # Workers of a shared template would each have to be moved, which takes longer than
        # their start; the watch holds them to their limits.
        if around.config.shared_template and sandbox.require_cgroup:
            raise PlanRefused("require_cgroup needs a template for each plugin", Layer.CGROUP)
        if (
            isinstance(groups, NoCgroup)
            or around.config.shared_template
            or Layer.CGROUP in sandbox.without
        ):
            return None
        return groups.create(self._id, self._limits)

    def _put_in_group(self, template_pid: int) -> None:
        if self._group is not None:
            self._around.reactor.spawn(self._move, self._group, template_pid)

    async def _move(self, group: Cgroup, pid: int) -> None:
        # It waits for all processors, while the template imports what it needs. A worker that is
        # forked before it is over is moved by itself.
        try:
            await anyio.to_thread.run_sync(group.hold, pid)
        except CgroupError as exc:
            self._book.note("warning", str(exc))

    def open_network(self, sockets: Sequence[socket]) -> None:
        """Serve what a worker's process has made: the listeners of its network namespace."""
        if not sockets:
            return
        gateway = Gateway(
            self._id,
            _rules(self._policy, self._own.private_hosts),
            sockets,
            self._audit,
            allow_private=self._own.private_hosts,
            resolver=self._around.config.resolver,
        )
        self._network = anyio.CancelScope()
        self._around.reactor.spawn(self._serve, gateway, self._network)

    async def _serve(self, gateway: Gateway, scope: anyio.CancelScope) -> None:
        with scope:
            await gateway.serve()

    def close_network(self) -> None:
        """Cut the worker's connections: it is dead."""
        if self._network is not None:
            self._network.cancel()
            self._network = None

    def _audit(self, connection: Connection) -> None:
        where = f"{connection.name}:{connection.port}"
        through = f" ({connection.address})" if connection.address else ""
        reason = f": {connection.reason}" if connection.reason else ""
        self._book.note(
            _LEVELS.get(connection.outcome, "warning"),
            f"connection to {where}{through} {connection.outcome}{reason}; "
            f"{connection.bytes_up} bytes up, {connection.bytes_down} down, "
            f"{connection.seconds:.1f} s",
        )

    async def release(self) -> None:
        """No worker of this plugin will be started for now: give the template process back."""
        template, self._template = self._template, None
        group, self._group = self._group, None
        if template is not None:
            await self._around.templates.give_back(template)
        if group is not None:
            await anyio.to_thread.run_sync(self._remove, group)

    def _remove(self, group: Cgroup) -> None:
        groups = self._around.groups
        with suppress(OSError):  # it is gone
            group.kill()
        if group.remove() and isinstance(groups, CgroupTree):
            groups.forget(group)
