"""Shared memory, semaphores and message queues."""

import ctypes
import os
from typing import Any, Final

from .native import Answer, call, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_IPC_CREAT: Final = 0o1000


def read_host_shared_memory(target: Target) -> Answer:
    def attach() -> str:
        libc.shmat.restype = ctypes.c_void_p
        identifier = call("shmget", target["key"], 0, 0)
        address = libc.shmat(identifier, None, 0o10000)  # SHM_RDONLY
        if address is None or address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "shmat")
        return ctypes.string_at(address, target["size"]).decode(errors="replace")

    return one_way(attach)


def read_host_message_queue(target: Target) -> Answer:
    def receive() -> str:
        queue = call("mq_open", target["name"].encode(), os.O_RDONLY | os.O_NONBLOCK, 0, None)
        try:
            text = ctypes.create_string_buffer(8192)
            size = call("mq_timedreceive", queue, text, 8192, None, None)
            return text.raw[:size].decode(errors="replace")
        finally:
            os.close(queue)

    return one_way(receive)


def leave_shared_memory(target: Target) -> Answer:
    return one_way(lambda: call("shmget", target["key"], 4096, _IPC_CREAT | 0o600))


def leave_semaphores(target: Target) -> Answer:
    return one_way(lambda: call("semget", target["key"], 1, _IPC_CREAT | 0o600))


def leave_messages(target: Target) -> Answer:
    def send() -> str:
        queue = call("msgget", target["key"], _IPC_CREAT | 0o600)
        message = ctypes.create_string_buffer(b"\1\0\0\0\0\0\0\0attacked", 16)
        return f"sent {call('msgsnd', queue, message, 8, 0)}"

    return one_way(send)


def leave_message_queue(target: Target) -> Answer:
    def make() -> str:
        queue = call("mq_open", target["name"].encode(), os.O_RDWR | os.O_CREAT, 0o600, None)
        hold(lambda: os.close(queue))
        call("mq_timedsend", queue, b"attacked", 8, 0, None)
        return "sent"

    return ways(make=make)
