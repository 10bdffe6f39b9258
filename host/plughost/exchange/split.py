"""The calls of one plugin, shared between the version that runs and one that is tried out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import Final

from plughost.config import Limits
from plughost.errors import InvalidParams, PlughostError
from plughost.rpc.worker import Worker

from .entry import CompileBudget, Entry, Provider
from .tools import ToolEntry, ToolRegistry

__all__ = ["Split", "Tally"]

_HASH_BITS: Final = 64


@dataclass(slots=True)
class Tally:
    """The calls of one version that have ended."""

    calls: int = 0
    errors: int = 0
    invalid: int = 0
    """Calls whose parameters its schemas refused. They are in neither of the others."""


class _Arm:
    """One of two versions, as the provider of its tools: what it counts is the plugin's, too."""

    def __init__(self, plugin: Provider, on_count: Callable[[], None]) -> None:
        self.tally = Tally()
        self._plugin = plugin
        self._on_count = on_count

    @property
    def id(self) -> str:
        return self._plugin.id

    @property
    def limits(self) -> Limits:
        return self._plugin.limits

    @property
    def timeout(self) -> float:
        return self._plugin.timeout

    @property
    def budget(self) -> CompileBudget:
        return self._plugin.budget

    @property
    def active_worker(self) -> Worker | None:
        return self._plugin.active_worker

    async def wait_for_worker(self, timeout: float) -> Worker:
        return await self._plugin.wait_for_worker(timeout)

    def count(self, error: PlughostError | None) -> None:
        self._plugin.count(error)
        if isinstance(error, InvalidParams):
            self.tally.invalid += 1
            return
        self.tally.calls += 1
        self.tally.errors += error is not None
        self._on_count()


class _NewArm(_Arm):
    """The version that is tried out; once that has ended, the plugin itself."""

    def __init__(self, plugin: Provider, on_count: Callable[[], None], worker: Worker) -> None:
        super().__init__(plugin, on_count)
        self.worker: Worker | None = worker

    @property
    def active_worker(self) -> Worker | None:
        return self.worker or self._plugin.active_worker


class _ArmEntry(ToolEntry):
    """A tool of one of the two: the same entry, with calls that count for its version."""

    __slots__ = ("_registry",)

    def __init__(self, entry: ToolEntry, arm: _Arm, registry: ToolRegistry) -> None:
        for name in (*Entry.__slots__, *ToolEntry.__slots__):
            setattr(self, name, getattr(entry, name))
        self.provider = arm
        self._registry = registry

    def instead(self) -> Entry:
        return self._registry.latest(self)


class Split:
    """Says which version takes a call, until it is closed.

    Calls that come for a user are shared out by the user: one user sees one version. Of all
    others, the share is exact, with no chance in it: of every 10 calls the first 9 go to the
    version that runs where the share is a tenth.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        plugin: Provider,
        worker: Worker,
        entries: Iterable[ToolEntry],
        share: Fraction,
        salt: str,
        on_count: Callable[[], None],
    ) -> None:
        """`worker` and `entries` are the new version's. `salt` decides which users it gets."""
        self._registry = registry
        self._plugin_id = plugin.id
        self._old = _Arm(plugin, on_count)
        self._new = _NewArm(plugin, on_count, worker)
        self._entries = {e.tool.name: _ArmEntry(e, self._new, registry) for e in entries}
        self._old_entries: dict[ToolEntry, _ArmEntry] = {}
        self._share = share
        self._salt = salt
        self._owed = 0
        registry.splits[self._plugin_id] = self

    @property
    def new(self) -> Tally:
        return self._new.tally

    @property
    def old(self) -> Tally:
        """Of the version that runs: what it shares with the new one, since that began."""
        return self._old.tally

    def close(self) -> None:
        """From now on every call is the plugin's own."""
        self._new.worker = None
        if self._registry.splits.get(self._plugin_id) is self:
            del self._registry.splits[self._plugin_id]

    def choose(self, entry: ToolEntry, user_id: str) -> ToolEntry:
        """The entry that takes a call of this tool: of one that only one version has, its own."""
        new = self._entries.get(entry.tool.name)
        if new is None:
            return entry
        if self._is_for_new(user_id):
            return new
        old = self._old_entries.get(entry)
        if old is None:
            old = self._old_entries[entry] = _ArmEntry(entry, self._old, self._registry)
        return old

    def has(self, entry: ToolEntry) -> bool:
        """Whether it has chosen this entry for a call."""
        return entry.provider is self._new or entry.provider is self._old

    def _is_for_new(self, user_id: str) -> bool:
        share = self._share
        if user_id:
            digest = blake2b(f"{self._salt}\0{user_id}".encode(), digest_size=_HASH_BITS // 8)
            number = int.from_bytes(digest.digest(), "big")
            return number * share.denominator < share.numerator << _HASH_BITS
        self._owed += share.numerator
        if self._owed < share.denominator:
            return False
        self._owed -= share.denominator
        return True
