"""Where a worker stands among the workers of its plugin, and what stands in for one."""

from enum import StrEnum
from typing import Protocol

from plughost.config import Limits
from plughost.exits import WorkerExit

__all__ = ["Registrant", "StandIn", "Standing"]


class Standing(StrEnum):
    """Whose registrations a worker's are."""

    LOADING = "loading"
    """It is being loaded: what it registers takes effect in one step, once it is active."""
    SERVING = "serving"
    """It is the plugin's worker: what it registers takes effect at once."""
    TRIAL = "trial"
    """It takes a share of the calls beside the one that serves, whose registrations stand: it
    registers nothing unless it is promoted, and then in a worker that is loaded anew."""
    OUTGOING = "outgoing"
    """Another one has taken its place: it ends what it has begun, and registers nothing more."""

    @property
    def may_register(self) -> bool:
        """Whether it may add to what the plugin offers."""
        return self in (Standing.LOADING, Standing.SERVING)


class Registrant(Protocol):
    """Whose registrations they are: a worker's, or those of what stands in for one."""

    @property
    def plugin_id(self) -> str: ...
    @property
    def standing(self) -> Standing: ...
    @property
    def exit(self) -> WorkerExit | None: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def timeout(self) -> float:
        """The deadline, in seconds, of what it registers without one."""

    async def wait(self) -> None:
        """Return when it has ended, with all that it has asked for."""


class StandIn:
    """In the place of a worker, while its plugin sleeps: registrations without a process."""

    def __init__(self, plugin_id: str, limits: Limits, timeout: float) -> None:
        self.plugin_id = plugin_id
        self.standing = Standing.LOADING
        self.exit: WorkerExit | None = None
        self.limits = limits
        self.timeout = timeout

    async def wait(self) -> None:
        """At once: it asks for nothing that could outlive it."""
