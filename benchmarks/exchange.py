"""What the host does for plugins, and what they do for each other: `python -m benchmarks.exchange`.

Each round measures a round trip over two bare pipes, a call from the host, and then what plugins
ask: reading and writing a stored value, calling another plugin's service, sending an event. Times
are taken where one waits for them: in the worker for what a plugin asks. One at a time, p50.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from benchmarks.peers.raw import RawPeer
from plughost import GRANT_ALL_ASKED, Host, HostConfig, Rates

_SUBSCRIBERS: Final = 10
_EVENTS: Final = 100
_LIMITS: Final = ("bare pipe", "call")  # the second is plughost's own way there and back
_BETWEEN_EVENTS: Final = 0.005  # seconds, so that each event finds idle subscribers

_ASKER: Final = """
import time

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def add(a: int, b: int) -> int:
    return a + b


@plugin.tool
async def storage_get(times: int) -> list[float]:
    await plugin.api.storage.set("key", "x" * 100)
    return [await timed(plugin.api.storage.get("key")) for _ in range(times)]


@plugin.tool
async def storage_set(times: int) -> list[float]:
    return [await timed(plugin.api.storage.set("key", "x" * 100)) for _ in range(times)]


@plugin.tool
async def service_call(times: int) -> list[float]:
    sums = plugin.api.services.get("sums")
    return [await timed(sums.add(a=1, b=2)) for _ in range(times)]


@plugin.tool
async def emit(times: int) -> list[float]:
    return [await timed(plugin.api.events.emit("bench.alone", {"n": 1})) for _ in range(times)]


@plugin.tool
async def emit_one(name: str) -> float:
    begun = time.monotonic()
    await plugin.api.events.emit(name, {"n": 1})
    return begun


@plugin.tool
async def emit_beside_a_stuck_one(times: int) -> list[float]:
    return [await timed(plugin.api.events.emit("bench.stuck", {"n": 1})) for _ in range(times)]


async def timed(work) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun
"""

_PROVIDER: Final = """
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.service("sums")
class Sums:
    async def add(self, a: int, b: int) -> int:
        return a + b
"""

_SUBSCRIBER: Final = """
import time

from plughost_sdk import Plugin

plugin = Plugin()
seen: list[float] = []


@plugin.on("bench.many")
async def on_event(event) -> None:
    seen.append(time.monotonic())


@plugin.tool
def times() -> list[float]:
    return seen
"""

_STUCK: Final = """
import asyncio

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.on("bench.stuck")
async def on_event(event) -> None:
    await asyncio.Event().wait()
"""


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.exchange", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=1000, help="operations in a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_run(Path(folder), options.rounds, options.times))


async def _run(folder: Path, rounds: int, times: int) -> None:
    _write_plugins(folder / "plugins")
    config = HostConfig(
        grants=GRANT_ALL_ASKED,
        state_folder=folder / "state",
        rates=Rates(operations=None, services=dict.fromkeys(("events", "services", "tools"))),
    )
    samples: dict[str, list[float]] = {}
    async with Host([folder / "plugins"], config) as host:
        for name, problem in host.problems.items():
            raise SystemExit(f"{name}: {problem}")
        for _ in range(rounds):
            for what, seconds in (await _round(host, times)).items():
                samples.setdefault(what, []).append(seconds)
    _show(samples)


async def _round(host: Host, times: int) -> dict[str, float]:
    async def asked(tool: str) -> float:
        took: list[float] = await host.call(f"asker.{tool}", {"times": times})
        return statistics.median(took)

    raw = RawPeer()
    await raw.start()
    try:
        bare = await _p50(lambda: raw.call(1, 2), times)
    finally:
        await raw.stop()
    return {
        "bare pipe": bare,
        "call": await _p50(lambda: host.call("asker.add", {"a": 1, "b": 2}), times),
        "storage.get": await asked("storage_get"),
        "storage.set": await asked("storage_set"),
        "service call, plugin to plugin": await asked("service_call"),
        "event, for who sends it": await asked("emit"),
        "event, beside a stuck subscriber": await asked("emit_beside_a_stuck_one"),
        f"event, until {_SUBSCRIBERS} plugins have it": await _fan_out(host),
    }


async def _p50(work: Callable[[], Awaitable[object]], times: int) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        await work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def _fan_out(host: Host) -> float:
    """From the emit in one plugin to the last of the handlers, each in a plugin of its own."""
    before = len(await host.call("subscriber-0.times"))
    sent: list[float] = []
    for _ in range(_EVENTS):
        sent.append(await host.call("asker.emit_one", {"name": "bench.many"}))
        await asyncio.sleep(_BETWEEN_EVENTS)
    seen = [
        (await host.call(f"subscriber-{number}.times"))[before:] for number in range(_SUBSCRIBERS)
    ]
    last: list[float] = [max(times) for times in zip(*seen, strict=True)]
    return statistics.median(end - begun for begun, end in zip(sent, last, strict=True))


def _show(samples: dict[str, list[float]]) -> None:
    print(f"{'p50, one at a time':<36}{'us':>8}", end="")
    print("".join(f"{f'x {name}':>18}{'(range)':>16}" for name in _LIMITS))
    for what, seconds in samples.items():
        print(f"{what:<36}{statistics.median(seconds) * 1e6:>8.0f}", end="")
        for limit in _LIMITS:
            ratios = [each / one for each, one in zip(seconds, samples[limit], strict=True)]
            span = f"({min(ratios):.1f} to {max(ratios):.1f})"
            print(f"{statistics.median(ratios):>18.1f}{span:>16}", end="")
        print()


def _write_plugins(folder: Path) -> None:
    events = ["events:subscribe:bench.*", "tools:register"]
    asks = ["tools:register", "storage:read", "storage:write", "services:use", "events:emit"]
    _write(folder, "provider", _PROVIDER, ["services:provide"])
    _write(folder, "asker", _ASKER, asks, ["provider"])
    _write(folder, "stuck", _STUCK, events)
    for number in range(_SUBSCRIBERS):
        _write(folder, f"subscriber-{number}", _SUBSCRIBER, events)


def _write(
    folder: Path, name: str, code: str, asks: list[str], needs: list[str] | None = None
) -> None:
    plugin = folder / name
    plugin.mkdir(parents=True)
    manifest = {"id": name, "name": name, "version": "1.0.0", "permissions": asks}
    (plugin / "manifest.json").write_text(json.dumps(manifest | {"dependencies": needs or []}))
    (plugin / "plugin.py").write_text(code)


if __name__ == "__main__":
    main()
