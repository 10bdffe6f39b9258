"""What the tests of events share."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from plughost import Event, Rates

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
ALL = ["tools:register", "events:subscribe", "events:emit"]
UNLIMITED = Rates(services={"events": None})

DESK = """
    from typing import Any
    from plughost_sdk import Plugin

    plugin = Plugin()
    seen = []

    @plugin.tool
    async def emit(name: str, data: Any = None, correlation_id: str = "") -> str | None:
        return await plugin.api.events.emit(name, data, correlation_id=correlation_id)

    @plugin.tool
    async def ask(name: str, data: Any = None, timeout: float = 5.0) -> Any:
        return await plugin.api.events.request(name, data, timeout=timeout)

    @plugin.tool
    async def listen(pattern: str, throttle: float | None = None) -> None:
        await plugin.api.events.on(pattern, note, throttle=throttle)

    @plugin.tool
    async def listen_once(pattern: str) -> None:
        await plugin.api.events.once(pattern, note)

    @plugin.tool
    async def stop(pattern: str) -> None:
        await plugin.api.events.off(pattern, note)

    @plugin.tool
    async def past(pattern: str) -> list:
        return [[e.name, e.data, e.source] for e in await plugin.api.events.history(pattern)]

    @plugin.tool
    async def noted() -> list:
        return seen

    async def note(event):
        seen.append([event.name, event.data, event.source])
        await plugin.api.events.emit("noted", [plugin.api.plugin_id, event.name, event.data])
"""


async def take(events: Any, count: int) -> list[Event]:
    """The next events of a stream."""
    with anyio.fail_after(20):
        return [await anext(events) for _ in range(count)]


async def until(events: Any, wanted: Callable[[Event], bool]) -> Event:
    """The next event of a stream for which `wanted` is true."""
    with anyio.fail_after(20):
        while True:
            event: Event = await anext(events)
            if wanted(event):
                return event


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when it holds, of what no event tells of."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - counters have no event
            await anyio.sleep(0.005)
