"""What a worker is to run, and the two messages that tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plughost.catalog.discovery import Found
from plughost.config import Limits
from plughost.sandbox.cgroup import Tenancy
from plughost.sandbox.plan import SandboxPlan
from plughost_protocol import LoadPlugin, Welcome, WireLimits, encode
from plughost_protocol.launch import Spawn

__all__ = ["Assignment"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A plugin, and what the operator allows it."""

    plugin: Found
    limits: Limits
    grants: tuple[str, ...]
    config: Mapping[str, Any]
    plan: SandboxPlan
    tenancy: Tenancy | None = None
    """Its time in a cgroup; None leaves its limits to the watch."""
    timeout: float | None = None
    """The deadline, in seconds, of what it offers without one; None takes that of the limits."""

    def spawn(self, key: int) -> Spawn:
        """For the template."""
        return Spawn(
            key=key,
            name=self.plugin.manifest.id,
            cwd=self.plan.working_folder,
            env=dict(self.plan.environment),
            confinement=self.plan.confinement(),
        )

    def load(self) -> bytes:
        """The parameters of `plugin.load`."""
        code = self.plugin.text
        return encode(None if code is None else LoadPlugin(code))

    def welcome(self, version: int) -> Welcome:
        """For the worker, once the protocol's version is agreed on."""
        limits = self.limits
        manifest = self.plugin.manifest
        on_disk = self.plugin.text is None
        return Welcome(
            version,
            str(self.plugin.root) if on_disk else "",
            manifest.main if on_disk else f"<{manifest.id}>",
            manifest.as_told(),
            dict(self.config),
            list(self.grants),
            WireLimits(
                limits.max_frame, limits.requests_in_flight, limits.threads, limits.log_level
            ),
        )
