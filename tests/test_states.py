"""The state table of a plugin."""

import pytest

from plughost import HostMisuse
from plughost.lifecycle.states import TRANSITIONS, Event, State, next_state


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_leads_where_the_table_says_and_is_refused_elsewhere(
    state: State, event: Event
) -> None:
    if event in TRANSITIONS[state]:
        assert next_state(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(HostMisuse, match=f"{state} cannot {event}"):
            next_state(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {target for ways in TRANSITIONS.values() for target in ways.values()}
    assert reached == set(State)
    assert all(TRANSITIONS[state] for state in State)
