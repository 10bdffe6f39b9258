"""What an operator decides: frozen data, checked where it is made."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import platformdirs

from plughost_protocol import MAX_FRAME

from .errors import HostMisuse
from .exits import Cause
from .hot_reload_config import HotReload, OrSwitch
from .service_config import (
    EventsConfig,
    HooksConfig,
    HttpConfig,
    MemoryConfig,
    Rates,
    SchedulerConfig,
    Secret,
    StorageConfig,
    UsersConfig,
)
from .units import (
    Bytes,
    KiB,
    MiB,
    OrText,
    Seconds,
    Share,
    format_bytes,
    parse_bytes,
    parse_share,
)

__all__ = [
    "GRANT_ALL_ASKED",
    "MIN_MEMORY",
    "HealthConfig",
    "HostConfig",
    "Layer",
    "Limits",
    "PluginConfig",
    "Restart",
    "Sandbox",
    "SecretText",
    "Totals",
    "revealed",
    "without_secrets",
]

GRANT_ALL_ASKED: Final[Mapping[str, Sequence[str]]] = MappingProxyType({"*": ("*",)})
"""For `HostConfig.grants`: every plugin gets what its manifest asks for. For plugins you trust."""

MIN_MEMORY: Final = 32_000_000
"""Bytes that a worker needs to do anything at all, its template process included.

