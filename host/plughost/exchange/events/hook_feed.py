"""Events on their way to the hooks that handle them: bounded, and the oldest is lost first."""

import logging
from collections import deque
from typing import Final, Protocol

from plughost.reactor import Reactor
from plughost.service_config import EventsConfig

from .event import Admitted, Event

__all__ = ["EventHandling", "HookFeed"]

_log: Final = logging.getLogger("plughost.events")


class EventHandling(Protocol):
    """The hooks that handle events."""

    async def handled(self, event: Event) -> None:
        """The event was taken, and is on its way to its subscribers."""

    def missed(self, event: Event) -> None:
        """The hooks are too slow to be asked about this event."""


class HookFeed:
    """Asks hooks about one event after the other. Who emits waits for nothing of it."""

    def __init__(self, config: EventsConfig) -> None:
        self._config = config
        self._waiting: deque[Admitted] = deque()
        self._bytes = 0
        self._runs = False

    def put(self, admitted: Admitted, hooks: EventHandling, reactor: Reactor) -> None:
        """Have the hooks asked, or miss the oldest event for it."""
        config = self._config
        self._waiting.append(admitted)
        self._bytes += admitted.size
        while len(self._waiting) > config.queue or self._bytes > config.queue_bytes:
            hooks.missed(self._take().event)
        if self._waiting and not self._runs:
            self._runs = True
            reactor.spawn(self._run, hooks)

    def _take(self) -> Admitted:
        admitted = self._waiting.popleft()
        self._bytes -= admitted.size
        return admitted

    async def _run(self, hooks: EventHandling) -> None:
        while self._waiting:
            try:
                await hooks.handled(self._take().event)
            except Exception:  # noqa: BLE001 - our bug: the next events go on
                _log.exception("the hooks for an event failed")
        self._runs = False
