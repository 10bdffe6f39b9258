"""`plughost events`: what happens in a running host, and what came of it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from plughost.text import clean_line
from plughost.units import format_seconds

from .control_client import ControlClient
from .event_records import EventInfo, HandlerInfo, ListEvents, ListTraces, TraceInfo
from .exit_codes import ExitCode
from .output import Cell, Output, to_json
from .problems import CommandFailed, Problem
from .socket_path import control_path

__all__ = ["EventsOptions", "show_events"]

_MAX_SHOWN: Final = 300  # characters of an event's data; --json has all
_STYLES: Final = {"handled": "green", "running": "yellow", "waiting": "yellow"}


@dataclass(frozen=True, slots=True)
class EventsOptions:
    """What `plughost events` is given."""

    wanted: str
    """The id of an event, or a correlation id."""
    pattern: str
    limit: int | None
    follow: bool
    trace: bool
    socket: Path | None


async def show_events(output: Output, options: EventsOptions) -> ExitCode:
    """Show the last events, those that come, or what came of some."""
    params = ListEvents(options.pattern, options.limit or 100)
    async with ControlClient.connect(control_path(options.socket)) as host:
        if options.trace or options.wanted:
            found = await host.traces(ListTraces(options.wanted, options.limit or 20))
            return _show_traces(output, options.wanted, found)
        if options.follow:
            async for event in host.live_events(params):
                if output.as_json:
                    output.json_line(_fields(event))
                else:
                    _show(output, event)
            return ExitCode.OK
        events = await host.events(params)
    if output.as_json:
        output.json([_fields(event) for event in events])
        return ExitCode.OK
    for event in events:
        _show(output, event)
    return ExitCode.OK


def _show(output: Output, event: EventInfo) -> None:
    if event.lost:
        output.line(Cell(f"{event.lost} events were too fast to be shown", "yellow"))
    data = "" if event.data is None else clean_line(to_json(event.data, indent=-1))
    output.line(
        Cell(_clock(event.timestamp), "dim"),
        " ",
        Cell(clean_line(event.name), "bold"),
        " ",
        Cell(event.source, "cyan"),
        f" {data}"[: _MAX_SHOWN + 1].rstrip() + ("..." if len(data) > _MAX_SHOWN else ""),
        Cell(f" {event.id}", "dim"),
    )


def _show_traces(output: Output, wanted: str, traces: list[TraceInfo]) -> ExitCode:
    if wanted and not traces:
        raise CommandFailed(
            Problem(
                f"no event {wanted!r} is remembered",
                "the host keeps the way of its last events only",
                "plughost events, for their ids",
                code="unknown_method",
            )
        )
    if output.as_json:
        output.json(traces)
        return ExitCode.OK
    for trace in traces:
        _show_trace(output, trace, 0)
    return ExitCode.OK


def _show_trace(output: Output, trace: TraceInfo, depth: int) -> None:
    indent = "    " * depth
    output.line(
        indent,
        Cell(_clock(trace.timestamp), "dim"),
        " ",
        Cell(clean_line(trace.name), "bold"),
        " ",
        Cell(trace.source, "cyan"),
        Cell(f" {trace.id}", "dim"),
        *([Cell(f" {trace.stopped}", "red")] if trace.stopped else []),
        *([] if trace.stopped or trace.handlers else [Cell(" nobody subscribes", "dim")]),
    )
    for handler in trace.handlers:
        replied = ", replied" if trace.replied == handler.receiver else ""
        output.line(
            f"{indent}  > ",
            Cell(handler.receiver, "cyan"),
            f" on {handler.pattern}: ",
            Cell(clean_line(handler.outcome) + replied, _STYLES.get(handler.outcome, "red")),
            Cell(_times(handler), "dim"),
        )
    for caused in trace.caused:
        _show_trace(output, caused, depth + 1)


def _times(handler: HandlerInfo) -> str:
    """When it was its turn, and how long it took."""
    if handler.started is None:
        return ""
    waited = f" after {_duration(handler.started)}"
    if handler.ended is None:
        return waited
    return f"{waited}, in {_duration(handler.ended - handler.started)}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else format_seconds(seconds)


def _clock(timestamp: float) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(timestamp))
    return f"{clock}.{int(timestamp * 1000) % 1000:03d}"


def _fields(event: EventInfo) -> dict[str, Any]:
    return structs.asdict(event)
