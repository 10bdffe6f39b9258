"""The host's end of a template process, against templates that answer in an order of our choice.

Each is a real process: a folder of ours stands in for the worker's package.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from plughost import PlughostError
from plughost.reactor import current_reactor
from plughost.sandbox.interpreter import find_interpreter
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
