"""The hooks that there are: who registered what, and in which order they run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from plughost.catalog.discovery import Found
from plughost.catalog.event_names import EventPattern
from plughost.catalog.start_order import start_order
from plughost.errors import Overloaded
from plughost.policy.policy import Policy
from plughost_protocol.hooks import HookPosition, OnFailure

from .kinds import HookKind, Subject

__all__ = ["APPLICATION", "Hook", "HookInfo", "HookPlugin", "HookRegistry", "HookStats"]

APPLICATION: Final = "(app)"
"""Whose the application's own hooks are: no plugin can have this id."""

_CACHED: Final = 4096  # names whose hooks are remembered
_POSITIONS: Final[dict[HookPosition, int]] = {"first": 0, "plain": 1, "last": 2}


class HookPlugin(Protocol):
    """A plugin, as the order of its hooks and their policy need it."""

    @property
    def found(self) -> Found: ...
    @property
    def state(self) -> str: ...


@dataclass(slots=True)
class HookStats:
    """What has become of one hook of one plugin since the host started."""

    runs: int = 0
    """Times that it answered."""
    failures: int = 0
    """Times that it failed or was late, and that it was paused or its plugin was not there."""
    late: int = 0
    """Of these: it did not answer in time."""
    stopped: int = 0
    """Events that it stopped, and events and calls that it refused."""
    missed: int = 0
    """Events that it was not asked to handle: the hooks were too slow for them."""


@dataclass(frozen=True, slots=True)
class HookInfo:
    """A hook as it stands."""

    plugin: str
    """Its plugin's id; `(app)` for the application's own."""
    hook: str
    position: HookPosition
    only: str
    """A pattern of events or of tools; empty for all."""
    on_failure: OnFailure
    timeout: float
    """Seconds."""


@dataclass(slots=True, eq=False)
class Hook:
    """One registration."""

    id: int
    """The worker's own number for it, or the application's."""
    owner: str
    kind: HookKind
    position: HookPosition
    only: str
    on_failure: OnFailure
    timeout: float
    stats: HookStats
    policy: Policy | None = None
    """Its plugin's permissions; None for the application, which has them all."""
    callback: Callable[..., Any] | None = None
    """The application's own function."""
    number: int = 0
    gone: bool = False
    """Whether it was taken back, or is another worker's."""
    late: int = 0
    """Times in a row that it was late."""
    paused_until: float = 0.0
    _pattern: EventPattern | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.kind.subject is Subject.EVENT and self.only:
            self._pattern = EventPattern.parse(self.only)

    @property
    def info(self) -> HookInfo:
        return HookInfo(
            self.owner, self.kind.name, self.position, self.only, self.on_failure, self.timeout
        )

    def is_for_event(self, name: str) -> bool:
        """Whether it is for the event of this plain name, and may see it."""
        if self._pattern is not None and not self._pattern.matches(name):
            return False
        return self.policy is None or self.policy.allows("events:subscribe", name)

    def is_for_tool(self, name: str) -> bool:
        """Whether it is for calls of this tool."""
        return not self.only or fnmatchcase(name, self.only)


