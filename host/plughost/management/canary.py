"""`plughost canary`, and the options with which `plughost reload` begins one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import structs

from plughost.units import format_seconds, format_share

from .control import ActOnCanary, CanaryInfo, CanaryTerms, PluginStatus
from .control_client import ControlClient
from .exit_codes import ExitCode
from .output import Cell, Output
from .socket_path import control_path

__all__ = ["CanaryOptions", "TrialOptions", "act_on_canary", "in_words", "read_terms"]

# As `plughost.Canary` has them, which takes long to import; a test compares.
CALLS: Final = 100
SECONDS: Final = 600.0
MAX_ERROR_RATE: Final = 0.05
LEAST_CALLS: Final = 20

_LONGEST: Final = 31_536_000.0  # seconds; a year


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What `plughost reload` is told of a canary, as it was typed."""

    share: str | None = None
    calls: int | None = None
    seconds: float | None = None
    max_errors: str | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class CanaryOptions:
    """What `plughost canary` is told."""

    plugin: str
    act: Literal["show", "promote", "roll_back"]
    deadline: float | None
    socket: Path | None


def read_terms(options: TrialOptions) -> CanaryTerms | None:
    """How the new version is tried out; None where it is not. Raises `ValueError`, in words."""
    if options.share is None:
        if options != TrialOptions():
            raise ValueError(
                "--canary-calls, --canary-for, --max-errors and --from go with --canary SHARE"
            )
        return None
    share = _percent("--canary", options.share)
    calls = CALLS if options.calls is None else options.calls
    seconds = SECONDS if options.seconds is None else options.seconds
    rate = MAX_ERROR_RATE
    if options.max_errors is not None:
        rate = _percent("--max-errors", options.max_errors)
    if not 0 < share <= 1:
        raise ValueError("--canary is more than 0% and at most 100%")
    if calls < 1:
        raise ValueError("--canary-calls is 1 or more")
    if not 0 < seconds <= _LONGEST:
        raise ValueError("--canary-for is more than 0 and at most 31536000 seconds")
    if not 0 <= rate <= 1:
        raise ValueError("--max-errors is from 0% to 100%")
    path = None if options.path is None else str(options.path.absolute())
    return CanaryTerms(share, calls, min(LEAST_CALLS, calls), seconds, rate, path)


def _percent(option: str, text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        if number != text.strip():
            return float(number) / 100
    except ValueError:
        pass
    raise ValueError(f"{option} is written as 10%, not {text!r}")


async def act_on_canary(output: Output, options: CanaryOptions) -> ExitCode:
    """Have it done, and say how the plugin stands."""
    asked = ActOnCanary(options.plugin, options.act, options.deadline)
    async with ControlClient.connect(control_path(options.socket)) as host:
        status = await host.canary(asked)
    if output.as_json:
        output.json(_fields(status))
        return ExitCode.OK
    output.line(Cell(status.id, "bold"), f" {status.version} ", status.state)
    canary = status.canary
    if canary is not None:
        left = format_seconds(int(max(0.0, canary.judged_after - canary.elapsed)))
        output.line(in_words(canary))
        output.line(f"judged after {canary.judged_after_calls} calls, or in {left}")
    elif status.reload_error:
        output.line(Cell(f"not reloaded: {status.reload_error}", "yellow"))
    else:
        output.line(Cell("no version is on trial", "dim"))
    return ExitCode.OK


def in_words(canary: CanaryInfo) -> str:
    """How a trial stands, in one line."""
    new = _told(canary.calls, canary.errors, canary.invalid)
    old = _told(canary.old_calls, canary.old_errors, canary.old_invalid)
    share = format_share(canary.share)
    return (
        f"version {canary.version} is on trial with {share} of the calls: {new}; "
        f"the version that runs: {old}"
    )


def _told(calls: int, errors: int, invalid: int) -> str:
    told = f"{calls} calls, {errors} failed"
    return f"{told}, {invalid} more had wrong parameters" if invalid else told


def _fields(status: PluginStatus) -> dict[str, Any]:
    canary = None if status.canary is None else structs.asdict(status.canary)
    return {
        "plugin": status.id,
        "state": status.state,
        "version": status.version,
        "canary": canary,
        "reload_error": status.reload_error,
    }
