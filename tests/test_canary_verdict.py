"""The verdict on a version that is on trial, and who gets which version: no processes."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost import Canary, HostMisuse
from plughost.exchange.split import Tally
from plughost.lifecycle.canary import Decision, judge

NO_CALLS = Tally()


def verdict(terms: Canary, outcomes: Sequence[bool], old: Tally = NO_CALLS) -> Decision | None:
    """The first verdict while calls end one after the other; True is a call that failed."""
    new = Tally()
    for failed in outcomes:
        new.calls += 1
        new.errors += failed
        if decision := judge(terms, new, old, 0.0):
            return decision
    return None


def decided(decision: Decision | None) -> Decision:
    assert decision is not None
    return decision


@given(
    calls=st.integers(20, 120),
    percent=st.integers(0, 60),
    outcomes=st.lists(st.booleans(), min_size=120, max_size=120),
)
def test_a_verdict_that_comes_early_is_that_of_all_the_calls(
    calls: int, percent: int, outcomes: list[bool]
) -> None:
    terms = Canary(calls=calls, max_error_rate=percent / 100)
    promoted = decided(verdict(terms, outcomes)).promoted
    assert promoted == (sum(outcomes[:calls]) * 100 <= percent * calls)


@given(errors=st.integers(0, 100), old=st.builds(Tally, st.integers(20, 999), st.integers(0, 20)))
def test_a_version_that_fails_no_more_often_than_the_one_before_is_promoted(
    errors: int, old: Tally
) -> None:
    terms = Canary(max_error_rate=1.0)
    new = Tally(100, errors)
    fits = errors * old.calls <= old.errors * 100 + 2 * old.calls
    assert decided(judge(terms, new, old, 1.0)).promoted == fits


@given(
    st.integers(0, 19), st.integers(0, 200), st.sampled_from([0.0, 599.9]), st.integers(0, 10_000)
)
def test_few_calls_that_may_yet_turn_out_well_have_no_verdict(
    calls: int, errors: int, elapsed: float, old: int
) -> None:
    terms = Canary(max_error_rate=0.2)
    new = Tally(calls, min(calls, errors))
    assert judge(terms, new, Tally(old), elapsed) is None


@pytest.mark.parametrize(
    ("new", "old", "elapsed", "promoted", "reason"),
    [
        (Tally(6, 6), Tally(), 1, False, "6 of its 6 calls failed, and of 100 no more than 5 may"),
        (
            Tally(19),
            Tally(),
            600,
            False,
            "too few calls to judge it by: 19 in 10 min",
        ),
        (Tally(0), Tally(), 600, False, "too few calls to judge it by: 0 in 10 min"),
        (Tally(20), Tally(), 600, True, "0 of its 20 calls failed"),
        (Tally(40, 3), Tally(), 600, False, "3 of its 40 calls failed (7.5%), over 5.0%"),
        (Tally(100, 5), Tally(19), 1, True, "5 of its 100 calls failed"),
        (Tally(100, 5), Tally(900, 27), 1, True, "and 27 of 900 of the version before it"),
        (Tally(100, 5), Tally(900, 26), 1, False, "and 26 of 900 of the version before it"),
        (Tally(100, 2), Tally(900), 1, True, "and 0 of 900 of the version before it"),
    ],
)
def test_verdicts_say_why(
    new: Tally, old: Tally, elapsed: float, promoted: bool, reason: str
) -> None:
    decision = decided(judge(Canary(), new, old, elapsed))
    assert decision.promoted is promoted
    assert reason in decision.reason


def test_calls_with_wrong_parameters_are_the_callers_own() -> None:
    assert judge(Canary(), Tally(10, 0, invalid=500), Tally(), 1.0) is None


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"share": 0}, "share must be a number more than 0 and at most 1, not 0"),
        ({"share": 1.1}, "share must be"),
        ({"share": "10%"}, "share must be a number .*, not '10%'"),
        ({"share": float("nan")}, "share must be"),
        ({"calls": 0}, "calls must be a whole number from 1 on, not 0"),
        ({"calls": 10.0}, "calls must be a whole number"),
        ({"calls": 10}, "least_calls is 20, and it is judged after 10 calls"),
        ({"least_calls": True}, "least_calls must be a whole number"),
        ({"seconds": 0}, "seconds must be a number more than 0"),
        ({"seconds": float("inf")}, "seconds must be"),
        ({"max_error_rate": 1.5}, "max_error_rate must be a number from 0 to 1"),
        ({"tolerance": -0.1}, "tolerance must be a number from 0 to 1"),
    ],
)
def test_terms_that_cannot_be_are_refused_where_they_are_made(
    terms: dict[str, Any], reason: str
) -> None:
    with pytest.raises(HostMisuse, match=reason):
        Canary(**terms)
