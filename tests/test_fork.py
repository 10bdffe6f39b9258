"""What a worker has of the template process that it is a fork of, and what not."""

import signal
import sys
from typing import Any

import pytest

from plughost import Host

from .conftest import MakePlugin, sharing, trusting

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("config", [trusting, sharing], ids=["own", "shared"]),
]

ASKS = """
import sys
before = set(sys.modules)
import ctypes, os, random, signal, threading
from plughost_sdk import Plugin

plugin = Plugin()
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p

@plugin.tool
def started_with() -> dict:
    return {
        "imported": "random" in before,
        "random": random.random(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)],
        "environment": dict(os.environ),
        "in libc": {name: libc.getenv(name.encode()).decode() for name in os.environ},
        "threads": [thread.name for thread in threading.enumerate()],
        "streams": [(s.fileno(), s.errors, s.line_buffering) for s in (sys.stdout, sys.stderr)],
    }

@plugin.tool
def say() -> None:
    print("a line")
    print("no \\udcff text", file=sys.stderr)

@plugin.tool
async def threads() -> int:
    return threading.active_count()
"""


async def test_it_is_as_fresh_as_an_interpreter(make_plugin: MakePlugin, config: Any) -> None:
    folder = make_plugin("one", ASKS)
    make_plugin("two", ASKS)
    async with Host([folder], config()) as host:
        one, two = [await host.call(f"{name}.started_with") for name in ("one", "two")]
    # A generator that is seeded before the fork would give both the same numbers.
    assert one["imported"] is False
    assert one["random"] != two["random"]
    assert one["signals"] == [signal.SIG_DFL, signal.SIG_DFL]
    assert one["environment"]["LANG"] == "C.UTF-8"
    assert one["in libc"] == one["environment"]
    assert one["threads"] == ["MainThread", "tool_0"]
    assert one["streams"] == [[1, "backslashreplace", True], [2, "backslashreplace", True]]


async def test_what_it_prints_is_its_own(make_plugin: MakePlugin, config: Any) -> None:
    folder = make_plugin("one", ASKS)
    make_plugin("two", ASKS)
    async with Host([folder], config()) as host:
        await host.call("one.say")
        await host.plugin("one").stop()
        told = [entry.message for entry in host.plugin("one").log.entries]
        assert [line for line in told if "line" in line or "text" in line] == [
            "a line",
            r"no \udcff text",
        ]
        assert "a line" not in [entry.message for entry in host.plugin("two").log.entries]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/task is Linux's")
async def test_threads_start_and_locks_are_free(make_plugin: MakePlugin, config: Any) -> None:
    folder = make_plugin("one", ASKS)
    async with Host([folder], config()) as host:
        assert await host.call("one.threads") == 1
        await host.call("one.say")
        assert await host.call("one.threads") == 2
