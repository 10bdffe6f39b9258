"""What the sandbox costs: `python -m benchmarks.sandbox`, from the root of the repository.

With all layers and with none, in turns in one run. As root the template processes are in cgroups
where those can be made. PSS is read as root only: the kernel hides it from others.
"""

import asyncio
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.memory import helpers_pss, tree_pss
from benchmarks.spawn import ROOT
from plughost import GRANT_ALL_ASKED, Host, HostConfig, Layer, PlughostError, Sandbox

_BENCH: Final = ROOT / "benchmarks" / "plugins"
_STARTS: Final = 30
_ROUNDS: Final = 6
_CALLS: Final = 1500
_WORKERS: Final = 50
_KILLS: Final = 9
_MB: Final = 1_000_000

_PLUGIN: Final = """
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def add(a: int, b: int) -> int:
    return a + b
"""


def _config(state: Path, *, layers: bool, shared: bool = True) -> HostConfig:
    without = frozenset[Layer]() if layers else frozenset(Layer)
    return HostConfig(
        grants=GRANT_ALL_ASKED,
        sandbox=Sandbox(without=without),
        shared_template=shared,
        state_folder=state,
    )


async def _seconds(action: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await action()
    return time.perf_counter() - begun


async def _starts(state: Path) -> None:
    """A worker forked from a template that is up: until it is confined, until it is loaded."""
    ready: dict[bool, list[float]] = {True: [], False: []}
    loaded: dict[bool, list[float]] = {True: [], False: []}
    async with (
        Host([_BENCH], _config(state, layers=True)) as confined,
        Host([_BENCH], _config(state, layers=False)) as free,
    ):
        for _ in range(_STARTS):
            for layers, host in ((True, confined), (False, free)):
                plugin = host.plugin("bench")
                await plugin.stop()
                loaded[layers].append(await _seconds(plugin.start))
                ready[layers].append(plugin.worker.ready_after if plugin.worker else 0.0)
    print("start of a worker from a template that is up, median and least, ms")
    for what, took in (("ready", ready), ("its plugin loaded", loaded)):
        on, off = ([1e3 * seconds for seconds in took[layers]] for layers in (True, False))
        print(f"  {what}: all layers {statistics.median(on):.1f} ({min(on):.1f}), ", end="")
        print(f"none {statistics.median(off):.1f} ({min(off):.1f}), ", end="")
        print(f"the layers {statistics.median(on) - statistics.median(off):.1f}")


async def _calls(state: Path) -> None:
    """Calls one after the other, p50."""
    ratios, p50s = [], []
    async with (
        Host([_BENCH], _config(state, layers=True)) as confined,
        Host([_BENCH], _config(state, layers=False)) as free,
    ):
        for _ in range(_ROUNDS):
            on, off = [await _p50(host) for host in (confined, free)]
            ratios.append(on / off)
            p50s.append(on)
    print("calls, one at a time")
    print(f"  all layers {statistics.median(p50s) * 1e6:.0f} us, ", end="")
    print(f"{statistics.median(ratios):.3f} times that without ", end="")
    print(f"({min(ratios):.3f} to {max(ratios):.3f})")


async def _p50(host: Host) -> float:
    times = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        await host.call("bench.add", {"a": 1, "b": 2})
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _many(folder: Path) -> list[Path]:
    plugins = [folder / f"bench-{number}" for number in range(_WORKERS)]
    for plugin in plugins:
        plugin.mkdir(parents=True)
        manifest = {
            "id": plugin.name,
            "name": plugin.name,
            "version": "1.0.0",
            "permissions": ["tools:register"],
        }
        (plugin / "manifest.json").write_text(json.dumps(manifest))
        (plugin / "plugin.py").write_text(_PLUGIN)
    return plugins


async def _fifty(state: Path, folder: Path) -> None:
    """Fifty workers at once from one template, and what they hold."""
    plugins = _many(folder)
    async with Host(plugins, _config(state, layers=True)) as host:
        if host.problems:
            raise PlughostError(str(host.problems))
        hosted = list(host.plugins.values())
        took = []
        for _ in range(3):
            for plugin in hosted:
                await plugin.stop()
            took.append(await _seconds(lambda: asyncio.gather(*(p.start() for p in hosted))))
        print(f"{_WORKERS} workers at once, one template")
        print(f"  all loaded after {statistics.median(took) * 1e3:.0f} ms")
        for plugin in hosted:
            await host.call(f"{plugin.id}.add", {"a": 1, "b": 2})
        if os.geteuid() == 0:
            workers = [plugin.pid or 0 for plugin in hosted]
            print(f"  PSS {tree_pss(workers) / _WORKERS / _MB:.2f} MB each, ", end="")
            print(f"{helpers_pss(workers) / _MB:.1f} MB the template")


async def _own_template(state: Path) -> None:
    """One plugin with a template of its own, as is the default."""
    async with Host([_BENCH], _config(state, layers=True, shared=False)) as host:
        await host.call("bench.add", {"a": 1, "b": 2})
        plugin = host.plugin("bench")
        if os.geteuid() == 0:
            workers = [plugin.pid or 0]
            print("a template of its own")
            print(f"  PSS {tree_pss(workers) / _MB:.1f} MB the worker, ", end="")
            print(f"{helpers_pss(workers) / _MB:.1f} MB the template")


_HOST: Final = """
import json, sys, anyio
from plughost import GRANT_ALL_ASKED, Host, HostConfig

async def main():
    config = HostConfig(grants=GRANT_ALL_ASKED, shared_template=sys.argv[1] == "shared")
    async with Host(sys.argv[2:], config) as host:
        print(json.dumps([plugin.pid for plugin in host.plugins.values()]), flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def _kills(plugins: list[Path], mode: str) -> None:
    """From SIGKILL of the host to the end of its last worker, and of its last process."""
    took = [_kill(plugins, mode) for _ in range(_KILLS)]
    print(f"the host killed by SIGKILL, {len(plugins)} plugins, {mode} template, median and least")
    for what, times in zip(("the workers", "all processes"), zip(*took, strict=True), strict=True):
        median, least = statistics.median(times) * 1e3, min(times) * 1e3
        print(f"  {what} are gone after {median:.0f} ms ({least:.0f})")


def _kill(plugins: list[Path], mode: str) -> tuple[float, float]:
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST, mode, *map(str, plugins)], stdout=subprocess.PIPE
    )
    assert host.stdout is not None
    workers = json.loads(host.stdout.readline())
    below = {child.pid for child in psutil.Process(host.pid).children(recursive=True)}
    left = {os.pidfd_open(pid): pid in workers for pid in below}
    ended = select.poll()  # what watches takes time from what it watches: nothing heavier
    for fd in left:
        ended.register(fd, select.POLLIN)
    workers_gone = 0.0
    begun = time.perf_counter()
    os.kill(host.pid, signal.SIGKILL)
    while left:
        for fd, _ in ended.poll():
            ended.unregister(fd)
            os.close(fd)
            del left[fd]
        if not workers_gone and not any(left.values()):
            workers_gone = time.perf_counter() - begun
    all_gone = time.perf_counter() - begun
    host.wait()
    host.stdout.close()
    return workers_gone, all_gone


@contextmanager
def _stolen() -> Iterator[None]:
    """Print how much of the CPU time that was wanted a hypervisor has given to other machines."""
    before = psutil.cpu_times()
    yield
    after = psutil.cpu_times()
    stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)  # Linux has it
    had = after.user + after.system - before.user - before.system
    print(f"  (meanwhile {stolen / max(stolen + had, 0.01):.0%} of the CPU time was stolen)")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        state = folder / "state"
        with _stolen():
            asyncio.run(_starts(state))
        with _stolen():
            asyncio.run(_calls(state))
        with _stolen():
            asyncio.run(_fifty(state, folder / "plugins"))
        asyncio.run(_own_template(state))
        plugins = sorted((folder / "plugins").iterdir())[:20]
        for mode in ("shared", "own"):
            with _stolen():
                _kills(plugins, mode)


if __name__ == "__main__":
    main()
