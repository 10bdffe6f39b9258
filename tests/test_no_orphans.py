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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest

from plughost import (
    CallContext,
    Host,
    HostConfig,
    PlughostError,
    Restart,
    Sandbox,
    State,
    WorkerDied,
)
from plughost.sandbox.cgroup import CgroupTree

from .conftest import trusting
from .plugins.zoo import ALL_LAYERS, PATIENCE, PLUGINS, QUICK, RESTART, until

CRASHES = int(os.environ.get("PLUGHOST_CRASHES", "150"))

SOME = (
    "steady",
    "holds_the_gil",
    "leaves_a_daemon",
    "ignores_every_request_to_end",
    "clings_to_life",
    "floods_its_output",
    "stops_itself",
)

OWN, SHARED, BARE = "own templates", "a shared template", "no sandbox"
"""How a host holds its workers: by default, and otherwise."""

SETTINGS: dict[str, dict[str, Any]] = {
    OWN: {},
    SHARED: {"shared_template": True},
    BARE: {"shared_template": True, "sandbox": Sandbox(ALL_LAYERS)},
}
STOPPED, FORKED = "the templates are stopped", "a fork of it has all that it has open"

every_way = pytest.mark.parametrize("way", [OWN, SHARED, BARE])


def quick(way: str = OWN) -> HostConfig:
    return trusting(limits=QUICK, restart=RESTART, **SETTINGS[way])


# Prints the process ids of all that it has started, in the middle of their misbehaviour.
HOST = """
import json, os, sys, time, anyio, psutil
from plughost import GRANT_ALL_ASKED, Host, HostConfig, Layer, Limits, PlughostError, Sandbox

WAYS = {
    "own templates": {},
    "a shared template": {"shared_template": True},
    "no sandbox": {"shared_template": True, "sandbox": Sandbox(frozenset(Layer))},
}

async def call(host, tool, **params):
    try:
        return await host.call(tool, params)
    except PlughostError:
        pass

async def main():
    way, forks, *folders = sys.argv[1:]
    config = HostConfig(limits=Limits(grace=0.2), grants=GRANT_ALL_ASKED, **WAYS[way])
    async with Host(folders, config) as host:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, host, "holds-the-gil.regex")
            tasks.start_soon(call, host, "stops-itself.stop")
            await call(host, "floods-its-output.stdout")
            await call(host, "clings-to-life.cling")
            assert await call(host, "leaves-a-daemon.leave")
            everything = psutil.Process().children(recursive=True)
            pids = {f"{child.name()} {child.pid}": child.pid for child in everything}
            pids |= {name: plugin.pid for name, plugin in host.plugins.items()}
            fork = os.fork() if forks else -1
            if fork == 0:
                time.sleep(60)
                os._exit(0)
            pids["fork"] = fork
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
            assert name.startswith("leaves-a-daemon ")  # the template looks for daemons
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


def processes(host: Host) -> dict[str, int]:
    """All that the host has started, the workers by their plugins' names."""
    workers = {plugin.pid: plugin.id for plugin in host.plugins.values()}
    pids = {}
    for child in children():
        with suppress(psutil.NoSuchProcess):
            pids[workers.get(child.pid, f"{child.name()} {child.pid}")] = child.pid
    return pids


def template_of(worker_pid: int | None) -> psutil.Process:
    """The process that has forked it."""
    template = psutil.Process(worker_pid).parent()
    assert template is not None
    return template


def groups(host_pid: int) -> set[Path]:
    """The folders that are left of a host's cgroups, after the look of another host."""
    tree = CgroupTree.find()
    if not isinstance(tree, CgroupTree):
        return set()
    tree.sweep()
    found = (folder.glob(f"plughost-{host_pid}-*") for folder in tree.folders.values())
    return set().union(*found)


