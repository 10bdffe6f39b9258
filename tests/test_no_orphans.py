"""Whoever dies, and however: nothing is left of a host's workers but what the host still needs."""

import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import psutil
import pytest

from plughost import (
    CallContext,
    Host,
    HostConfig,
    PlughostError,
    Restart,
    State,
    WorkerDied,
)

from .plugins.zoo import PATIENCE, PLUGINS, QUICK, RESTART, until

CRASHES = int(os.environ.get("PLUGHOST_CRASHES", "300"))

SOME = (
    "steady",
    "holds_the_gil",
    "leaves_a_daemon",
    "ignores_every_request_to_end",
    "clings_to_life",
    "floods_its_output",
    "stops_itself",
)

# Prints the process ids of all that it has started, in the middle of their misbehaviour.
HOST = """
import json, sys, anyio
from plughost import Host, HostConfig, Limits, PlughostError

async def call(host, tool, **params):
    try:
        return await host.call(tool, params)
    except PlughostError:
        pass

async def main():
    async with Host(sys.argv[1:], HostConfig(limits=Limits(grace=0.2))) as host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, host, "holds-the-gil.regex")
            tasks.start_soon(call, host, "stops-itself.stop")
            await call(host, "floods-its-output.stdout")
            await call(host, "clings-to-life.cling")
            daemon = await call(host, "leaves-a-daemon.leave")
            pids = {name: plugin.pid for name, plugin in host.plugins.items()}
            pids |= {"daemon": daemon, "template": host._template.pid}
            print(json.dumps(pids), flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


def watch(pids: dict[str, int]) -> dict[str, int]:
    """A pidfd for each process that lives."""
    fds = {}
    for name, pid in pids.items():
        try:
            fds[name] = os.pidfd_open(pid)
        except ProcessLookupError:
            assert name == "daemon"  # the template looks for daemons every second
    return fds


async def gone(fds: dict[str, int]) -> None:
    """Return when all of them are dead; the pidfds are closed."""
    for name, fd in fds.items():
        try:
            with anyio.fail_after(PATIENCE):
                await anyio.wait_readable(fd)
        except TimeoutError:
            pytest.fail(f"{name} is still there")
        finally:
            os.close(fd)


def open_fds() -> set[str]:
    return {f"{path.name}: {path.readlink()}" for path in _fds()}


def _fds() -> list[Path]:
    # Without the one that the listing itself takes, which is closed by now.
    return [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.anyio
@pytest.mark.parametrize("stopped_first", [False, True])
async def test_the_death_of_the_host_takes_everything_along(stopped_first: bool) -> None:
    command = [sys.executable, "-c", HOST, *(str(PLUGINS / name) for name in SOME)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as host:  # noqa: ASYNC220 - it is killed, not awaited
        assert host.stdout is not None
        try:
            with anyio.fail_after(PATIENCE):
                await anyio.wait_readable(host.stdout)
            pids = json.loads(host.stdout.readline())
            fds = watch(pids)
            if stopped_first:
                os.kill(pids["template"], signal.SIGSTOP)
        finally:
            host.kill()
    assert set(fds) >= {name.replace("_", "-") for name in SOME} | {"template"}
    await gone(fds)


@pytest.mark.anyio
async def test_the_death_of_the_template_takes_the_workers_along_and_the_host_recovers() -> None:
    config = HostConfig(limits=QUICK, restart=RESTART)
    async with Host([PLUGINS / name for name in ("steady", "clings_to_life")], config) as host:
        await host.call("clings-to-life.cling")
        pids = {name: plugin.pid or 0 for name, plugin in host.plugins.items()}
        fds = watch(pids)
        first = host._template.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await gone(fds)
        context = CallContext(timeout=PATIENCE)
        assert await host.call("steady.tick", {"number": 1}, context=context) == 2
        await until(lambda: host.plugin("clings-to-life").state is State.ACTIVE)
        assert host._template.pid not in (None, first)
        end = host.plugin("steady").last_exit
        assert end is not None
        assert str(end) == "the template process died and took it along"


@pytest.mark.anyio
async def test_the_death_of_a_worker_fails_its_calls_at_once() -> None:
    config = HostConfig(limits=QUICK, restart=RESTART)
    async with Host([PLUGINS / "dies"], config) as host:
        ended: list[float] = []

        async def call() -> None:
            with pytest.raises(WorkerDied, match="killed by SIGKILL"):
                await host.call("dies.wait")
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(call)
            worker = host.plugin("dies").worker
            assert worker is not None
            await until(lambda: worker.channel.open_calls == 100)
            killed = anyio.current_time()
            os.kill(worker.pid, signal.SIGKILL)
        print(f"100 calls failed {1000 * (max(ended) - killed):.1f} ms after the kill")  # noqa: T201 - the figure
        assert max(ended) - killed < 1.0


@pytest.mark.anyio
async def test_a_worker_that_dies_while_the_host_stops_does_not_hold_it_up() -> None:
    config = HostConfig(limits=QUICK, restart=RESTART)
    with anyio.fail_after(PATIENCE):
        # The tasks outlast the host: the call ends, and the kill comes, while it stops.
        async with anyio.create_task_group() as tasks, Host([PLUGINS / "dies"], config) as host:
            tasks.start_soon(_wait_in, host)
            worker = host.plugin("dies").worker
            assert worker is not None
            await until(lambda: worker.channel.open_calls == 1)
            tasks.start_soon(_kill_when_draining, host)


async def _wait_in(host: Host) -> None:
    with pytest.raises(PlughostError):
        await host.call("dies.wait")


async def _kill_when_draining(host: Host) -> None:
    plugin = host.plugin("dies")
    await until(lambda: plugin.state is State.DRAINING)
    os.kill(plugin.pid or 0, signal.SIGKILL)


@pytest.mark.anyio
async def test_nothing_is_left_after_a_clean_stop() -> None:
    gc.collect()
    fds, tasks = open_fds(), asyncio.all_tasks()
    for _ in range(2):
        config = HostConfig(limits=QUICK, restart=RESTART)
        async with Host([PLUGINS / name for name in SOME], config) as host:
            left = watch({plugin.id: plugin.pid or 0 for plugin in host.plugins.values()})
            left["template"] = os.pidfd_open(host._template.pid or 0)
            left |= watch({"daemon": await host.call("leaves-a-daemon.leave")})
            await host.call("clings-to-life.cling")
            for tool in ("holds-the-gil.regex", "stops-itself.stop"):
                with pytest.raises(PlughostError):
                    await host.call(tool, context=CallContext(timeout=0.2))
        await gone(left)
    assert asyncio.all_tasks() == tasks
    assert open_fds() == fds
    assert children() == []


@pytest.mark.anyio
@pytest.mark.timeout(60 + CRASHES // 10)
async def test_many_crashes_in_a_row_leak_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "plughost")  # pytest keeps every record that is made
    restart = Restart(limit=10**9, period=0.5, backoff=0.0001, backoff_max=0.0001, jitter=0.0)
    config = HostConfig(limits=QUICK, restart=restart)
    host_process = psutil.Process()
    async with Host([PLUGINS / "dies"], config) as host:
        plugin = host.plugin("dies")

        async def crash() -> None:
            with pytest.raises(WorkerDied):
                await host.call("dies.exit", {"code": 1})

        async def settled() -> tuple[int, int, int]:
            await until(lambda: plugin.active_worker is not None)
            gc.collect()
            used = host_process.memory_info().rss
            return len(_fds()), len(asyncio.all_tasks()), used

        for _ in range(50):  # what is made once is made by now
            await crash()
        before, begun = await settled(), time.monotonic()
        for _ in range(CRASHES):
            await crash()
        took, after = time.monotonic() - begun, await settled()
        print(  # noqa: T201 - the figures
            f"{CRASHES} crashes in {took:.1f} s, {1000 * took / CRASHES:.1f} ms each: "
            f"descriptors {before[0]} to {after[0]}, tasks {before[1]} to {after[1]}, "
            f"memory {before[2] / 1e6:.1f} to {after[2] / 1e6:.1f} MB"
        )
        assert plugin.restarts == CRASHES + 50
        assert after[0] == before[0]
        assert after[1] == before[1]
        assert after[2] - before[2] < 4_000_000
        template = psutil.Process(host._template.pid)
        assert template.num_fds() < 20
        assert len(template.children()) == 1
