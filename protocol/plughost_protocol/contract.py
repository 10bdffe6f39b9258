"""The method names that both sides know, and what their parameters and results look like.

These structs are msgpack maps, so that a later version may add a field.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

__all__ = [
    "EXIT_OUT_OF_MEMORY",
    "LOG_TOPIC",
    "MAX_CHUNK",
    "MAX_LOG_RECORD",
    "PLUGIN_CONFIGURE",
    "PLUGIN_DISABLE",
    "PLUGIN_ENABLE",
    "PLUGIN_HEALTH",
    "PLUGIN_LOAD",
    "PLUGIN_UNLOAD",
    "TOOLS_EXECUTE",
    "TOOLS_REGISTER",
    "TOOLS_UNREGISTER",
    "TOOL_PREFIX",
    "CodePlace",
    "Description",
    "ExecuteTool",
    "Failure",
    "LoadPlugin",
    "LogRecord",
    "ToolName",
    "ToolSpec",
    "UnregisterTool",
]

# From the host to a worker.
PLUGIN_LOAD: Final = "plugin.load"
"""Import the plugin and run its `on_load`. Parameters are nil or a `LoadPlugin`; answers with a
`Description`."""
PLUGIN_CONFIGURE: Final = "plugin.configure"
"""Run its `on_configure` with a map of new values. Answers whether it has one: false asks for a
new worker."""
PLUGIN_ENABLE: Final = "plugin.enable"
PLUGIN_DISABLE: Final = "plugin.disable"
PLUGIN_HEALTH: Final = "plugin.health"
PLUGIN_UNLOAD: Final = "plugin.unload"
TOOL_PREFIX: Final = "tool:"
"""`tool:NAME` runs a tool. Parameters are a map; the result is whatever the tool returns."""

# From a worker to the host.
TOOLS_REGISTER: Final = "tools.register"
TOOLS_UNREGISTER: Final = "tools.unregister"
TOOLS_EXECUTE: Final = "tools.execute"
LOG_TOPIC: Final = "log"
"""The topic of a `Notify` that carries a `LogRecord`."""

MAX_LOG_RECORD: Final = 256 * 1024
"""Bytes of one `LogRecord`: the host keeps the last ones, so their length is its memory."""

EXIT_OUT_OF_MEMORY: Final = 112
"""The exit status of a worker that the kernel refused memory, in place of an answer."""

MAX_CHUNK: Final = 1024 * 1024
"""Bytes of one chunk's value: what a stream may hold in the host is this times its credit."""

# Not `$`, which would let a line break through at the end.
ToolName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*\Z", min_length=1, max_length=64)
]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]


class ToolSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tool as its plugin describes it."""

    name: ToolName
    input_schema: dict[str, Any]
    """A JSON Schema (2020-12) whose type is `object`."""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    output_schema: dict[str, Any] | None = None
    """A JSON Schema that the host holds each result against."""
    timeout: Seconds | None = None
    """The tool's own deadline in seconds."""
    idle_timeout: Seconds | None = None
    """Seconds without progress after which the call ends; progress starts them anew."""
    idempotent: bool = False
    """Whether a call may be sent again when its worker died."""
    streams: bool = False
    """Whether the tool answers with a stream of chunks."""


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """What a loaded plugin offers: the result of `plugin.load`."""

    tools: list[ToolSpec]


class LoadPlugin(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `plugin.load` for a plugin that is no file."""

    code: str
    """Its Python source, in place of the entry file."""


class UnregisterTool(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `tools.unregister`. `tools.register` takes a `ToolSpec`."""

    name: ToolName


class ExecuteTool(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `tools.execute`: calls `PLUGIN.TOOL`, whoever runs it."""

    tool: Annotated[str, Meta(min_length=1, max_length=200)]
    params: Raw
    timeout: Seconds | None = None


class LogRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a plugin's log."""

    level: Literal["debug", "info", "warning", "error"]
    message: Annotated[str, Meta(max_length=20_000)]
    fields: dict[str, str | int | float | bool | None] = {}


class CodePlace(Struct, frozen=True, omit_defaults=True):
    """A line of source code, as whoever sends it says. Numbers count from 1; 0 is not known."""

    file: Annotated[str, Meta(max_length=4096)]
    line: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    column: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    """Characters; where the fault begins."""
    end_column: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    """Behind its last character, if that is in the same line."""


class Failure(Struct, frozen=True, omit_defaults=True):
    """The `data` of an error that an exception caused: its type, and how it came about."""

    type: str = ""
    traceback: str = ""
    places: Annotated[list[CodePlace], Meta(max_length=100)] = []
    """The lines that the exception came through, outermost first; of a syntax error, its own."""
    permission: str = ""
    """With `permission_denied`: the permission that is missing."""
    retry_after: float = 0.0
    """With `rate_limited`: seconds until there is a free operation."""
