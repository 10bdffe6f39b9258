"""What the host and its template process say to each other, over a SOCK_SEQPACKET socket.

Both are trusted and of one version, so nothing here is negotiated. Descriptors travel beside
the messages as SCM_RIGHTS.
"""

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

__all__ = [
    "STACK_SIGNAL_OFFSET",
    "TEMPLATE_MESSAGE_SIZE",
    "WORKER_FDS",
    "Exited",
    "LaunchReply",
    "Spawn",
    "SpawnFailed",
    "Spawned",
    "StrayKilled",
    "boot_code",
    "decode_launch_reply",
    "decode_spawn",
]

TEMPLATE_MESSAGE_SIZE: Final = 64 * 1024
"""Bytes that a message may have."""

WORKER_FDS: Final = 5
"""Descriptors that come with `Spawn`: RPC in, RPC out, stdout, stderr, stacks."""

STACK_SIGNAL_OFFSET: Final = 2
"""SIGRTMIN plus this asks a worker for the stacks of its threads.

A real-time signal, so that SIGUSR1 and SIGUSR2 stay the plugin's.
"""


class Spawn(Struct, frozen=True, array_like=True, tag=1):
    """Start a worker; answered by `Spawned`, with a pidfd, or by `SpawnFailed`."""

    key: int
    name: str
    """Shown by ps, cut to 15 bytes."""
    cwd: str
    env: dict[str, str]
    rlimits: list[tuple[int, int]]
    """Resource and limit, soft and hard alike."""
    interpreter: str = ""
    """Empty forks the template; otherwise this program starts afresh."""


class Spawned(Struct, frozen=True, array_like=True, tag=2):
    """The worker runs. A pidfd comes along."""

    key: int
    pid: int


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
import sys
sys.path[:0] = {paths!r}
# msgspec imports it wherever it lies about, and does without: a tenth of the whole start.
sys.modules["typing_extensions"] = None
import msgspec
del sys.modules["typing_extensions"]
{then}
"""


def boot_code(paths: list[str], then: str) -> str:
    """The program of an interpreter that has no site-packages: find our packages, then go on."""
    return _BOOT.format(paths=paths, then=then)


LaunchReply: TypeAlias = Spawned | SpawnFailed | Exited | StrayKilled

decode_spawn = msgspec.msgpack.Decoder(Spawn).decode
decode_launch_reply = msgspec.msgpack.Decoder(LaunchReply).decode
