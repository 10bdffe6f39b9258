"""What a worker is to run, and the two messages that tell it."""

import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from plughost.catalog.discovery import Found
from plughost.config import Limits
from plughost.units import MiB
from plughost_protocol import Welcome, WireLimits
from plughost_protocol.launch import Spawn

__all__ = ["Assignment"]

# Address space beyond the memory limit: interpreter, libraries and thread stacks map far more
# than they touch. The watch sees what is touched; this stops what grows faster than it looks.
_ADDRESS_SPACE_SLACK: Final = 1024 * MiB


@dataclass(frozen=True, slots=True)
class Assignment:
    """A plugin, and what the operator allows it."""

    plugin: Found
    limits: Limits
    grants: tuple[str, ...]
    config: Mapping[str, Any]
    fork: bool
    """Whether the worker is a fork of the template, or a fresh interpreter."""

    def spawn(self, key: int) -> Spawn:
        """For the template. The environment is an allow-list: nothing of the host's comes along."""
        root = str(self.plugin.root)
        zone = os.environ.get("TZ", "UTC")
        return Spawn(
            key=key,
            name=self.plugin.manifest.id,
            cwd=root,
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": root, "TZ": zone},
            rlimits=[
                (resource.RLIMIT_CORE, 0),
                (resource.RLIMIT_NOFILE, self.limits.open_files),
                (resource.RLIMIT_AS, self.limits.memory + _ADDRESS_SPACE_SLACK),
            ],
            interpreter="" if self.fork else sys.executable,
        )

    def welcome(self, version: int) -> Welcome:
        """For the worker, once the protocol's version is agreed on."""
        limits = self.limits
        manifest = self.plugin.manifest
        return Welcome(
            version,
            str(self.plugin.root),
            manifest.main,
            msgspec.to_builtins(manifest),
            dict(self.config),
            list(self.grants),
            WireLimits(limits.max_frame, limits.requests_in_flight, limits.threads),
        )