Measured with CPython 3.11 in a cgroup: with 14 MB the kernel kills it while it loads an empty
plugin, with 16 MB it answers calls. Twice that: newer interpreters are larger, and so is a worker
that is no fork of the template.
"""


_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _check_positive(settings: Any, may_be_zero: tuple[str, ...] = ()) -> None:
    """Raises `HostMisuse` for a number that is too small to mean anything."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if value < 0 or (value == 0 and item.name not in may_be_zero):
            least = "0 or more" if item.name in may_be_zero else "more than 0"
            raise HostMisuse(f"{type(settings).__name__}.{item.name} must be {least}, not {value}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may use. Sizes are bytes, times seconds; text such as `100MB` is read."""

    memory: OrText[Bytes] = 256 * MiB  # type: ignore[assignment]  # no descriptor at run time
    """Resident memory of the worker and its child processes; over it, the worker is killed."""
    cpu: OrText[Share] = 1.0  # type: ignore[assignment]  # as above
    """Processor cores' worth of time, child processes included; the worker is held to it."""
    call_timeout: Seconds = 30.0
    """The deadline of a call that names none, and whose tool and manifest name none."""
    call_total: Seconds = 300.0
    """The hard end of a call, whatever progress it reports and whatever its plugin declares."""
    load_timeout: Seconds = 10.0
    """From the spawn to a loaded plugin."""
    grace: Seconds = 2.0
    """From a cancel or a polite end to SIGKILL."""
    unresponsive_after: Seconds = 3.0
    """Without an acknowledgement for so long, the worker is shown as unresponsive."""
    unresponsive_kill: Seconds = 30.0
    """Unresponsive for so long with no call that explains it, the worker is killed."""
    frame_timeout: Seconds = 10.0
    """A frame that was begun must be complete within this."""
    calls_in_flight: int = 256
    """Calls open on the worker; more are refused with `Overloaded`."""
    requests_in_flight: int = 32
    """Calls open from the worker to the host."""
    frames_per_second: int = 20_000
    """Frames that answer no call; beyond, the worker's pipe is not read for a while."""
    log_lines_per_second: int = 200
    """Beyond, lines are dropped and counted."""
    log_line_length: Bytes = 8 * KiB
    log_level: str = "info"
    """The least level of its records that is kept: debug, info, warning or error."""
    max_frame: Bytes = MAX_FRAME
    max_outgoing: Bytes = 32 * MiB
    """Bytes that wait for a worker that does not read; beyond, calls are refused."""
    threads: int = 16
    """Blocking tools that run at once in the worker."""
    open_files: int = 256
    processes: int = 64
    """Threads and processes of the worker."""
    file_size: Bytes = 64 * MiB
    """The largest file that it can write."""
    temporary_size: Bytes = 16 * MiB
    """What its private /tmp holds; it counts as memory."""
    data_size: Bytes = 100 * MiB
    """What its data folder may hold; over it, the worker is killed."""
    data_files: int = 10_000
    """How many files its data folder may hold."""
    storage_size: Bytes = 10_000_000
    """Bytes of keys and values that the host stores for it."""
    storage_keys: int = 1_000
    """Entries that the host stores for it."""
    memories: int = 10_000
    """What it may have the host remember of one user."""
    memories_size: Bytes = 100 * MiB
    """Bytes of all that it has the host remember, half a KiB for each memory included."""
    recycle_calls: int | None = None
    """After so many calls, the worker is replaced by a new one; None: never for that."""
    recycle_after: float | None = None
    """After so long, the worker is replaced by a new one; None: never for that."""
    recycle_memory: int | None = None
    """From so much resident memory on, the worker is replaced by a new one; None: never."""
    idle_after: Seconds = 300.0
    """Without a call or request for so long, the worker of a plugin that is started at its first
    use is ended."""

    def __post_init__(self) -> None:
        parsers = (("memory", parse_bytes), ("cpu", parse_share), ("recycle_memory", parse_bytes))
        for name, parse in parsers:
            value = getattr(self, name)
            if isinstance(value, str):
                try:
                    object.__setattr__(self, name, parse(value))
                except ValueError as exc:
                    raise HostMisuse(f"Limits.{name}: {exc}") from exc
        _check_positive(self)
        if self.log_level not in _LOG_LEVELS:
            known = ", ".join(_LOG_LEVELS)
            raise HostMisuse(f"Limits.log_level is one of {known}, not {self.log_level!r}")
        if self.memory < MIN_MEMORY:
            raise HostMisuse(
                f"Limits.memory is {format_bytes(self.memory)}, and a worker that does nothing "
                f"needs {format_bytes(MIN_MEMORY)}: allow at least that"
            )


@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers together may use; None leaves it open."""

    workers: int | None = None
    memory: OrText[Bytes | None] = None  # type: ignore[assignment]  # as in Limits
    """Bytes; over it, the worker that uses most is killed."""
    cpu: OrText[Share | None] = None  # type: ignore[assignment]  # as in Limits
    """Cores; the busy workers share it evenly."""

    def __post_init__(self) -> None:
        for name, parse in (("memory", parse_bytes), ("cpu", parse_share)):
            value: Any = getattr(self, name)
            if isinstance(value, str):
                try:
                    object.__setattr__(self, name, parse(value))
                except ValueError as exc:
                    raise HostMisuse(f"Totals.{name}: {exc}") from exc

        _check_positive(self)


@dataclass(frozen=True, slots=True)
class Restart:
    """When a worker that died is started again. Times are seconds.

    A limit and a period, as Erlang's supervisors have them; forgiven after stability.
    """

    mode: str = "on-crash"
    """`never`, `on-crash` or `always` (also after an exit with code 0)."""
    limit: int = 5
    period: Seconds = 300.0
    backoff: Seconds = 0.2
    """Before the first restart; doubled at each further one."""
    backoff_max: Seconds = 30.0
    jitter: Share = 0.2
    """The share by which a back-off is varied, so that workers do not start in step."""
    stable_after: Seconds = 30.0
    """Up for so long, earlier deaths are forgiven."""
    attempts: Mapping[Cause, int] = field(
        default_factory=lambda: {
            Cause.LOAD_FAILED: 0,
            Cause.SANDBOX: 0,
            Cause.DISK: 0,
            Cause.MEMORY: 1,
        }
    )
    """Per cause, how many restarts in the period it may have; a cause not named has `limit`."""

    def __post_init__(self) -> None:
        if self.mode not in ("never", "on-crash", "always"):
            raise HostMisuse(f"Restart.mode is never, on-crash or always, not {self.mode!r}")
        _check_positive(
            self, may_be_zero=("limit", "backoff", "backoff_max", "jitter", "stable_after")
        )


class Layer(StrEnum):
    """The layers of the sandbox that a machine can refuse."""

    UID = "uid"
    """A host that runs as root gives each plugin an unprivileged user id of its own."""
    NAMESPACES = "namespaces"
    """User, process id, network, IPC and host name namespaces."""
    MOUNTS = "mounts"
    """A file system view that holds nothing but what the plugin may see; needs namespaces."""
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    CGROUP = "cgroup"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What the operator accepts less of. By default a layer that is refused stops the start."""

    without: frozenset[Layer] = frozenset()
    """Layers that are not asked for."""
    require_cgroup: bool = False
    """Whether the kernel must hold memory, CPU and processes; otherwise the watch may do it."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "without", frozenset(map(Layer, self.without)))
        except ValueError as exc:
            raise HostMisuse(f"Sandbox.without: {exc}; there are {', '.join(Layer)}") from exc

    @property
    def waived(self) -> tuple[Layer, ...]:
        """The layers that are not asked for, those that need a waived one among them, in order."""
        needs = {Layer.MOUNTS} if Layer.NAMESPACES in self.without else set()
        return tuple(layer for layer in Layer if layer in self.without | needs)


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """From when on a plugin is not healthy. Times are seconds."""

    window: float = 60.0
    """The time in which calls are counted."""
    error_rate: float = 0.05
    """Of the calls, so many failed: it is degraded; where half of them did, unhealthy."""
    least_calls: int = 20
    """With fewer calls in the window, their errors say nothing."""
    memory_share: float = 0.8
    """Of its memory limit, so much in use: it is degraded."""
    timeout: float = 5.0
    """For a plugin's own answer."""

    def __post_init__(self) -> None:
        _check_positive(self)


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text of a plugin's configuration that the plugin sees and nobody is shown."""

    value: str = field(repr=False)


def without_secrets(text: str, config: Any) -> str:
    """A text, such as an error's, with a mark in place of each secret of a configuration."""
    if isinstance(config, SecretText):
        return text.replace(config.value, "[secret]")
    if isinstance(config, Mapping):
        config = list(config.values())
    for inner in config if isinstance(config, list | tuple) else ():
        text = without_secrets(text, inner)
    return text


def revealed(value: Any) -> Any:
    """A plugin's configuration as the plugin sees it."""
    if isinstance(value, SecretText):
        return value.value
    if isinstance(value, Mapping):
        return {name: revealed(inner) for name, inner in value.items()}
    return [revealed(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """What the operator decides for one plugin; None takes the host's own."""

    limits: Limits | None = None
    restart: Restart | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The plugin's own values, which it sees as `api.config`; a `SecretText` as its text."""
    enabled: bool = True
    activation: tuple[str, ...] | None = None
    """What starts it, in place of what its manifest says: `("start",)`, `("tool", "event")`."""
    rates: Rates | None = None
    sandbox: Sandbox | None = None
    python: str = ""
    """Another Python interpreter for its worker, which must have msgspec; empty for the host's."""
    private_hosts: tuple[str, ...] = ()
    """Names whose addresses may be private ones, where `net:connect` or `http:outbound` is granted
    for them."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    """By the name that the plugin writes in their place."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How a host runs its plugins."""

    limits: Limits = Limits()
    totals: Totals = Totals()
    restart: Restart = Restart()
    plugins: Mapping[str, PluginConfig] = field(default_factory=dict)
    """By plugin id."""
    restarts_at_once: int = 2
    """Restarts under way in the whole host, so that many crashes are no storm."""
    call_depth: int = 8
    """How deep tools may call tools."""
    shared_template: bool = False
    """Fork all workers from one process: faster and smaller, but they share one address-space
    layout and hash seed. Otherwise each plugin has a template of its own."""
    sandbox: Sandbox = Sandbox()
    grants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the operator grants, by plugin id; `*` stands for every plugin, and as a permission
    for whatever its manifest asks. Plain data: see `GRANT_ALL_ASKED`."""
    state_folder: Path | None = None
    """Where plugins' data folders are kept, each in `data/ID`; None for the user's own place."""
    rates: Rates = Rates()
    storage: StorageConfig = StorageConfig()
    http: HttpConfig = HttpConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    memory: MemoryConfig = MemoryConfig()
    users: UsersConfig = UsersConfig()
    events: EventsConfig = EventsConfig()
    hooks: HooksConfig = HooksConfig()
    health: HealthConfig = HealthConfig()
    hot_reload: OrSwitch[HotReload] = HotReload(enabled=False)  # type: ignore[assignment]  # as above
    resolver: Callable[[str, int], Awaitable[Sequence[str]]] | None = None
    """From host name and port to addresses as text; None for the machine's own resolver."""

    def __post_init__(self) -> None:
        _check_positive(self)
        if isinstance(switch := self.hot_reload, bool):
            object.__setattr__(self, "hot_reload", HotReload(enabled=switch))

    @property
    def state(self) -> Path:
        """The state folder, or the user's own place for it."""
        return self.state_folder or platformdirs.user_data_path("plughost")

    def of(self, plugin_id: str) -> PluginConfig:
        """The decisions for one plugin."""
        return self.plugins.get(plugin_id, _NOTHING_SPECIAL)

    def limits_of(self, plugin_id: str) -> Limits:
        """The limits of one plugin's workers: its own, or the host's."""
        return self.of(plugin_id).limits or self.limits

    def rates_of(self, plugin_id: str) -> Rates:
        """How often one plugin may ask: its own rates, or the host's."""
        return self.of(plugin_id).rates or self.rates

    def sandbox_of(self, plugin_id: str) -> Sandbox:
        """What the operator accepts less of for one plugin: its own, or the host's."""
        return self.of(plugin_id).sandbox or self.sandbox


_NOTHING_SPECIAL = PluginConfig()
