"""What was answered is kept, whoever is killed at whatever moment."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from plughost import BlockingHost, Host, Rates, WorkerDied

from .conftest import MakePlugin, trusting

# Eight tasks write at once; each number is told once its value is kept. The value says by
# itself whether it is whole.
PLUGIN = """
    import asyncio
    from collections.abc import AsyncIterator
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def write(first: int) -> AsyncIterator[int]:
        storage = plugin.api.storage
        done = asyncio.Queue()

        async def write_every_eighth(number: int) -> None:
            while True:
                size = number * 7919 % 30_000
                await storage.set(f"n{number % 300}", [number, "x" * size, number])
                await done.put(number)
                number += 8

        tasks = [asyncio.create_task(write_every_eighth(first + n)) for n in range(8)]
        while True:
            yield await done.get()

    @plugin.tool
    async def read() -> dict[str, list]:
        storage = plugin.api.storage
        return {key: await storage.get(key) for key in await storage.list()}
"""

HOST = """
import sys, anyio
from pathlib import Path
from plughost import GRANT_ALL_ASKED, Host, HostConfig, Rates

async def main():
    folder, state, first = sys.argv[1:]
    config = HostConfig(
        grants=GRANT_ALL_ASKED, state_folder=Path(state), rates=Rates(operations=None)
    )
    async with Host([folder], config) as host:
        async with host.stream("writer.write", {"first": int(first)}) as numbers:
            async for number in numbers:
                print(number, flush=True)

anyio.run(main)
"""


def kept(folder: Path, state: Path) -> dict[str, list[Any]]:
    """What the storage of `writer` holds by its keys; fails for a value that is not whole."""
    database = sqlite3.connect(state / "storage.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    sums = database.execute("SELECT sum(size), count(*) FROM entries").fetchone()
    assert database.execute("SELECT size, keys FROM sums").fetchone() == sums
    database.close()
    config = trusting(state_folder=state, rates=Rates(operations=None))
    with BlockingHost([folder], config) as host:
        found: dict[str, list[Any]] = host.call("writer.read")
    for key, (number, text, again) in found.items():
        assert isinstance(number, int)
        assert key == f"n{number % 300}"
        assert text == "x" * (number * 7919 % 30_000)
        assert again == number
    return found


@pytest.fixture
def writer(make_plugin: MakePlugin) -> Path:
    permissions = ["tools:register", "storage:read", "storage:write"]
    return make_plugin("writer", PLUGIN, permissions=permissions)


def test_what_a_plugin_was_told_is_kept_survives_the_hosts_kill_9(
    writer: Path, tmp_path: Path
) -> None:
    moments = random.Random(4)
    state = tmp_path / "state"
    latest: dict[str, int] = {}
    first = 0
    for _ in range(5):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST, str(writer), str(state), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert host.stdout is not None
        answered = [int(host.stdout.readline()) for _ in range(moments.randrange(1, 150))]
        host.send_signal(signal.SIGKILL)
        answered += [int(line) for line in host.stdout if line.endswith("\n")]
        host.stdout.close()
        host.wait()
        for number in answered:
            key = f"n{number % 300}"
            latest[key] = max(number, latest.get(key, 0))
        found = kept(writer, state)
        for key, number in latest.items():
            # What was on its way may have been kept as well; it came later.
            assert found[key][0] >= number
        first = max(int(value[0]) for value in found.values()) + 1


@pytest.mark.anyio
async def test_what_a_plugin_was_told_is_kept_survives_its_own_kill_9(
    writer: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    config = trusting(state_folder=state, rates=Rates(operations=None))
    answered: list[int] = []

    async def write_and_kill(host: Host, pid: int) -> None:
        async with host.stream("writer.write", {"first": 0}) as numbers:
            async for number in numbers:
                answered.append(number)
                if len(answered) == 50:
                    os.kill(pid, signal.SIGKILL)

    async with Host([writer], config) as host:
        pid = host.plugin("writer").pid
        assert pid is not None
        with pytest.raises(WorkerDied):
            await write_and_kill(host, pid)
    found = await anyio.to_thread.run_sync(kept, writer, state)
    assert all(found[f"n{number % 300}"][0] >= number for number in answered)
