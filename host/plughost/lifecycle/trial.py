"""A new version beside the one that runs: it takes its share of the calls until the verdict."""

import logging
from dataclasses import replace
from typing import Final, Protocol

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Found
from plughost.catalog.fingerprint import fingerprint
from plughost.errors import PlughostError, StartFailed
from plughost.exchange.entry import Provider
from plughost.exchange.split import Split
from plughost.exchange.tools import ToolEntry
from plughost.rpc.standing import Standing
from plughost.rpc.worker import Worker
from plughost.units import format_seconds

from .canary import Canary, CanaryStatus, Decision, exactly, judge
from .changes import Changes
from .edition import Edition
from .surroundings import Surroundings
from .turns import Turns

__all__ = ["Trial", "TrialOwner"]

_log: Final = logging.getLogger("plughost")

_LOOK: Final = 0.5  # seconds between two looks at whether its worker responds
_DEADLINE: Final = 120.0  # seconds that a promotion has, those included that it waits for others


class TrialOwner(Provider, Protocol):
    """The plugin, as a trial of a new version of it needs it."""

    turns: Turns
    trial: "Trial | None"

    @property
    def error(self) -> str: ...
    @property
    def is_wanted(self) -> bool: ...
    async def settled(self) -> None:
        """Return when it is not loading."""

    async def promote(self, reason: str) -> None:
        """Put the version that is on trial in the place of the one that runs."""

    def roll_back(self, reason: str) -> None:
        """Let it take no more calls. Without a trial, nothing happens."""


class Trial:
    """One edition of a plugin that is tried out. Its worker registers nothing: what others see
    of the plugin is the version that runs, but for the calls of tools that both have."""

    def __init__(
        self,
        owner: TrialOwner,
        edition: Edition,
        worker: Worker,
        entries: list[ToolEntry],
        terms: Canary,
        mark: str,
        changes: Changes,
        around: Surroundings,
    ) -> None:
        """`mark` is the fingerprint of its files. `changes` tells what happens to the plugin."""
        self.edition = edition
        self.terms = terms
        self._owner = owner
        self._worker = worker
        self._mark = mark
        self._changes = changes
        self._reactor = around.reactor
        self._began = around.reactor.now()
        self._decided = False
        worker.standing = Standing.TRIAL
        self._split = Split(
            around.tools,
            owner,
            worker,
            edition.offers.with_early(entries),
            exactly(terms.share),
            f"{owner.id} {self.version}",
            self._on_count,
        )
        self._reactor.spawn(self._watch)

    @property
    def found(self) -> Found:
        return self.edition.found

    @property
    def version(self) -> str:
        return self.edition.found.manifest.version

    @property
    def status(self) -> CanaryStatus:
        """How it stands."""
        new, old = replace(self._split.new), replace(self._split.old)
        return CanaryStatus(self.version, self.terms, self._elapsed, new, old)

    def close(self) -> None:
        """Let it take no more calls; those that it has may end."""
        self._split.close()
        self._worker.standing = Standing.OUTGOING

    async def check_unchanged(self) -> None:
        """Raises `StartFailed` where its files are no longer those that were tried out."""
        if await anyio.to_thread.run_sync(fingerprint, self.found) != self._mark:
            raise StartFailed(
                self._owner.id,
                f"the files in {self.found.code} were changed since version {self.version} was "
                "loaded from there, and what was not tried out is not promoted: reload it with a "
                "canary again, or without one",
            )

    @property
    def _elapsed(self) -> float:
        return self._reactor.now() - self._began

    def _verdict(self) -> Decision | None:
        if self._worker.unresponsive:
            silent = format_seconds(self._worker.limits.unresponsive_after)
            return Decision(
                promoted=False, reason=f"its worker's message loop is silent for over {silent}"
            )
        if not self._owner.is_wanted:
            why = f"the version that runs has stopped: {self._owner.error}"
            return Decision(promoted=False, reason=why)
        return judge(self.terms, self._split.new, self._split.old, self._elapsed)

    def _on_count(self) -> None:
        if self._decided or self._owner.trial is not self:
            return
        decision = judge(self.terms, self._split.new, self._split.old, self._elapsed)
        if decision is None:
            return
        self._decided = True
        if decision.promoted:
            self._changes.tell()  # it takes a wait, and is done by the watch
        else:
            self._owner.roll_back(decision.reason)

    async def _watch(self) -> None:
        while self._owner.trial is self:
            decision = self._verdict()
            if decision is not None:
                self._decided = True
                await self._carry_out(decision)
                break
            left = self.terms.seconds - self._elapsed
            with anyio.move_on_after(max(0.0, min(_LOOK, left))):
                await self._changes.next()

    async def _carry_out(self, decision: Decision) -> None:
        async def promote() -> None:
            await self._owner.settled()
            if self._owner.trial is self:  # no other command has come before
                await self._owner.promote(decision.reason)

        reason = decision.reason
        if decision.promoted:
            try:
                await self._owner.turns.take("promote", _DEADLINE, promote)
            except PlughostError as exc:
                why = exc.reason if isinstance(exc, StartFailed) else str(exc)
                reason = f"it could not be promoted: {why}"
            except Exception:  # noqa: BLE001 - our bug: the plugin goes on as it is
                _log.exception("version %s of %s was not promoted", self.version, self._owner.id)
                reason = "it could not be promoted: the host failed, and its log says why"
        if self._owner.trial is self:
            self._owner.roll_back(reason)
