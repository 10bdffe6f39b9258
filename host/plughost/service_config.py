"""What an operator decides about the host services: frozen data, one class a service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from .errors import HostMisuse

__all__ = [
    "EventsConfig",
    "HooksConfig",
    "HttpConfig",
    "MemoryConfig",
    "Rates",
    "SchedulerConfig",
    "StorageConfig",
    "UsersConfig",
]

# What plugins do with each other is bounded by calls in flight, depth and deadlines as well.
_OWN_BUCKETS: Final[Mapping[str, int | None]] = MappingProxyType(
    {"events": 600, "services": 6000, "tools": 6000}
)


@dataclass(frozen=True, slots=True)
class Rates:
    """How many operations a minute each plugin may ask of the host.

    A token bucket that holds a minute's worth, so that a burst is possible.
    """

    operations: int | None = 100
    """Of all services that have no bucket of their own, together; None for no limit."""
    services: Mapping[str, int | None] = field(default_factory=dict)
    """Buckets of their own, by service: `{"storage": 6000}`; None for no limit. By default
    `events` has 600, `services` and `tools` have 6000."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "services", MappingProxyType({**_OWN_BUCKETS, **self.services}))
        for name, rate in (("operations", self.operations), *self.services.items()):
            if rate is not None and not rate > 0:
                raise HostMisuse(f"Rates: {name} must be more than 0 a minute, not {rate}")


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where plugins' values are kept."""

    url: str = ""
    """`redis://`, `rediss://` or `unix://` for a Redis server; empty for the embedded store,
    `storage.db` in the state folder."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            # It can hold a password: it is not repeated.
            raise HostMisuse("StorageConfig.url begins with redis://, rediss:// or unix://")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The requests that the host makes for plugins."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Tasks that run again and again."""


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What is remembered of users."""


@dataclass(frozen=True, slots=True)
class UsersConfig:
    """Who the users are."""


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """The bus between plugins and the application."""


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """How long hooks may take, and what follows where they fail."""
