"""Many plugins that are started at their first use: `python -m benchmarks.lazy`.

Writes so many plugins with one tool each, lets a first host learn what they offer, and measures in
each round, side by side: `plughost run` on all of them and on one of them, until it is ready; the
memory of both hosts; and in one host the first call of a plugin that sleeps, beside the load and
the first call of one that does not run, which is a cold start.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

import psutil

from plughost import GRANT_ALL_ASKED, Host, HostConfig

_COLD: Final = 10  # first calls in a round
_GOALS: Final = {"ready": 3.0, "memory": 100e6}  # seconds; bytes more than with one plugin

_CODE: Final = """
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def greet(name: str) -> str:
    '''Greet somebody.'''
    return f"hello {name}"
"""


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.lazy", description=__doc__)
    parser.add_argument("--plugins", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "many", options.plugins)
        _write(folder / "one", 1)
        began = time.perf_counter()
        asyncio.run(_learn(folder))
        learned = time.perf_counter() - began
        print(f"{options.plugins} plugins, learned by a first host in {learned:.0f} s")
        many, one, cold, start = [], [], [], []
        for _ in range(options.rounds):
            many.append(_run(folder, "many"))
            one.append(_run(folder, "one"))
            woken, loaded = asyncio.run(_first_calls(folder))
            cold.append(woken)
            start.append(loaded)
    _show("plughost run, ready, s", [m[0] for m in many], [o[0] for o in one], "one plugin")
    _show("its memory (RSS), MB", [m[1] / 1e6 for m in many], [o[1] / 1e6 for o in one], "one")
    _show("first call, asleep, ms", [c * 1e3 for c in cold], [s * 1e3 for s in start], "cold start")
    more = statistics.median(m[1] - o[1] for m, o in zip(many, one, strict=True))
    ready = statistics.median(m[0] for m in many)
    print(f"goals: ready in {ready:.2f} of {_GOALS['ready']} s; {more / 1e6:.0f} MB more than with")
    print(f"one plugin, of {_GOALS['memory'] / 1e6:.0f}")


def _config(folder: Path) -> HostConfig:
    return HostConfig(grants=GRANT_ALL_ASKED, state_folder=folder / "state")


async def _learn(folder: Path) -> None:
    async with Host([folder / "many", folder / "one"], _config(folder)) as host:
        async with host.events.subscribe("plugin.awake") as awake:
            while not all(plugin.is_known for plugin in host.plugins.values()):
                await anext(awake)
        for name, problem in host.problems.items():
            raise SystemExit(f"{name}: {problem}")


def _run(folder: Path, name: str) -> tuple[float, int]:
    """Seconds until the command is ready, and the bytes of its memory then."""
    settings = folder / "plughost.toml"
    settings.write_text(f'state_folder = "{folder / "state"}"\n[grants]\n"*" = ["*"]\n')
    settings.chmod(0o600)
    command = [sys.executable, "-m", "plughost", "run", str(folder / name)]
    options = ["--file", str(settings), "--socket", str(folder / "socket"), "--json"]
    began = time.perf_counter()
    with subprocess.Popen(command + options, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "ready":
                break
        took = time.perf_counter() - began
        memory: int = psutil.Process(process.pid).memory_info().rss
        os.kill(process.pid, signal.SIGTERM)
        process.stdout.read()
    return took, memory


async def _first_calls(folder: Path) -> tuple[float, float]:
    """The median first call of plugins that sleep, and that of plugins that are loaded for it."""
    woken, loaded = [], []
    async with Host([folder / "many"], _config(folder)) as host:
        names = list(host.plugins)[: 2 * _COLD]
        for asleep, stopped in zip(names[::2], names[1::2], strict=True):
            woken.append(await _timed(_call(host, asleep)))
            await host.unload(stopped)
            loaded.append(await _timed(_load(host, stopped)))
    return statistics.median(woken), statistics.median(loaded)


async def _call(host: Host, name: str) -> None:
    await host.call(f"{name}.greet", {"name": "somebody"})


async def _load(host: Host, name: str) -> None:
    await host.load(name)
    await _call(host, name)


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _show(what: str, values: list[float], limits: list[float], limit: str) -> None:
    ratios = [value / other for value, other in zip(values, limits, strict=True)]
    span = f"({min(ratios):.2f} to {max(ratios):.2f})"
    median = statistics.median(values)
    print(f"{what:<26}{median:>9.2f}{statistics.median(ratios):>8.2f} x {limit} {span}")


def _write(folder: Path, count: int) -> None:
    for number in range(count):
        plugin = folder / f"{folder.name}-{number:04d}"
        plugin.mkdir(parents=True)
        manifest = {
            "id": plugin.name,
            "name": plugin.name,
            "version": "1.0.0",
            "permissions": ["tools:register"],
            "activation": ["tool"],
        }
        (plugin / "manifest.json").write_text(json.dumps(manifest))
        (plugin / "plugin.py").write_text(_CODE)


if __name__ == "__main__":
    main()
