"""What all plugins of a host share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from plughost.config import HostConfig
from plughost.exchange.tools import ToolRegistry
from plughost.reactor import Reactor
from plughost.services.router import ServiceRouter
from plughost.services.service import HostService

from .offered import OfferedStore
from .quarters import SharedQuarters

__all__ = ["Surroundings"]


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
    offered: OfferedStore
    """What plugins offer that are started at their first use."""
    make_room: Callable[[str, int], Awaitable[bool]]
    """End workers that nobody uses, so that this plugin's is one of so many at the most."""
    grants: Callable[[], Mapping[str, Sequence[str]]]
    """What is granted to what is loaded from now on."""
    protected: Callable[[], tuple[Path, ...]]
    """Paths that no plugin is granted: other plugins' folders, and what the host lives on."""
