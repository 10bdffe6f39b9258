"""The host's end of a template process, against templates that answer in an order of our choice.

Each is a real process: a folder of ours stands in for the worker's package.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import anyio
import msgspec
import psutil
import pytest

from plughost import PlughostError, Sandbox
from plughost.reactor import current_reactor
from plughost.sandbox.interpreter import Interpreter, find_interpreter
from plughost.sandbox.machine import this_machine
from plughost.sandbox.plan import template_confinement
from plughost.supervision.child import Child
from plughost.supervision.pipes import WorkerPipes
from plughost.supervision.template import LayerRefused, Template
from plughost_protocol.confinement import Confinement, TemplateConfinement
from plughost_protocol.launch import Spawn

from .plugins.zoo import PATIENCE, until

pytestmark = pytest.mark.anyio

# Says the lines of its script, one for each message that comes.
TEMPLATE = """
import os, socket, time
from plughost_protocol import encode
from plughost_protocol.launch import Confined, Exited, Refused, Spawned

def serve(fd, confinement):
    host = socket.socket(fileno=fd)
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    for line in SCRIPT:
        socket.recv_fds(host, 65536, 16)
        message = eval(line)
        fds = {Spawned: [os.pidfd_open(child)], Confined: [fd]}.get(type(message), [])
        socket.send_fds(host, [encode(message)], fds)
    host.recv(1)
    os.kill(child, 9)
    os._exit(0)
"""


class Heard:
    """A launch that keeps what it is told."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.refusal: PlughostError | None = None
        self.pid = 0
        self.code: int | None = None

    def spawned(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        os.close(pidfd)

    def exited(self, code: int | None, max_rss: int, cpu: float) -> None:
        self.code = code


@asynccontextmanager
async def template_that_says(folder: Path, *script: str) -> AsyncIterator[Template]:
    package = folder / "plughost_worker"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "template.py").write_text(f"SCRIPT = {script!r}\n{TEMPLATE}")
    python = find_interpreter()
    python = replace(python, import_paths=(str(folder), *python.import_paths))
    async with anyio.create_task_group() as tasks:
        template = Template(current_reactor(tasks), python, TemplateConfinement())
        with anyio.fail_after(PATIENCE):
            yield template
        await template.aclose()


SPAWN = Spawn(1, "worker", "/", {}, Confinement([]))


async def test_a_worker_that_is_confined_before_its_birth_is_told_is_started_after_both(
    tmp_path: Path,
) -> None:
    # Who took it for started by then took 0 for its process id, which is the host's own.
    async with template_that_says(tmp_path, "Confined(1)", "Spawned(1, child)") as template:
        launch, started = Heard(), anyio.Event()

        async def start() -> None:
            await template.spawn(SPAWN, [], launch)
            started.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            await until(lambda: launch.sockets)
            await anyio.wait_all_tasks_blocked()
            assert not started.is_set()
            template.signal(1, 0)  # for its next line
            await started.wait()
        assert launch.pid > 0
        launch.sockets.pop().close()


async def test_a_refusal_is_told_once_the_worker_is_dead(tmp_path: Path) -> None:
    script = (
        "Refused(1, 'landlock', 'restrict itself', 38)",
        "Spawned(1, child)",
        "Exited(1, 97, 0, 0.0)",
    )
    async with template_that_says(tmp_path, *script) as template:
        launch = Heard()

        async def start() -> None:
            with pytest.raises(LayerRefused, match="the machine refuses the layer landlock"):
                await template.spawn(SPAWN, [], launch)
            assert launch.pid > 0
            assert launch.code == 97

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            await until(lambda: launch.refusal)
            template.signal(1, 0)
            await until(lambda: launch.pid)
            template.signal(1, 0)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.1, 0.15, 0.2, 0.4])
async def test_one_that_is_closed_while_it_starts_leaves_no_process(after: float) -> None:
    namespaces = template_confinement(Sandbox(), this_machine()).namespaces
    confinement = TemplateConfinement(namespaces=namespaces)
    async with anyio.create_task_group() as tasks:
        template = Template(current_reactor(tasks), find_interpreter(), confinement)
        template.start()
        await anyio.sleep(after)
        await template.aclose()
        await until(lambda: not psutil.Process().children(recursive=True))


async def test_one_that_has_entered_namespaces_is_another_child_of_ours() -> None:
    namespaces = template_confinement(Sandbox(), this_machine()).namespaces
    if not namespaces:
        pytest.skip("no namespaces here")
    seen: list[int] = []
    async with anyio.create_task_group() as tasks:
        reactor = current_reactor(tasks)
        template = Template(reactor, find_interpreter(), TemplateConfinement(namespaces=namespaces))
        template.when_started(seen.append)
        template.start()
        await until(lambda: len(seen) == 2)
        assert template.pid == seen[1]
        # The one that was started is gone and reaped.
        await until(lambda: [child.pid for child in psutil.Process().children()] == seen[1:])
        await template.aclose()
        assert psutil.Process().children() == []


class InThread:
    """Starts a process in a thread that ends when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.thread = threading.Thread()

    def start(self, *given: Any, **more: Any) -> subprocess.Popen[bytes]:
        started: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

        def run() -> None:
            started.put(find_interpreter().start(*given, **more))
            self.may_end.wait(PATIENCE)

        self.thread = threading.Thread(target=run)
        self.thread.start()
        return started.get()


@pytest.mark.parametrize("layers", [True, False])
async def test_one_outlives_the_thread_that_has_started_it(layers: bool) -> None:
    machine = this_machine()
    namespaces = template_confinement(Sandbox(), machine).namespaces if layers else 0
    async with anyio.create_task_group() as tasks:
        python, confinement = InThread(), TemplateConfinement(namespaces=namespaces)
        template = Template(current_reactor(tasks), cast("Interpreter", python), confinement)

        async def spawn(key: int) -> None:
            with WorkerPipes() as pipes:
                asked = msgspec.structs.replace(SPAWN, key=key)
                await template.spawn(asked, pipes.child_ends, Heard())

        await spawn(1)
        pid = template.pid
        python.may_end.set()
        thread = Path(f"/proc/self/task/{python.thread.native_id}")
        await until(lambda: not thread.exists())
        await spawn(2)
        assert template.pid == pid
        await template.aclose()


def test_a_child_that_somebody_else_has_reaped_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child = Child(process.pid)
    assert child.poll() is None
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    child.kill()  # nobody has this number now
    assert child.poll() == 0


def test_a_child_tells_how_it_has_ended() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "exit(3)"], os.environ)
    child = Child(pid)
    while child.poll() is None:
        os.sched_yield()
    assert child.poll() == 3
    child.send_signal(signal.SIGTERM)
