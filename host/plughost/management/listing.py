"""`plughost list` and `plughost tools`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from plughost.units import format_bytes, format_seconds

from .canary import in_words
from .control import PluginStatus, ToolInfo
from .control_client import ControlClient
from .exit_codes import ExitCode
from .output import Cell, Column, Output
from .socket_path import control_path

__all__ = [
    "STATE_STYLES",
    "first_line",
    "list_plugins",
    "list_tools",
    "parameters_of",
    "shortened",
    "show_hidden",
    "state_style",
    "tool_table",
]

STATE_STYLES: Final = {
    "active": "green",
    "error": "bold red",
    "refused": "bold red",
    "disabled": "dim",
    "sleeping": "dim green",
    "unloaded": "dim",
}

_MAX_REASON: Final = 200  # characters
_MAX_STACK: Final = 12  # lines; --json has all
_LIST_COLUMNS: Final = (
    Column("id"),
    Column("version"),
    Column("state"),
    Column("pid", right=True, spare=4),
    Column("uptime", right=True, spare=2),
    Column("restarts", right=True, spare=1),
    Column("cpu", right=True, spare=3),
    Column("memory", right=True),
    Column("calls", right=True),
    Column("errors", right=True),
)
_TOOL_COLUMNS: Final = (
    Column("tool"),
    Column("parameters", fold=True),
    Column("description", fold=True),
)


def state_style(status: PluginStatus) -> str:
    """The style of a state; what should be looked at is yellow."""
    if status.is_running and status.degraded:
        return "yellow"
    return STATE_STYLES.get(status.state, "yellow")


async def list_plugins(output: Output, socket: Path | None) -> ExitCode:
    """The plugins of the running host, and why those that do not run do not."""
    async with ControlClient.connect(control_path(socket)) as host:
        statuses = await host.plugins()
    if output.as_json:
        output.json([{"running": s.is_running, **_fields(s)} for s in statuses])
    else:
        output.table(_LIST_COLUMNS, [_row(status) for status in statuses])
        for status in statuses:
            show_hidden(output, status)
            if status.degraded:
                told = f"without {', '.join(status.degraded)} of the sandbox"
                output.line(Cell(f"{status.id}: ", "bold"), Cell(told, "yellow"))
            if status.canary is not None:
                output.line(Cell(f"{status.id}: ", "bold"), in_words(status.canary))
            if status.reload_error:
                told = f"not reloaded: {shortened(status.reload_error)}"
                output.line(Cell(f"{status.id}: ", "bold"), Cell(told, "yellow"))
            if status.problem:
                told = "" if not status.is_running else "ended before: "
                output.line(Cell(f"{status.id}: ", "bold"), told + shortened(status.problem))
                for line in _evidence(status):
                    output.line(Cell(f"  {shortened(line)}", "dim"))
    running = all(status.is_running for status in statuses)
    return ExitCode.OK if running else ExitCode.NOT_RUNNING


def show_hidden(output: Output, status: PluginStatus) -> None:
    """Say which plugins of the same id do not run because this one was found first."""
    if status.hides:
        told = f"hides {', '.join(status.hides)}"
        output.line(Cell(f"{status.id}: ", "bold"), Cell(told, "yellow"))


def _evidence(status: PluginStatus) -> list[str]:
    """What a dead worker left: its last words, and where its threads stood."""
    lines = [f"stderr: {line}" for line in status.stderr]
    return lines + status.stack.splitlines()[:_MAX_STACK]


def _fields(status: PluginStatus) -> dict[str, Any]:
    return {
        **structs.asdict(status),
        "uptime": round(status.uptime, 3),
        "cpu": round(status.cpu, 4),
    }


def _row(status: PluginStatus) -> list[str | Cell]:
    live = status.pid is not None
    return [
        Cell(status.id, "bold"),
        status.version,
        Cell(status.state_in_words, state_style(status)),
        str(status.pid) if live else "",
        format_seconds(int(status.uptime)) if status.uptime >= 1 else "",
        str(status.restarts),
        f"{status.cpu:.0%}" if live else "",
        format_bytes(status.memory) if live else "",
        str(status.calls),
        Cell(str(status.errors), "red" if status.errors else ""),
    ]


async def list_tools(
    output: Output,
    socket: Path | None,
    plugin_id: str,
    form: str,
) -> ExitCode:
    """The tools of the running host: a table, their schemas, or definitions for a model API.

    `form` is `anthropic`, `openai` or nothing.
    """
    async with ControlClient.connect(control_path(socket)) as host:
        tools = await host.tools(plugin_id)
    if form:
        output.json([_definition(tool, form) for tool in tools])
    elif output.as_json:
        output.json(tools)
    else:
        tool_table(output, tools)
    return ExitCode.OK


def _definition(info: ToolInfo, form: str) -> dict[str, Any]:
    from plughost.exchange.tools import Tool

    tool = Tool(**structs.asdict(info))
    return tool.for_anthropic() if form == "anthropic" else tool.for_openai()


def tool_table(output: Output, tools: Sequence[ToolInfo]) -> None:
    """The tools, one a row."""
    rows: list[list[str | Cell]] = [
        [Cell(tool.name, "bold"), parameters_of(tool), first_line(tool.description)]
        for tool in tools
    ]
    output.table(_TOOL_COLUMNS, rows)


def shortened(text: str) -> str:
    """At most two lines of a terminal; `plughost check` and `--json` tell the rest."""
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."


def first_line(description: str) -> str:
    """The first line of a description."""
    return next(iter(description.strip().splitlines()), "")


def parameters_of(tool: ToolInfo) -> str:
    """The parameters as one types them: required ones first, optional ones in brackets."""
    schema = tool.input_schema
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ""
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    names = sorted(properties, key=lambda name: name not in needed)
    texts = [f"{name}={_kind(properties[name])}" for name in names]
    return " ".join(
        text if name in needed else f"[{text}]" for name, text in zip(names, texts, strict=True)
    )


def _kind(schema: object) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if schema.get("contentEncoding") == "base64":
        return "bytes"
    values = schema.get("enum")
    if isinstance(values, list):
        return "|".join(map(str, values[:4])) + ("|..." if len(values) > 4 else "")
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    options = kind if isinstance(kind, list) else schema.get("anyOf")
    if isinstance(options, list):
        kinds = [_kind(o) if isinstance(o, Mapping) else str(o) for o in options]
        return "|".join(dict.fromkeys(kinds[:4]))
    return "object" if "$ref" in schema else "any"
