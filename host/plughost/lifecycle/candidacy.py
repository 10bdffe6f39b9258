"""New versions of a plugin that are tried out beside the one that runs."""

import anyio.to_thread

from plughost.catalog.discovery import Found
from plughost.catalog.fingerprint import fingerprint
from plughost.errors import HostMisuse, StartFailed
from plughost.exits import WorkerExit
from plughost.rpc.worker import Worker
from plughost.supervision.logbook import LogBook
from plughost.units import format_share

from .canary import Canary, CanaryStatus, Decision
from .edition import Edition
from .surroundings import Surroundings
from .swapping import Swapping
from .trial import Trial
from .turns import Turns

__all__ = ["Candidacy"]


class Candidacy(Swapping):
    """Has one new version at a time on trial. It is promoted in a worker that is loaded anew:
    what the plugin registers is registered by a worker that has come to stay."""

    def __init__(self, found: Found, book: LogBook, surroundings: Surroundings) -> None:
        super().__init__(found, book, surroundings)
        self.trial: Trial | None = None
        """The version that takes a share of the calls."""
        self.turns = Turns(self.id)
        """Whose command may act on it."""

    @property
    def canary(self) -> CanaryStatus | None:
        """How the version stands that is on trial; None without one."""
        return None if self.trial is None else self.trial.status

    @property
    def workers(self) -> list[Worker]:
        on_trial = None if self.trial is None else self.trial.edition.worker
        return super().workers if on_trial is None else [*super().workers, on_trial]

    @property
    def is_idle(self) -> bool:
        # The trial would have nothing to be compared with.
        return self.trial is None and super().is_idle

    async def try_out(self, found: Found, terms: Canary) -> None:
        """Load a new version beside the one that runs, and have it take a share of the calls.

        Returns when it does; the verdict comes later. Raises as `HostedPlugin.swap`.
        """
        mark = await anyio.to_thread.run_sync(fingerprint, found)
        incoming, entries = await self._load_incoming(found)
        worker = incoming.worker
        assert worker is not None  # noqa: S101 - it is loaded
        for registry in self._registries:
            registry.on_abandoned(self.id)
        self._incoming = None
        version = found.manifest.version
        self.drop_trial(f"version {version} is tried out in its place")
        self.reload_error = ""
        self.trial = Trial(
            self, incoming, worker, entries, terms, mark, self._changes, self._surroundings
        )
        share = format_share(terms.share)
        self.log.note("info", f"version {version} is on trial, with {share} of the calls")
        self._tell_of_canary("began", version=version, share=terms.share)
        self._changed()
        self.wake_if_called()

    async def promote(self, reason: str) -> None:
        """Put the version that is on trial in the place of the one that runs.

        Raises `HostMisuse` without a trial, and `StartFailed`, after which the trial goes on.
        """
        trial = self.trial
        if trial is None:
            raise HostMisuse(f"no canary of plugin {self.id!r} runs, only version {self.version}")
        await trial.check_unchanged()

        def check_on_trial() -> None:
            if self.trial is not trial:
                raise StartFailed(self.id, f"version {trial.version} is no longer on trial")

        incoming, entries = await self._load_incoming(
            trial.found, trial.edition.config, check_on_trial
        )
        self._end_trial(Decision(promoted=True, reason=reason))
        self._turn_over(incoming, entries)

    def roll_back(self, reason: str) -> None:
        """Have what runs go on without what is on trial, which ends the calls that it has.
        Without a trial, nothing happens."""
        trial = self.trial
        self.drop_trial(reason)
        if trial is not None and trial.found.code == self.found.code:
            self.log.note(
                "warning",
                f"{trial.found.code} holds version {trial.version} still, which the next worker "
                f"would load: put version {self.version} back there",
            )

    def drop_trial(self, reason: str, drain: float | None = None) -> None:
        """The same where another command decides what runs. Calls have `drain` seconds, if it is
        given."""
        if self.trial is not None:
            self._end_trial(Decision(promoted=False, reason=reason), drain)

    def on_worker_exit(self, edition: Edition, worker: Worker, exit: WorkerExit) -> None:
        if self.trial is None or self.trial.edition is not edition:
            super().on_worker_exit(edition, worker, exit)
            return
        self._note_stack(exit)
        self.roll_back(str(exit))

    def _end_trial(self, decision: Decision, drain: float | None = None) -> None:
        trial, self.trial = self.trial, None
        assert trial is not None  # noqa: S101 - its callers have looked
        trial.close()
        told = f"version {trial.version}: {decision.reason}"
        if decision.promoted:
            self.log.note("info", f"the canary is promoted, {told}")
        else:
            self.reload_error = told
            self.log.note("warning", f"the canary is rolled back, {told}")
        step = "promoted" if decision.promoted else "rolled_back"
        self._tell_of_canary(step, version=trial.version, reason=decision.reason)
        self._outgoing.add(trial.edition, drain)
        self._changed()

    def _tell_of_canary(self, step: str, **about: object) -> None:
        for registry in self._registries:
            registry.on_canary(self.id, step, about)
