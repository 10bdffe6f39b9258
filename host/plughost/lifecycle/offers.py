"""What one plugin offers, taken in within bounds: a schema costs the host time to compile."""

import time
from collections.abc import Callable
from typing import Final

import anyio.lowlevel

from plughost.exchange.tools import ToolEntry, ToolProvider, ToolRefused, ToolRegistry
from plughost.pace import Pace
from plughost.policy.policy import Policy
from plughost_protocol import Description, ToolSpec

__all__ = ["Offers"]

_MAX_TOOLS: Final = 1000  # the host keeps the schema of each
# Seconds of compiling that a plugin may ask for at once, and that it earns back each second.
# An ordinary schema takes a tenth of a millisecond, the dearest that is accepted 0.2 s.
_BUDGET: Final = 2.0
_EARNED: Final = 0.02


class Offers:
    """The tools of one plugin in the registry of all."""

    def __init__(
        self,
        provider: ToolProvider,
        policy: Policy,
        registry: ToolRegistry,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._policy = policy
        self._registry = registry
        self._timeout = timeout
        self._clock = clock
        self._pace = Pace(_EARNED, _BUDGET)

    async def prepare(self, description: Description) -> list[ToolEntry]:
        """What a plugin that was loaded offers. Raises `ToolRefused`, `PermissionDenied`."""
        tools = description.tools
        if tools:
            self._policy.check("tools:register")
        if len(tools) > _MAX_TOOLS:
            raise self._too_many(tools[_MAX_TOOLS])
        entries: dict[str, ToolEntry] = {}
        for spec in tools:
            entry = self._entry(spec)
            if entry.tool.name in entries:
                raise ToolRefused(entry.tool.name, "it is declared twice")
            entries[entry.tool.name] = entry
            await anyio.lowlevel.checkpoint()  # the other plugins' calls go on meanwhile
        return list(entries.values())

    def install(self, entries: list[ToolEntry]) -> None:
        """Offer these, and nothing else, from now on."""
        self._registry.replace(self._provider.id, entries)

    def add(self, spec: ToolSpec) -> None:
        """Offer one more. Raises `ToolRefused`."""
        offered = sum(entry.tool.plugin == self._provider.id for entry in self._registry)
        if offered >= _MAX_TOOLS:
            raise self._too_many(spec)
        self._registry.add(self._entry(spec))

    def remove(self, name: str) -> None:
        """Take one back. Raises `UnknownTool`."""
        self._registry.remove(f"{self._provider.id}.{name}")

    def _entry(self, spec: ToolSpec) -> ToolEntry:
        now = self._clock()
        if self._pace.debt(now) is not None:
            raise ToolRefused(
                f"{self._provider.id}.{spec.name}",
                "the schemas of this plugin take too long to compile: make them simpler",
            )
        entry = ToolEntry(self._provider, spec, self._timeout)
        self._pace.spend(self._clock() - now)
        return entry

    def _too_many(self, spec: ToolSpec) -> ToolRefused:
        name = f"{self._provider.id}.{spec.name}"
        return ToolRefused(name, f"a plugin may offer {_MAX_TOOLS} tools")
