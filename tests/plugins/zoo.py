"""A host that runs some of the bestiary, with the neighbour `steady` called all the time."""

import asyncio
import gc
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio

from plughost import (
    GRANT_ALL_ASKED,
    CallContext,
    Cause,
    Host,
    HostConfig,
    Layer,
    Limits,
    PluginConfig,
    Rates,
    Restart,
    Sandbox,
)

__all__ = ["ALL_LAYERS", "PATIENCE", "PLUGINS", "QUICK", "RESTART", "until", "zoo"]

PLUGINS: Final = Path(__file__).parent
ALL_LAYERS: Final = frozenset(Layer)
PATIENCE: Final = 30.0
"""Seconds after which a wait is a failure, on a machine that is busy with other things."""
QUICK: Final = Limits(call_timeout=20.0, load_timeout=10.0, grace=0.2)
RESTART: Final = Restart(
    limit=5, backoff=0.01, jitter=0.0, attempts={Cause.LOAD_FAILED: 0, Cause.NOT_READY: 0}
)


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds. For what the host does by itself and tells nobody."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.005)


@asynccontextmanager
async def zoo(
    *plugins: str | Path,
    limits: Limits = QUICK,
    restart: Restart = RESTART,
    config: Mapping[str, Any] | None = None,
    steady: bool = True,
    without: frozenset[Layer] = frozenset(),
    grants: Mapping[str, Sequence[str]] = GRANT_ALL_ASKED,
    shared_template: bool = True,
    rates: Rates = Rates(),  # noqa: B008 - frozen
) -> AsyncGenerator[Host, None]:
    """A host with these plugins, by the names of their folders, and with `steady`.

    `limits` and `config` are for all of them but `steady`. While the block runs, `steady` is
    called again and again: each call must be answered. Nothing may have ended in the event
    loop's exception handler.

    All that is asked for is granted, and every layer of the sandbox is on but those in `without`.
    The template process is shared, which is not the default of a host but starts one twice as
    soon, without cgroups; say otherwise where templates or limits are the subject.
    """
    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    folders = [PLUGINS / name for name in plugins]
    own = {folder.name.replace("_", "-"): PluginConfig(config=config or {}) for folder in folders}
    state = tempfile.TemporaryDirectory(prefix="zoo-")
    settings = HostConfig(
        limits=limits,
        restart=restart,
        plugins=own | {"steady": PluginConfig(limits=Limits())},
        grants=grants,
        sandbox=Sandbox(without),
        shared_template=shared_template,
        rates=rates,
        state_folder=Path(state.name),
    )
    try:
        async with Host([*folders, *([PLUGINS / "steady"] if steady else [])], settings) as host:
            if not steady:
                yield host
            else:
                asking = asyncio.create_task(_keep_asking(host))
                try:
                    yield host
                    assert not asking.done(), "steady failed to answer"
                    assert await _ask(host, 1) == 2
                finally:
                    asking.cancel()
                    with suppress(asyncio.CancelledError):
                        await asking
    finally:
        state.cleanup()
        gc.collect()  # an exception that nobody has seen is told when its future is collected
        loop.set_exception_handler(handler)
    assert unhandled == [], [repr(context.get("exception")) for context in unhandled]


async def _keep_asking(host: Host) -> None:
    number = 0
    while True:
        assert await _ask(host, number) == number + 1
        number += 1
        await anyio.sleep(0.01)


async def _ask(host: Host, number: int) -> int:
    answer: int = await host.call(
        "steady.tick", {"number": number}, context=CallContext(timeout=5.0)
    )
    return answer
