"""The restart policy, with a clock and a die of our own."""

import pytest

from plughost import Cause, HostMisuse, Restart, WorkerExit
from plughost.supervision.restart import Again, GiveUp, RestartTracker

CRASH = WorkerExit(Cause.SIGNALLED, code=-11)
CLEAN = WorkerExit(Cause.EXITED, code=0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tracker(policy: Restart, clock: Clock | None = None, vary: float = 0.5) -> RestartTracker:
    return RestartTracker(policy, clock or Clock(), lambda: vary)


def test_the_back_off_doubles_up_to_its_maximum() -> None:
    deaths = tracker(Restart(limit=100, backoff=0.2, backoff_max=2.0))
    delays = []
    for _ in range(6):
        decision = deaths.died(CRASH, uptime=0)
        assert isinstance(decision, Again)
        delays.append(round(decision.delay, 3))
    assert delays == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@pytest.mark.parametrize(("vary", "delay"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_the_jitter_varies_the_back_off_by_its_share(vary: float, delay: float) -> None:
    decision = tracker(Restart(backoff=1.0, jitter=0.2), vary=vary).died(CRASH, uptime=0)
    assert isinstance(decision, Again)
    assert decision.delay == pytest.approx(delay)


def test_over_the_limit_in_the_period_it_is_given_up() -> None:
    deaths = tracker(Restart(limit=5, period=300))
    for _ in range(5):
        assert isinstance(deaths.died(CRASH, uptime=0), Again)
    decision = deaths.died(CRASH, uptime=0)
    assert isinstance(decision, GiveUp)
    assert "6 times in 5 min" in decision.reason


def test_deaths_that_left_the_period_do_not_count() -> None:
    clock = Clock()
    deaths = tracker(Restart(limit=2, period=60), clock)
    for _ in range(10):
        assert isinstance(deaths.died(CRASH, uptime=1), Again)
        clock.now += 31


def test_after_stability_all_is_forgiven() -> None:
    deaths = tracker(Restart(limit=1, stable_after=30))
    assert deaths.died(CRASH, uptime=0) == deaths.died(CRASH, uptime=30)


def test_what_cannot_be_loaded_is_not_tried_again() -> None:
    decision = tracker(Restart()).died(WorkerExit(Cause.LOAD_FAILED), uptime=0)
    assert isinstance(decision, GiveUp)
    assert "not tried again" in decision.reason


def test_the_memory_limit_is_forgiven_once_and_a_deadline_up_to_the_limit() -> None:
    memory = WorkerExit(Cause.MEMORY)
    deaths = tracker(Restart())
    assert isinstance(deaths.died(memory, uptime=1), Again)
    assert isinstance(deaths.died(memory, uptime=1), GiveUp)
    deadline = WorkerExit(Cause.DEADLINE)
    deaths = tracker(Restart())
    assert all(isinstance(deaths.died(deadline, uptime=1), Again) for _ in range(5))


def test_the_mode_says_which_ends_are_followed_by_a_start() -> None:
    assert isinstance(tracker(Restart(mode="never")).died(CRASH, uptime=99), GiveUp)
    assert isinstance(tracker(Restart(mode="on-crash")).died(CLEAN, uptime=99), GiveUp)
    assert isinstance(tracker(Restart(mode="always")).died(CLEAN, uptime=99), Again)


def test_somebody_who_acts_clears_the_count() -> None:
    deaths = tracker(Restart(limit=1))
    deaths.died(CRASH, uptime=0)
    deaths.forgive()
    assert isinstance(deaths.died(CRASH, uptime=0), Again)


def test_an_unknown_mode_is_refused_where_it_is_written() -> None:
    with pytest.raises(HostMisuse, match="sometimes"):
        Restart(mode="sometimes")
