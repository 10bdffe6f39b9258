"""What one plugin offers, taken in within bounds: a schema costs the host time to compile."""

from typing import Final

import anyio.lowlevel

from plughost.errors import UnknownTool
from plughost.exchange.entry import OfferRefused, Provider
from plughost.exchange.tools import ToolEntry, ToolRegistry
from plughost.policy.policy import Policy
from plughost.rpc.standing import Registrant, Standing
from plughost_protocol import Description, ToolSpec

__all__ = ["Offers"]

_MAX_TOOLS: Final = 1000  # the host keeps the schema of each


class Offers:
    """The tools of one plugin in the registry of all."""

    def __init__(self, provider: Provider, policy: Policy, registry: ToolRegistry) -> None:
        self._provider = provider
        self._policy = policy
        self._registry = registry
        self._early: dict[str, ToolEntry] = {}

    async def prepare(self, description: Description, worker: Registrant) -> list[ToolEntry]:
        """What a plugin that was loaded offers. Raises `OfferRefused`, `PermissionDenied`."""
        tools = description.tools
        if tools:
            self._policy.check("tools:register")
        if len(tools) > _MAX_TOOLS:
            raise self._too_many(tools[_MAX_TOOLS])
        entries: dict[str, ToolEntry] = {}
        for spec in tools:
            entry = ToolEntry(self._provider, spec, worker)
            if entry.tool.name in entries:
                raise OfferRefused(f"tool {entry.tool.name}", "it is declared twice")
            entries[entry.tool.name] = entry
            await anyio.lowlevel.checkpoint()  # the other plugins' calls go on meanwhile
        return list(entries.values())

    def install(self, entries: list[ToolEntry]) -> None:
        """Offer these, what was added meanwhile, and nothing else, from now on."""
        self._registry.replace(self._provider.id, self.with_early(entries))

    def with_early(self, entries: list[ToolEntry]) -> list[ToolEntry]:
        """These, and what was added while the plugin was loaded."""
        early, self._early = self._early, {}
        return list(({entry.tool.name: entry for entry in entries} | early).values())

    def add(self, spec: ToolSpec, worker: Registrant) -> None:
        """Offer one more. Raises `OfferRefused`."""
        entry = ToolEntry(self._provider, spec, worker)
        if worker.standing is Standing.LOADING:
            # Beside what it declares, which others may still stand in for.
            if len(self._early) >= _MAX_TOOLS:
                raise self._too_many(spec)
            self._early[entry.tool.name] = entry
            return
        if self._registry.count(self._provider.id) >= _MAX_TOOLS:
            raise self._too_many(spec)
        self._registry.add(entry)

    def remove(self, name: str, worker: Registrant) -> None:
        """Take one back. Raises `UnknownTool`."""
        full_name = f"{self._provider.id}.{name}"
        if worker.standing is not Standing.LOADING:
            self._registry.remove(full_name)
        elif self._early.pop(full_name, None) is None:
            raise UnknownTool(full_name, self._early)

    def _too_many(self, spec: ToolSpec) -> OfferRefused:
        name = f"tool {self._provider.id}.{spec.name}"
        return OfferRefused(name, f"a plugin may offer {_MAX_TOOLS} tools")
