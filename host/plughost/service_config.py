"""What an operator decides about the host services: frozen data, one class a service."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Final

from .errors import HostMisuse
from .memory_store import Embedder, MemoryStore
from .units import Bytes, KiB, MiB, Seconds
from .user_directory import UserDirectory

__all__ = [
    "EventsConfig",
    "HooksConfig",
    "HttpConfig",
    "MemoryConfig",
    "Rates",
    "SchedulerConfig",
    "Secret",
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

    url: str = field(default="", repr=False)
    """`redis://`, `rediss://` or `unix://` for a Redis server; empty for the embedded store,
    `storage.db` in the state folder."""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            # It can hold a password: it is not repeated.
            raise HostMisuse("StorageConfig.url begins with redis://, rediss:// or unix://")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The requests that the host makes for plugins. Times are seconds, sizes bytes."""

    timeout: Seconds = 10.0
    """From a request to the whole response, redirects included; of a streamed one to its head,
    and from each read of its body to some bytes. A request can name another."""
    max_timeout: Seconds = 60.0
    """The longest that it can name."""
    max_request: Bytes = 10 * MiB
    """The body of a request."""
    max_response: Bytes = 10 * MiB
    """The body of a response, decoded."""
    max_stream: Bytes = 100 * MiB
    """The body of a response that is streamed, decoded."""
    stream_time: Seconds = 600.0
    """A streamed body is cut after this, however far it has come."""
    stream_idle: Seconds = 60.0
    """A body that the plugin does not go on reading for so long is closed."""
    streams: int = 16
    """Bodies that one plugin has not read to the end; further requests are refused."""
    connections: int = 32
    """Of one plugin, idle ones included; further requests wait for one."""
    max_redirects: int = 5
    """0 to follow none."""
    ca_file: Path | None = None
    """PEM certificates of the authorities that are trusted; None for the machine's own."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            least = 0 if item.name == "max_redirects" else 1e-3
            if isinstance(value, int | float) and not value >= least:
                raise HostMisuse(f"HttpConfig.{item.name} is too small: {value}")
        if self.timeout > self.max_timeout:
            raise HostMisuse("HttpConfig.timeout is over its own max_timeout")
        if self.streams >= self.connections:
            raise HostMisuse("HttpConfig.connections must be more than streams, which hold one")


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that a plugin sends and never sees: it writes `{{secret:NAME}}` in a header."""

    value: str = field(repr=False)
    """8 to 4096 printable ASCII characters."""
    hosts: tuple[str, ...]
    """Where it may be sent: `HOST`, `HOST:PORT` or `*.DOMAIN`."""
    plain_http: bool = False
    """Whether it may go over http too, where everyone on the way can read it."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Tasks that run again and again. Times are seconds."""

    timezone: str = "UTC"
    """In which cron expressions are read that name none; a name of the IANA database."""
    smallest_interval: Seconds = 1.0
    """Between two runs of a task."""
    tasks: int = 100
    """That one plugin may have."""
    running_at_once: int = 4
    """Runs of one plugin's tasks that are under way at once; the others wait their turn."""
    overlaps: int = 4
    """Runs of one task, waiting or under way, where it asks for `overlap`."""
    jitter: Seconds = 0.0
    """By which runs are put off at random, for tasks that name none."""
    late_after: Seconds = 60.0
    """A run that comes so much later than it was due is a missed one."""
    missed_runs: int = 100
    """That are made up for, where a task asks for all."""

    def __post_init__(self) -> None:
        for name in ("smallest_interval", "tasks", "running_at_once", "overlaps", "missed_runs"):
            if not getattr(self, name) > 0:
                raise HostMisuse(f"SchedulerConfig.{name} must be more than 0")
        for name in ("jitter", "late_after"):
            if not getattr(self, name) >= 0:
                raise HostMisuse(f"SchedulerConfig.{name} must be 0 or more")


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What is remembered of users."""

    store: MemoryStore | None = None
    """The application's own memory; None for the embedded one, a file in the state folder."""
    embedder: Embedder | str | None = None
    """For the embedded one: what makes it search by meaning. An object of the application's, or
    the name of a plugin's tool, `PLUGIN.TOOL`; needs `plughost[vector]`. None searches by words."""
    embed_anew: bool = False
    """Drop the vectors at the start: for an embedder that is not the one before."""


@dataclass(frozen=True, slots=True)
class UsersConfig:
    """Who the users are."""

    directory: UserDirectory | None = None
    """The application's own users; None for the table that `plughost users` fills."""


_MAX_HOPS: Final = 100


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """The bus between plugins and the application. Sizes are bytes."""

    max_size: Bytes = 256 * KiB
    """The data of one event."""
    max_hops: int = 16
    """How many events may cause one another, each emitted by a handler of the one before."""
    subscriptions: int = 100
    """Of one plugin."""
    queue: int = 1000
    """Events that wait for one subscriber; beyond, its oldest are lost."""
    queue_bytes: Bytes = 8 * MiB
    """The same in bytes."""
    in_flight: int = 16
    """Handlers of one plugin that run at once; those of one subscription never do."""
    history: int = 1000
    """Events that are remembered."""
    history_bytes: Bytes = 8 * MiB
    """The same in bytes."""
    trace: int = 1000
    """Events whose way is remembered."""
    shutdown_wait: Seconds = 2.0
    """Seconds that plugins have for the events that wait when the host ends."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) > 0:
                raise HostMisuse(f"EventsConfig.{item.name} must be more than 0")
        if self.max_hops > _MAX_HOPS:
            raise HostMisuse(f"EventsConfig.max_hops must be at most {_MAX_HOPS}")


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """How long hooks may take, and what follows where they fail."""

    timeout: Seconds = 5.0
    """Seconds that one hook has, where it names no other."""
    total: Seconds = 10.0
    """Seconds for all hooks of one event, of one call of a tool, or of the metrics together."""
    life_total: Seconds = 30.0
    """Seconds for all `startup` and `context` hooks together, and for all `shutdown` hooks."""
    hooks: int = 100
    """That one plugin may register."""
    max_size: Bytes = MiB
    """Bytes of parameters, and of a result, that middleware is shown and may give in return."""
    metrics_size: Bytes = 64 * KiB
    """Bytes of the metrics that one hook reports, and of what one answers to `startup`."""
    late_limit: int = 3
    """Times in a row that a hook is late, after which it is not called for a while: it counts as
    failed at once. What raises costs nobody time, and is called again."""
    pause: Seconds = 30.0
    """Seconds of that while; then it is tried again."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) > 0:
                raise HostMisuse(f"HooksConfig.{item.name} must be more than 0")
