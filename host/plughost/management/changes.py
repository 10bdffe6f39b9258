"""What became of plugins whose files changed, as people and programs are told of it."""

from typing import Any

from plughost.errors import ManifestError, PlughostError, StartFailed
from plughost.lifecycle.source_changes import ReloadOutcome
from plughost.text import clean_line
from plughost.units import format_seconds

from .excerpt import excerpts, show_excerpts, show_traceback
from .output import Cell, Output

__all__ = ["show_change"]

_MAX_FILES = 5  # that are named


def show_change(output: Output, outcome: ReloadOutcome) -> None:
    """One line; of what failed, the reason and the code."""
    if output.as_json:
        output.json_line(_as_json(outcome))
    elif outcome.action == "failed":
        _show_failure(output, outcome)
    elif outcome.action == "unloaded":
        also = f"; so did what needs it: {', '.join(outcome.also)}" if outcome.also else ""
        output.line(
            Cell(outcome.plugin, "bold"),
            Cell(" unloaded", "yellow"),
            f": {outcome.path} has gone{also}",
        )
    else:
        files = f": {_files(outcome)}" if outcome.files else ""
        output.line(
            Cell(outcome.plugin, "bold"),
            f" {outcome.version} ",
            Cell(outcome.action, "green"),
            f" in {format_seconds(outcome.seconds)}{files}",
        )
        if tools := _tools(outcome):
            output.line(f"  tools: {tools}")


def _show_failure(output: Output, outcome: ReloadOutcome) -> None:
    what = "was not reloaded, and what ran goes on" if outcome.goes_on else "does not run"
    changed = f" ({_files(outcome)})" if outcome.files else ""
    output.line(Cell("error: ", "bold red"), Cell(outcome.plugin, "bold"), f" {what}{changed}")
    for reason in _reasons(outcome):
        output.line(Cell("  why: ", "dim"), clean_line(reason))
    if outcome.error is not None:
        found = excerpts(outcome.path, outcome.error)
        show_excerpts(output, found)
        if output.debug or not found:
            show_traceback(output, _traceback(outcome.error))


def _reasons(outcome: ReloadOutcome) -> list[str]:
    error = outcome.error
    if isinstance(error, ManifestError):
        return error.located()
    return [error.reason if isinstance(error, StartFailed) else str(error)]


def _traceback(error: PlughostError) -> str:
    return error.traceback if isinstance(error, StartFailed) else ""


def _files(outcome: ReloadOutcome) -> str:
    named = [clean_line(file) for file in outcome.files[:_MAX_FILES]]
    more = len(outcome.files) - len(named)
    return ", ".join([*named, *([f"{more} more"] if more else [])])


def _tools(outcome: ReloadOutcome) -> str:
    kinds = ("added", "removed", "changed")
    return "; ".join(
        f"{kind} {', '.join(names)}" for kind in kinds if (names := getattr(outcome, kind))
    )


def _as_json(outcome: ReloadOutcome) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": outcome.action,
        "plugin": outcome.plugin,
        "path": str(outcome.path),
        "version": outcome.version,
        "files": list(outcome.files),
    }
    if outcome.error is not None:
        found = excerpts(outcome.path, outcome.error)
        return told | {
            "goes_on": outcome.goes_on,
            "code": outcome.error.code,
            "error": str(outcome.error),
            "traceback": _traceback(outcome.error),
            "places": [one.as_json() for one in found],
        }
    if outcome.action == "unloaded":
        return told | {"also": list(outcome.also)}
    tools = {kind: list(getattr(outcome, kind)) for kind in ("added", "removed", "changed")}
    return told | {"ms": round(outcome.seconds * 1000, 1), "tools": tools}