def own_group() -> str:
    return Path("/proc/self/cgroup").read_text()


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.anyio
@pytest.mark.parametrize("before", ["", STOPPED, FORKED])
@every_way
async def test_the_death_of_the_host_takes_everything_along(way: str, before: str) -> None:
    mounted = mounts()
    forks = "forks" if before == FORKED else ""
    command = [sys.executable, "-c", HOST, way, forks, *(str(PLUGINS / name) for name in SOME)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as host:  # noqa: ASYNC220 - it is killed, not awaited
        assert host.stdout is not None
        try:
            with anyio.fail_after(PATIENCE):
                await anyio.wait_readable(host.stdout)
            pids = json.loads(host.stdout.readline())
            fork = pids.pop("fork")
            fds = watch(pids)
            if before == STOPPED:
                stop_templates(pids[name.replace("_", "-")] for name in SOME)
        finally:
            host.kill()
    assert set(fds) > {name.replace("_", "-") for name in SOME}
    await gone(fds)
    if forks:
        os.kill(fork, signal.SIGKILL)
    assert mounts() == mounted
    await until(lambda: not groups(host.pid))


def stop_templates(workers: Iterable[int]) -> None:
    """Stop them: they cannot clean up in good order then."""
    for worker in workers:
        template_of(worker).suspend()


@pytest.mark.anyio
@every_way
async def test_the_death_of_a_template_takes_its_workers_along_and_the_host_recovers(
    way: str,
) -> None:
    async with Host([PLUGINS / name for name in ("steady", "clings_to_life")], quick(way)) as host:
        clings, steady = host.plugin("clings-to-life"), host.plugin("steady")
        answer = await host.call("clings-to-life.cling")
        assert answer == ("here to stay" if way == BARE else "Operation not permitted")
        first, steady_pid = clings.template_pid, steady.pid
        assert first is not None
        assert template_of(clings.pid).pid == first
        assert psutil.Process(first).ppid() == os.getpid()
        left = {"template": first, "clings": clings.pid or 0}
        if way != OWN:
            left["steady"] = steady.pid or 0
        fds = watch(left)
        os.kill(first, signal.SIGKILL)
        await gone(fds)
        context = CallContext(timeout=PATIENCE)
        assert await host.call("steady.tick", {"number": 1}, context=context) == 2
        await until(lambda: clings.state is State.ACTIVE)
        assert clings.template_pid not in (None, first)
        assert str(clings.last_exit) == "the template process died and took it along"
        if way == OWN:
            assert (steady.pid, steady.last_exit) == (steady_pid, None)
        else:
            assert str(steady.last_exit) == "the template process died and took it along"


@pytest.mark.anyio
async def test_the_death_of_a_worker_fails_its_calls_at_once() -> None:
    async with Host([PLUGINS / "dies"], quick()) as host:
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
    with anyio.fail_after(PATIENCE):
        # The tasks outlast the host: the call ends, and the kill comes, while it stops.
        async with anyio.create_task_group() as tasks, Host([PLUGINS / "dies"], quick()) as host:
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
async def test_a_plugin_that_is_stopped_before_it_has_a_worker_gets_none() -> None:
    async with Host([PLUGINS / "dies"], quick()) as host:
        plugin = host.plugin("dies")
        for _ in range(3):
            with pytest.raises(WorkerDied):
                await host.call("dies.exit", {"code": 1})
            with anyio.fail_after(PATIENCE):
                while plugin.state is not State.LOADING:
                    await anyio.lowlevel.checkpoint()
                assert plugin.worker is None
                await plugin.stop()
            await plugin.start()


@pytest.mark.anyio
@every_way
async def test_nothing_is_left_after_a_clean_stop(way: str) -> None:
    gc.collect()
    CgroupTree.find()  # what it keeps, it keeps for good
    fds, tasks, before = open_fds(), asyncio.all_tasks(), mounts()
    for _ in range(2):
        async with Host([PLUGINS / name for name in SOME], quick(way)) as host:
            await host.call("leaves-a-daemon.leave")
            left = watch(processes(host))
            await host.call("clings-to-life.cling")
            for tool in ("holds-the-gil.regex", "stops-itself.stop"):
                with pytest.raises(PlughostError):
                    await host.call(tool, context=CallContext(timeout=0.2))
        await gone(left)
    assert asyncio.all_tasks() == tasks
    assert open_fds() <= fds  # of those of an earlier test, some may have been closed meanwhile
    assert children() == []
    assert mounts() == before
    assert groups(os.getpid()) == set()


@pytest.mark.anyio
async def test_a_stopped_template_does_not_hold_up_the_end_of_its_host() -> None:
    with anyio.fail_after(PATIENCE):
        async with Host([PLUGINS / "clings_to_life"], quick()) as host:
            await host.call("clings-to-life.cling")
            left = watch(processes(host))
            stop_templates([host.plugin("clings-to-life").pid or 0])
        await gone(left)


@pytest.mark.anyio
@pytest.mark.timeout(60 + CRASHES // 10)
async def test_many_crashes_in_a_row_leak_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "plughost")  # pytest keeps every record that is made
    restart = Restart(limit=10**9, period=0.5, backoff=0.0001, backoff_max=0.0001, jitter=0.0)
    config = trusting(limits=QUICK, restart=restart)
    host_process = psutil.Process()
    CgroupTree.find()  # it may move us once
    group = own_group()
    async with Host([PLUGINS / "dies"], config) as host:
        plugin = host.plugin("dies")

        async def crash() -> None:
            with pytest.raises(WorkerDied):
                await host.call("dies.exit", {"code": 1})

        async def settled() -> tuple[int, int, int]:
            await until(lambda: plugin.active_worker is not None)
            some = asyncio.all_tasks()
            await crash()
            await until(lambda: plugin.active_worker is not None)
            # Without the tasks of one worker's start and end, which may be under way at either.
            lasting = some & asyncio.all_tasks()
            gc.collect()
            used = host_process.memory_info().rss
            return len(_fds()), len(lasting), used

        for _ in range(50):  # what is made once is made by now
            await crash()
        await until(lambda: len(host_process.children()) == 2)  # its template, and a spare one
        before, begun = await settled(), time.monotonic()
        for _ in range(CRASHES):
            await crash()
        took, after = time.monotonic() - begun, await settled()
        print(  # noqa: T201 - the figures
            f"{CRASHES} crashes in {took:.1f} s, {1000 * took / CRASHES:.1f} ms each: "
            f"descriptors {before[0]} to {after[0]}, tasks {before[1]} to {after[1]}, "
            f"memory {before[2] / 1e6:.1f} to {after[2] / 1e6:.1f} MB"
        )
        assert plugin.restarts == CRASHES + 52
        assert after[0] == before[0]
        assert after[1] == before[1]
        assert after[2] - before[2] < 4_000_000
        assert own_group() == group  # a worker's is not the host's
        template = template_of(plugin.pid)
        assert template.num_fds() < 20
        assert len(template.children()) == 1
