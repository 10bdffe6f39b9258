"""System V objects: shared memory, semaphores, messages. The kernel keeps them for good."""

import ctypes
import secrets
from pathlib import Path
from typing import Final

__all__ = ["find_ipc", "ipc_key", "remove_ipc"]

_IPC_RMID: Final = 0


def ipc_key() -> int:
    """A key that nobody else has."""
    return secrets.randbelow(1 << 30) + 1


def find_ipc(kind: str, key: int) -> int | None:
    """The object of that key, in this process's namespace; `shm`, `sem` or `msg`."""
    lines = [line.split() for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()]
    return next((int(line[1]) for line in lines if line[0] == str(key)), None)


def remove_ipc(kind: str, key: int) -> None:
    """Remove it, if it is there."""
    found = find_ipc(kind, key)
    if found is None:
        return
    libc = ctypes.CDLL(None)
    if kind == "shm":
        libc.shmctl(found, _IPC_RMID, None)
    elif kind == "sem":
        libc.semctl(found, 0, _IPC_RMID)
    else:
        libc.msgctl(found, _IPC_RMID, None)
