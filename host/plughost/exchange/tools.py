"""The tools that there are: their schemas, compiled once, and their forms for model APIs."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from plughost.errors import NotRunning, PlughostError, UnknownTool
from plughost_protocol import TOOL_PREFIX, ToolSpec

from .entry import Entry, OfferRefused, Provider, Terms

__all__ = ["Tool", "ToolEntry", "ToolRegistry"]

_MODEL_NAME_LENGTH: Final = 64  # what the Anthropic and OpenAI APIs take
_MODEL_NAME: Final = re.compile(r"plugin_([a-z0-9-]+)_")  # there is no _ in an id
_NOT_IN_MODEL_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


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


class ToolEntry(Entry):
    """One tool, ready to be called."""

    __slots__ = ("tool",)

    def __init__(self, provider: Provider, spec: ToolSpec, terms: Terms | None = None) -> None:
        """`terms` are the provider's own if not given. Raises `OfferRefused`."""
        name = f"{provider.id}.{spec.name}"
        super().__init__(provider, terms or provider, spec, TOOL_PREFIX + spec.name, name, "tool")
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


class Chooser(Protocol):
    """Shares the calls of one plugin between two versions of it."""

    def choose(self, entry: ToolEntry, user_id: str) -> ToolEntry:
        """The entry that takes a call of this tool."""

    def has(self, entry: ToolEntry) -> bool:
        """Whether it has chosen this entry for a call."""


class ToolRegistry:
    """All tools of all plugins, by their full names."""

    def __init__(self, not_running: Callable[[str], NotRunning | None]) -> None:
        """`not_running` tells of a plugin's id why it does not run, if it should."""
        self._entries: dict[str, ToolEntry] = {}
        self._names: dict[str, list[str]] = {}
        """Those of each plugin."""
        self._not_running = not_running
        self.splits: dict[str, Chooser] = {}
        """By plugin: of those that have a new version on trial, who takes each call."""

    def find(self, name: str) -> ToolEntry:
        """The tool of this full name, or of this name for models.

        Raises `NotRunning` where its plugin has no tools since it does not run, else `UnknownTool`.
        """
        entry = self._entries.get(name)
        if entry is None:
            for entry in self._entries.values():
                if entry.tool.model_name == name:
                    return entry
            raise self._missing(name)
        return entry

    def choose(self, entry: ToolEntry, user_id: str) -> ToolEntry:
        """The entry that takes this call, where another version may take a share of them."""
        split = self.splits.get(entry.tool.plugin)
        return entry if split is None else split.choose(entry, user_id)

    def latest(self, entry: ToolEntry) -> ToolEntry:
        """The tool that has this one's name by now; this one, if there is none any more, or if
        it was chosen for a call and may take it still."""
        split = self.splits.get(entry.tool.plugin)
        if split is not None and split.has(entry):
            return entry
        return self._entries.get(entry.tool.name, entry)

    def add(self, entry: ToolEntry) -> None:
        """Raises `OfferRefused` for a name that is taken."""
        if entry.tool.name in self._entries:
            raise OfferRefused(f"tool {entry.tool.name}", "the name is taken: unregister it first")
        self._entries[entry.tool.name] = entry
        self._names.setdefault(entry.tool.plugin, []).append(entry.tool.name)

    def remove(self, name: str) -> None:
        """Raises `UnknownTool`."""
        entry = self._entries.pop(name, None)
        if entry is None:
            raise UnknownTool(name, self._entries)
        self._names[entry.tool.plugin].remove(name)

    def replace(self, plugin_id: str, entries: list[ToolEntry]) -> None:
        """Exchange all tools of one plugin in one step."""
        for name in self._names.pop(plugin_id, ()):
            del self._entries[name]
        for entry in entries:
            self.add(entry)

    def count(self, plugin_id: str) -> int:
        """How many one plugin has."""
        return len(self._names.get(plugin_id, ()))

    def _missing(self, name: str) -> PlughostError:
        plugin_id = _plugin_in(name)
        if self.count(plugin_id):
            return UnknownTool(name, self._entries)
        return self._not_running(plugin_id) or UnknownTool(name, self._entries)

    def __iter__(self) -> Iterator[ToolEntry]:
        return iter(self._entries.values())


def _plugin_in(name: str) -> str:
    """Whose a tool of this name is, or of this name for models."""
    head, dot, _ = name.partition(".")
    model = None if dot else _MODEL_NAME.match(name)
    return head if model is None else model[1]


def _model_name(plugin_id: str, tool: str) -> str:
    name = _NOT_IN_MODEL_NAME.sub("_", f"plugin_{plugin_id}_{tool}")
    if len(name) <= _MODEL_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _MODEL_NAME_LENGTH - 9]}_{digest}"
