"""Events of tool calls: emitted only while somebody subscribes to them."""

from collections.abc import Callable
from typing import Any, Final

from plughost.errors import PlughostError
from plughost.exchange.calls import CallContext
from plughost.exchange.tool_calls import CallObserver
from plughost.exchange.tools import Tool

from .bus import EventBus
from .event import HOST, Origin

__all__ = ["ToolEvents"]

_BEFORE: Final = "tool:before_execute"
_AFTER: Final = "tool:after_execute"


class ToolEvents:
    """Watches tool calls while there are subscriptions to their events."""

    def __init__(self, bus: EventBus, watch: Callable[[CallObserver | None], None]) -> None:
        """`watch` is called with what observes calls from now on, or None."""
        self._bus = bus
        self._watch = watch
        self._before = self._after = False
        bus.index.changed = self._look
        self._look()

    def _look(self) -> None:
        self._before = bool(self._bus.index.match(_BEFORE.replace(":", ".")))
        self._after = bool(self._bus.index.match(_AFTER.replace(":", ".")))
        self._watch(self if self._before or self._after else None)

    def began(self, tool: Tool, context: CallContext) -> Callable[[PlughostError | None], None]:
        """A call begins. What it answers is called at its end."""
        bus = self._bus
        began = bus.reactor.now()
        origin = Origin.caused(
            HOST, context.caller, context.user_id, context.request_id, context.trace
        )
        said = {"tool": tool.name, "plugin": tool.plugin, "caller": context.caller}
        if self._before:
            bus.post(_BEFORE, said, origin)

        def ended(error: PlughostError | None) -> None:
            if not self._after:
                return
            duration = (bus.reactor.now() - began) * 1000
            outcome: dict[str, Any] = {"duration": round(duration, 3), "success": error is None}
            if error is not None:
                outcome["error"] = error.code
            bus.post(_AFTER, said | outcome, origin)

        return ended
