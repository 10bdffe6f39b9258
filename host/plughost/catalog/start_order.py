"""The order in which plugins start: what others need comes first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from plughost_protocol import __version__

from .dependencies import Dependency
from .discovery import Found
from .versions import is_older

__all__ = ["Need", "StartOrder", "start_order"]


@dataclass(frozen=True, slots=True)
class Need:
    """What a plugin waits for before it starts."""

    dependency: Dependency
    plugins: tuple[str, ...]
    """The plugins of which one must run: of a service, all that provide it."""


@dataclass(slots=True)
class StartOrder:
    """Which plugin starts when, and which cannot."""

    ids: list[str] = field(default_factory=list)
    """All plugins, those first that others need."""
    needs: dict[str, list[Need]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Why a plugin cannot start."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """What a plugin goes without, for its log."""


def start_order(plugins: Mapping[str, Found], broken: Iterable[str] = ()) -> StartOrder:
    """The order of these plugins. `broken` are names of some that were refused."""
    order = StartOrder()
    providers: dict[str, list[str]] = {}
    for plugin_id, plugin in plugins.items():
        for service in plugin.manifest.provides():
            providers.setdefault(service, []).append(plugin_id)
    known = _Known(plugins, providers, frozenset(broken))
    for plugin_id, plugin in plugins.items():
        order.needs[plugin_id] = needs = []
        reasons = []
        wanted = plugin.manifest.min_host_version
        if wanted and is_older(__version__, wanted):
            reasons.append(f"it is for plughost {wanted}, and this is {__version__}: update it")
        for dependency in plugin.needs:
            candidates, problem = known.resolve(dependency)
            if not problem:
                needs.append(Need(dependency, candidates))
            elif dependency.optional:
                order.notes.setdefault(plugin_id, []).append(
                    f"it goes without {dependency.in_words()}, {problem}"
                )
            else:
                reasons.append(f"it needs {dependency.in_words()}, {problem}")
        if reasons:
            order.refused[plugin_id] = "; ".join(reasons)
    _sort(order)
    return order


@dataclass(frozen=True, slots=True)
class _Known:
    plugins: Mapping[str, Found]
    providers: Mapping[str, list[str]]
    broken: frozenset[str]

    def resolve(self, dependency: Dependency) -> tuple[tuple[str, ...], str]:
        """The plugins that will do, or in words why none does."""
        name = dependency.name
        if dependency.is_service:
            candidates = tuple(self.providers.get(name, ()))
            return candidates, "" if candidates else "which no plugin here provides"
        if name not in self.plugins:
            there = "cannot be read: mend it" if name in self.broken else "is not installed"
            return (), f"which {there}"
        version = self.plugins[name].manifest.version
        if not dependency.accepts(version):
            return (), f"and {version} is there"
        return (name,), ""


def _sort(order: StartOrder) -> None:
    """Put the ids in order. Where dependencies go round, the optional ones are given up first."""
    while True:
        graph = {
            plugin_id: [name for need in needs for name in need.plugins if name != plugin_id]
            for plugin_id, needs in order.needs.items()
        }
        try:
            order.ids = list(TopologicalSorter(graph).static_order())
        except CycleError as exc:
            # Each needs the one before it.
            _break(order, list(reversed(exc.args[1]))[:-1])
        else:
            return


def _break(order: StartOrder, cycle: list[str]) -> None:
    for plugin_id, needed in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        needs = order.needs[plugin_id]
        optional = [n for n in needs if needed in n.plugins and n.dependency.optional]
        if optional and not any(needed in n.plugins for n in needs if n not in optional):
            order.needs[plugin_id] = [need for need in needs if need not in optional]
            return
    for position, plugin_id in enumerate(cycle):
        path = [*cycle[position:], *cycle[:position], plugin_id]
        order.refused[plugin_id] = f"dependencies go round: {' -> '.join(path)}"
        order.needs[plugin_id] = []
