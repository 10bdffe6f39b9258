"""The states of a plugin, and what leads from one to the next.

Everything that changes a plugin's state must go through `TRANSITIONS`: a missing entry is the
error. The diagram in docs/architecture.md is generated from this table.
"""

from enum import StrEnum
from typing import Final

from plughost.errors import HostMisuse

__all__ = ["TRANSITIONS", "Event", "State", "next_state"]


class State(StrEnum):
    """Where a plugin stands."""

    UNLOADED = "unloaded"
    """Found, and no worker runs."""
    LOADING = "loading"
    """A worker starts."""
    ACTIVE = "active"
    """Its tools can be called, also while another worker is loaded to take this one's place."""
    SLEEPING = "sleeping"
    """What it offers is known and no worker runs: the first use starts one."""
    RESTARTING = "restarting"
    """Its worker died, and the next one is due: calls wait within their deadlines."""
    DRAINING = "draining"
    """No new calls; those that are open may end."""
    ERROR = "error"
    """It is not tried again until someone acts."""
    DISABLED = "disabled"
    """The operator does not want it called; a worker that ran lives on."""


class Event(StrEnum):
    """What happens to a plugin."""

    START = "start"
    RETRY = "retry"
    """The back-off is over."""
    LOADED = "loaded"
    DIED = "died"
    """The worker ended, and the restart policy gives it another chance."""
    GAVE_UP = "gave up"
    """The worker ended, or never came up, and is not tried again."""
    SLEEP = "sleep"
    """What it offers is known, and nobody needs its worker."""
    WAKE = "wake"
    """Somebody needs it."""
    STOP = "stop"
    STOPPED = "stopped"
    DISABLE = "disable"
    ENABLE = "enable"


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.UNLOADED: {
        Event.START: State.LOADING,
        Event.SLEEP: State.SLEEPING,
        Event.GAVE_UP: State.ERROR,
        Event.DISABLE: State.DISABLED,
    },
    State.LOADING: {
        Event.LOADED: State.ACTIVE,
        Event.DIED: State.RESTARTING,
        Event.GAVE_UP: State.ERROR,
        Event.SLEEP: State.SLEEPING,
        Event.STOP: State.DRAINING,
    },
    State.ACTIVE: {
        Event.DIED: State.RESTARTING,
        Event.GAVE_UP: State.ERROR,
        Event.SLEEP: State.SLEEPING,
        Event.STOP: State.DRAINING,
        Event.DISABLE: State.DISABLED,
    },
    State.SLEEPING: {
        Event.WAKE: State.LOADING,
        Event.GAVE_UP: State.ERROR,
        Event.STOP: State.DRAINING,
        Event.DISABLE: State.DISABLED,
    },
    State.RESTARTING: {
        Event.RETRY: State.LOADING,
        Event.GAVE_UP: State.ERROR,
        Event.STOP: State.DRAINING,
    },
    State.DRAINING: {Event.STOPPED: State.UNLOADED},
    State.ERROR: {
        Event.START: State.LOADING,
        Event.STOP: State.DRAINING,
        Event.DISABLE: State.DISABLED,
    },
    State.DISABLED: {
        Event.ENABLE: State.LOADING,
        Event.DIED: State.DISABLED,
        Event.STOP: State.DRAINING,
    },
}


def next_state(state: State, event: Event) -> State:
    """Where `event` leads from `state`. Raises `HostMisuse` for one that may not happen there."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise HostMisuse(f"a plugin that is {state} cannot {event}") from None