class HookRegistry:
    """All hooks. Those that a worker registers while it loads run once it is active; until then
    those of the worker before it stand, and fail."""

    def __init__(self, plugins: Mapping[str, HookPlugin], limit: int) -> None:
        """`limit` is the number of hooks that one plugin may have."""
        self.changed: Callable[[], None] = lambda: None
        """Called when a hook has come or gone."""
        self._plugins = plugins
        self._limit = limit
        self._hooks: list[Hook] = []
        self._loading: dict[str, list[Hook]] = {}
        self._stats: dict[tuple[str, str], HookStats] = {}
        self._ordered: dict[str, tuple[Hook, ...]] = {}
        self._found: dict[tuple[str, str], tuple[Hook, ...]] = {}
        self._count = 0

    def stats_of(self, owner: str, hook: str) -> HookStats:
        """The counts of this hook, over all registrations and workers."""
        return self._stats.setdefault((owner, hook), HookStats())

    @property
    def stats(self) -> dict[str, dict[str, HookStats]]:
        """By plugin and hook."""
        found: dict[str, dict[str, HookStats]] = {}
        for (owner, hook), stats in self._stats.items():
            found.setdefault(owner, {})[hook] = stats
        return found

    def add(self, hook: Hook) -> None:
        """Raises `Overloaded`; the same number again takes its place."""
        self.remove(hook.owner, hook.id)
        own = self.own(hook.owner)
        if hook.owner != APPLICATION and len(own) >= self._limit:
            raise Overloaded(hook.owner, "hooks", self._limit)
        self._count += 1
        hook.number = self._count
        if hook.owner in self._loading:
            self._loading[hook.owner].append(hook)
        else:
            self._change([*self._hooks, hook])

    def remove(self, owner: str, hook_id: int) -> None:
        """Take one back; what is not there is no error."""
        for hook in self.own(owner):
            if hook.id != hook_id:
                continue
            hook.gone = True
            if owner in self._loading:
                self._loading[owner].remove(hook)
            else:
                self._change([other for other in self._hooks if other is not hook])

    def own(self, owner: str) -> list[Hook]:
        """Those of one plugin: of its new worker, while that loads."""
        if owner in self._loading:
            return list(self._loading[owner])
        return [hook for hook in self._hooks if hook.owner == owner]

    # The life of plugins

    def on_loading(self, plugin_id: str) -> None:
        self._loading[plugin_id] = []

    def on_active(self, plugin_id: str) -> None:
        new = self._loading.pop(plugin_id, None)
        if new is not None:  # else it was enabled again, with the worker that it had
            self._replace(plugin_id, new)

    def on_unloaded(self, plugin_id: str) -> None:
        self._loading.pop(plugin_id, None)
        kept: list[Hook] = []
        if self._plugins[plugin_id].state == "error":
            # Or whoever brings the plugin down gets past it.
            kept = [hook for hook in self.own(plugin_id) if hook.on_failure == "closed"]
        self._replace(plugin_id, kept)

    def _replace(self, plugin_id: str, new: list[Hook]) -> None:
        others = [hook for hook in self._hooks if hook.owner != plugin_id]
        for hook in self._hooks:
            hook.gone |= hook.owner == plugin_id and hook not in new
        if new or len(others) < len(self._hooks):
            self._change(others + new)

    # Which run, and in which order

    def of(self, kind: str) -> tuple[Hook, ...]:
        """All of one kind, in their order."""
        ordered = self._ordered.get(kind)
        if ordered is None:
            found = [hook for hook in self._hooks if hook.kind.name == kind]
            ordered = self._ordered[kind] = self._sorted(found)
        return ordered

    def for_event(self, kind: str, name: str) -> tuple[Hook, ...]:
        """Those that see the event of this plain name."""
        return self._matching(kind, name, lambda hook: hook.is_for_event(name))

    def for_tool(self, kind: str, name: str) -> tuple[Hook, ...]:
        """Those that see calls of this tool."""
        return self._matching(kind, name, lambda hook: hook.is_for_tool(name))

    def is_disabled(self, hook: Hook) -> bool:
        """Whether someone has disabled its plugin, so that all goes on without it."""
        plugin = self._plugins.get(hook.owner)
        return plugin is not None and plugin.state == "disabled"

    def _matching(self, kind: str, name: str, fits: Callable[[Hook], bool]) -> tuple[Hook, ...]:
        hooks = self.of(kind)
        if not hooks:
            return hooks
        found = self._found.get((kind, name))
        if found is None:
            # A plugin may emit under ever new names.
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[kind, name] = tuple(filter(fits, hooks))
        return found

    def _sorted(self, hooks: list[Hook]) -> tuple[Hook, ...]:
        if not hooks:
            return ()
        depths = self._depths()

        def place(hook: Hook) -> tuple[int, int, str, int]:
            depth = depths.get(hook.owner, -1)  # the application's come first
            return _POSITIONS[hook.position], depth, hook.owner, hook.number

        return tuple(sorted(hooks, key=place))

    def _depths(self) -> dict[str, int]:
        """Of each plugin: one more than the deepest of what it depends on."""
        depths: dict[str, int] = {}
        order = start_order({name: plugin.found for name, plugin in self._plugins.items()})
        for name in order.ids:
            needed = [other for need in order.needs[name] for other in need.plugins]
            depths[name] = max((depths.get(other, 0) + 1 for other in needed), default=0)
        return depths

    def _change(self, hooks: list[Hook]) -> None:
        self._hooks = hooks
        self._ordered.clear()
        self._found.clear()
        self.changed()
