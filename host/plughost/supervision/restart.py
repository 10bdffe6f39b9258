"""When a worker that died is started again: a policy that counts, with the clock given to it."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from plughost.config import Restart
from plughost.exits import Cause, WorkerExit
from plughost.units import format_seconds

__all__ = ["Again", "GiveUp", "RestartTracker"]


@dataclass(frozen=True, slots=True)
class Again:
    """Start it again after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it until someone acts, for this reason."""

    reason: str


class RestartTracker:
    """The deaths of one plugin's workers, and what follows from each."""

    def __init__(
        self,
        policy: Restart,
        clock: Callable[[], float],
        vary: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._vary = vary
        self._deaths: deque[tuple[float, Cause]] = deque()

    def died(self, exit: WorkerExit, uptime: float) -> Again | GiveUp:
        """What to do about a death, `uptime` seconds after the worker was ready (0 for never)."""
        policy = self._policy
        if policy.mode == "never":
            return GiveUp("its restart policy is 'never'")
        if policy.mode == "on-crash" and exit.cause is Cause.EXITED and exit.code == 0:
            return GiveUp("it ended by itself, and its restart policy is 'on-crash'")
        now = self._clock()
        if uptime >= policy.stable_after:
            self._deaths.clear()
        while self._deaths and self._deaths[0][0] <= now - policy.period:
            self._deaths.popleft()
        self._deaths.append((now, exit.cause))
        same = sum(cause is exit.cause for _, cause in self._deaths)
        allowed = policy.attempts.get(exit.cause, policy.limit)
        if same > allowed:
            return GiveUp(_too_often(exit, same, policy.period))
        if len(self._deaths) > policy.limit:
            return GiveUp(f"it died {len(self._deaths)} times in {format_seconds(policy.period)}")
        delay = min(policy.backoff * 2.0 ** min(len(self._deaths) - 1, 60), policy.backoff_max)
        return Again(delay * (1 + policy.jitter * (2 * self._vary() - 1)))

    def forgive(self) -> None:
        """Forget all deaths: somebody acted."""
        self._deaths.clear()


def _too_often(exit: WorkerExit, times: int, period: float) -> str:
    if exit.cause is Cause.LOAD_FAILED:
        return "what cannot be loaded is not tried again"
    if exit.cause is Cause.DISK:
        return "its data folder must be cleaned first"
    if times == 1:
        return f"it is not tried again after: {exit.cause.value}"
    return f"{exit.cause.value} {times} times in {format_seconds(period)}"
