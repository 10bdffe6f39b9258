"""What the host and its template process say to each other, over a SOCK_SEQPACKET socket.

Both are trusted and of one version, so nothing here is negotiated. Descriptors travel beside
the messages as SCM_RIGHTS.
"""

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from .confinement import Confinement

__all__ = [
    "MAX_LISTENERS",
    "STACK_SIGNAL_OFFSET",
    "TEMPLATE_MESSAGE_SIZE",
    "WORKER_FDS",
    "Confined",
    "Exited",
    "LaunchReply",
    "LaunchRequest",
    "Moved",
    "Refused",
    "Signal",
    "Spawn",
    "SpawnFailed",
    "Spawned",
    "StrayKilled",
    "boot_code",
    "decode_launch_reply",
    "decode_launch_request",
]

TEMPLATE_MESSAGE_SIZE: Final = 64 * 1024
"""Bytes that a message may have."""

MAX_LISTENERS: Final = 64
"""Descriptors that come with `Confined`; the kernel passes at most 253 (SCM_MAX_FD)."""

WORKER_FDS: Final = 5
"""Descriptors that come with `Spawn`: RPC in, RPC out, stdout, stderr, stacks."""

STACK_SIGNAL_OFFSET: Final = 2
"""SIGRTMIN plus this asks a worker for the stacks of its threads.

A real-time signal, so that SIGUSR1 and SIGUSR2 stay the plugin's.
"""


class Spawn(Struct, frozen=True, array_like=True, tag=1):
    """Start a worker; answered by `Spawned` or by `SpawnFailed`."""

    key: int
    name: str
    """Shown by ps, cut to 15 bytes."""
    cwd: str
    env: dict[str, str]
    confinement: Confinement


class Spawned(Struct, frozen=True, array_like=True, tag=2):
    """The worker's process exists. A pidfd comes along, where the system has them.

    `Confined` or `Refused` comes from the process itself, and may come first.
    """

    key: int
    pid: int
    """Without a pidfd, in the namespace of the template's /proc, which is the host's. With one, in
    the template's own: the host takes its number from the pidfd."""


class SpawnFailed(Struct, frozen=True, array_like=True, tag=3):
    """There is no worker, and why."""

    key: int
    reason: str


class Exited(Struct, frozen=True, array_like=True, tag=4):
    """The worker is dead and reaped."""

    key: int
    status: int
    """As `os.waitstatus_to_exitcode` has it: an exit code, or minus a signal number."""
    max_rss: int
    """The most memory that it had resident, in bytes."""
    cpu: float
    """Seconds of CPU time that it used, its waited-for children included."""


class StrayKilled(Struct, frozen=True, array_like=True, tag=5):
    """A process that had left its worker was found and killed."""

    pid: int
    command: str


_BOOT: Final = """
import gc, sys
if not {collects!r}:
    gc.disable()  # a sixth of the start: it looks through all that is imported again and again
paths = {paths!r}
sys.path[:0] = paths
# msgspec imports it wherever it lies about, and does without: a tenth of the whole start.
sys.modules["typing_extensions"] = None
import msgspec
del sys.modules["typing_extensions"]
from plughost_worker.{module} import {function}
# What else lies beside msgspec is not for plugins to find.
del sys.path[: len(paths)]
{function}({arguments})
"""


def boot_code(
    paths: list[str], module: str, function: str, *arguments: object, collects: bool = False
) -> str:
    """The program of an interpreter without site-packages: find a function of ours, and call it.

    `collects`: whether garbage is collected meanwhile. Found later, it leaves its holes all over
    the memory, and what fills them has each of many forks copy these pages.
    """
    given = ", ".join(repr(argument) for argument in arguments)
    return _BOOT.format(
        paths=paths, module=module, function=function, arguments=given, collects=collects
    )


class Signal(Struct, frozen=True, array_like=True, tag=6):
    """Send a worker a signal, where the system gives the host no pidfd to do it itself.

    The template is the parent, and knows whether the process is reaped.
    """

    key: int
    number: int


class Confined(Struct, frozen=True, array_like=True, tag=7):
    """From the worker's process itself: every layer is on, and the plugin may be loaded.

    Its listeners come along, in the order of `Confinement.listeners`.
    """

    key: int


class Refused(Struct, frozen=True, array_like=True, tag=8):
    """From the worker's process, or from the template: a layer was refused. It ends."""

    key: int
    """0 for the template itself."""
    layer: str
    action: str
    """What was tried: the system call and the path."""
    errno: int


class Moved(Struct, frozen=True, array_like=True, tag=9):
    """From a template that has entered namespaces: it goes on as their first process.

    That is a child of the host, too. The process that the host has started ends.
    """

    pid: int
    """In the namespace of the host."""


LaunchRequest: TypeAlias = Spawn | Signal
LaunchReply: TypeAlias = Spawned | SpawnFailed | Exited | StrayKilled | Confined | Refused | Moved

decode_launch_request = msgspec.msgpack.Decoder(LaunchRequest).decode
decode_launch_reply = msgspec.msgpack.Decoder(LaunchReply).decode
