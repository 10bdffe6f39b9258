"""What an operator decides: frozen data, checked where it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from plughost_protocol import MAX_FRAME

from .errors import HostMisuse
from .exits import Cause
from .units import KiB, MiB, parse_bytes, parse_share

__all__ = ["HostConfig", "Limits", "PluginConfig", "Restart", "Totals"]


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

    memory: int = 256 * MiB
    """Resident memory of the worker and its child processes; over it, the worker is killed."""
    cpu: float = 1.0
    """Processor cores' worth of time, child processes included; the worker is held to it."""
    call_timeout: float = 30.0
    """The deadline of a call that names none, and whose tool and manifest name none."""
    call_total: float = 300.0
    """The hard end of a call, whatever progress it reports and whatever its plugin declares."""
    load_timeout: float = 10.0
    """From the spawn to a loaded plugin."""
    grace: float = 2.0
    """From a cancel or a polite end to SIGKILL."""
    unresponsive_after: float = 3.0
    """Without an acknowledgement for so long, the worker is shown as unresponsive."""
    unresponsive_kill: float = 30.0
    """Unresponsive for so long with no call that explains it, the worker is killed."""
    frame_timeout: float = 10.0
    """A frame that was begun must be complete within this."""
    calls_in_flight: int = 256
    """Calls open on the worker; more are refused with `Overloaded`."""
    requests_in_flight: int = 32
    """Calls open from the worker to the host."""
    frames_per_second: int = 20_000
    """Frames that answer no call; beyond, the worker's pipe is not read for a while."""
    log_lines_per_second: int = 200
    """Beyond, lines are dropped and counted."""
    log_line_length: int = 8 * KiB
    max_frame: int = MAX_FRAME
    max_outgoing: int = 32 * MiB
    """Bytes that wait for a worker that does not read; beyond, calls are refused."""
    threads: int = 16
    """Blocking tools that run at once in the worker."""
    open_files: int = 256

    def __post_init__(self) -> None:
        for name, parse in (("memory", parse_bytes), ("cpu", parse_share)):
            value = getattr(self, name)
            if isinstance(value, str):
                try:
                    object.__setattr__(self, name, parse(value))
                except ValueError as exc:
                    raise HostMisuse(f"Limits.{name}: {exc}") from exc
        _check_positive(self)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers together may use; None leaves it open."""

    workers: int | None = None
    memory: int | None = None
    """Bytes; over it, the worker that uses most is killed."""
    cpu: float | None = None
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
    period: float = 300.0
    backoff: float = 0.2
    """Before the first restart; doubled at each further one."""
    backoff_max: float = 30.0
    jitter: float = 0.2
    """The share by which a back-off is varied, so that workers do not start in step."""
    stable_after: float = 30.0
    """Up for so long, earlier deaths are forgiven."""
    attempts: Mapping[Cause, int] = field(
        default_factory=lambda: {Cause.LOAD_FAILED: 0, Cause.MEMORY: 1}
    )
    """Per cause, how many restarts in the period it may have; a cause not named has `limit`."""

    def __post_init__(self) -> None:
        if self.mode not in ("never", "on-crash", "always"):
            raise HostMisuse(f"Restart.mode is never, on-crash or always, not {self.mode!r}")
        _check_positive(
            self, may_be_zero=("limit", "backoff", "backoff_max", "jitter", "stable_after")
        )


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """What the operator decides for one plugin; None takes the host's own."""

    limits: Limits | None = None
    restart: Restart | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The plugin's own values, which it sees as `api.config`."""
    enabled: bool = True


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
    fork: bool = True
    """Fork workers from the template process; otherwise each one is a fresh interpreter."""

    def __post_init__(self) -> None:
        _check_positive(self)

    def of(self, plugin_id: str) -> PluginConfig:
        """The decisions for one plugin."""
        return self.plugins.get(plugin_id, _NOTHING_SPECIAL)


_NOTHING_SPECIAL = PluginConfig()
