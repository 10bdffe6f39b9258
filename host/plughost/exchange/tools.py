"""The tools that there are: their schemas, compiled once, and their forms for model APIs."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from plughost.catalog.schema import CompiledSchema, SchemaRefused
from plughost.config import Limits
from plughost.errors import InvalidParams, PlughostError, ToolError, UnknownTool
from plughost.rpc.calls import CallTimes
from plughost.rpc.worker import Worker
from plughost_protocol import TOOL_PREFIX, CallMeta, ErrorCode, ToolSpec, encode

__all__ = ["Tool", "ToolEntry", "ToolProvider", "ToolRefused", "ToolRegistry"]

_MODEL_NAME_LENGTH: Final = 64  # what the Anthropic and OpenAI APIs take
_NOT_IN_MODEL_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


class ToolRefused(PlughostError):
    """Raised when a plugin declares a tool that cannot be accepted."""

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"tool {tool} is refused: {reason}")
        self.tool = tool
        self.reason = reason


class ToolProvider(Protocol):
    """The plugin behind a tool."""

    @property
    def id(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def active_worker(self) -> Worker | None:
        """The worker that takes calls now."""

    async def wait_for_worker(self, timeout: float) -> Worker:
        """The worker, once there is one. Raises `NotRunning`, `Overloaded`."""

    def count(self, error: PlughostError | None) -> None:
        """A call has ended."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as applications see it."""

    name: str
    """`PLUGIN.TOOL`, by which it is called."""
    plugin: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    idempotent: bool
    streams: bool
    model_name: str
    """`plugin_PLUGIN_TOOL`, in the letters and the length that model APIs take."""

    def for_anthropic(self) -> dict[str, Any]:
        """An item of `tools` in the Anthropic Messages API."""
        return {
            "name": self.model_name,
            "description": self.description,
            "input_schema": dict(self.input_schema),
        }

    def for_openai(self) -> dict[str, Any]:
        """An item of `tools` in the OpenAI Chat Completions API."""
        return {
            "type": "function",
            "function": {
                "name": self.model_name,
                "description": self.description,
                "parameters": dict(self.input_schema),
            },
        }


class ToolEntry:
    """One tool, ready to be called: nothing is compiled or looked up per call."""

    __slots__ = (
        "_base64",
        "_input",
        "_output",
        "idempotent",
        "meta",
        "method",
        "provider",
        "streams",
        "times",
        "tool",
    )

    def __init__(self, provider: ToolProvider, spec: ToolSpec, plugin_timeout: float) -> None:
        """Raises `ToolRefused`."""
        name = f"{provider.id}.{spec.name}"
        if spec.input_schema.get("type", "object") != "object":
            raise ToolRefused(name, "its input_schema must have the type 'object'")
        try:
            self._input = CompiledSchema(spec.input_schema)
            self._output = spec.output_schema and CompiledSchema(spec.output_schema)
        except SchemaRefused as exc:
            raise ToolRefused(name, str(exc)) from exc
        self._base64 = _base64_fields(spec.input_schema)
        total = provider.limits.call_total
        self.times = CallTimes(
            timeout=min(spec.timeout or plugin_timeout, total), total=total, idle=spec.idle_timeout
        )
        self.meta = CallMeta(timeout_ms=int(self.times.timeout * 1000))
        """What goes with a call that has no context."""
        self.provider = provider
        self.method = TOOL_PREFIX + spec.name
        self.idempotent = spec.idempotent
        self.streams = spec.streams
        self.tool = Tool(
            name=name,
            plugin=provider.id,
            description=spec.description,
            input_schema=spec.input_schema,
            output_schema=spec.output_schema,
            idempotent=spec.idempotent,
            streams=spec.streams,
            model_name=_model_name(provider.id, spec.name),
        )

    def encode(self, params: Mapping[str, Any]) -> bytes:
        """The parameters as they travel. Raises `InvalidParams` where the schema refuses them."""
        for name in self._base64:
            if isinstance(params.get(name), str):
                params = {**params, name: self._bytes(name, params[name])}
        if not self._input.accepts(params):
            problems = self._input.explain(params)
            raise InvalidParams(self.tool.name, [f"{p.path} {p.reason}" for p in problems])
        return encode(params)

    def check_result(self, value: object) -> None:
        """Raises `ToolError` where a result is not what the tool itself declared."""
        if self._output and not self._output.accepts(value):
            problems = "; ".join(f"{p.path} {p.reason}" for p in self._output.explain(value))
            reason = f"the result does not fit the tool's own output schema: {problems}"
            raise ToolError(self.tool.name, ErrorCode.RESULT_INVALID, reason)

    def _bytes(self, name: str, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as exc:
            raise InvalidParams(self.tool.name, [f"$.{name} is not base64: {exc}"]) from exc


class ToolRegistry:
    """All tools of all plugins, by their full names."""

    def __init__(self) -> None:
        self._entries: dict[str, ToolEntry] = {}

    def find(self, name: str) -> ToolEntry:
        """The tool of this full name, or of this name for models. Raises `UnknownTool`."""
        entry = self._entries.get(name)
        if entry is None:
            for entry in self._entries.values():
                if entry.tool.model_name == name:
                    return entry
            raise UnknownTool(name, self._entries)
        return entry

    def add(self, entry: ToolEntry) -> None:
        """Raises `ToolRefused` for a name that is taken."""
        if entry.tool.name in self._entries:
            raise ToolRefused(entry.tool.name, "the name is taken: unregister it first")
        self._entries[entry.tool.name] = entry

    def remove(self, name: str) -> None:
        """Raises `UnknownTool`."""
        if self._entries.pop(name, None) is None:
            raise UnknownTool(name, self._entries)

    def replace(self, plugin_id: str, entries: list[ToolEntry]) -> None:
        """Exchange all tools of one plugin in one step."""
        kept = {n: e for n, e in self._entries.items() if e.tool.plugin != plugin_id}
        self._entries = kept | {entry.tool.name: entry for entry in entries}

    def __iter__(self) -> Iterator[ToolEntry]:
        return iter(self._entries.values())


def _base64_fields(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The properties that are bytes: a caller who has only JSON gives them as base64."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ()
    return tuple(
        name
        for name, kind in properties.items()
        if isinstance(kind, dict) and kind.get("contentEncoding") == "base64"
    )


def _model_name(plugin_id: str, tool: str) -> str:
    name = _NOT_IN_MODEL_NAME.sub("_", f"plugin_{plugin_id}_{tool}")
    if len(name) <= _MODEL_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _MODEL_NAME_LENGTH - 9]}_{digest}"
