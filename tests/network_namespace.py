"""A real network namespace, held by a process in it that hands out its sockets.

A socket stays in the namespace that it was made in, so tests use it from here.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from plughost_protocol.confinement import Listener

_PROGRAM = """
import ctypes, fcntl, json, os, socket, struct, sys, tempfile, traceback
NEWUSER, NEWNET, NEWNS, SIOCSIFFLAGS, IFF_UP = 0x10000000, 0x40000000, 0x20000, 0x8914, 1
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
uid, gid = os.getuid(), os.getgid()
libc = ctypes.CDLL(None, use_errno=True)
pipe = socket.socket(fileno=int(sys.argv[1]))
def call(function, *args):
    if function(*args):
        raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())} {args}")
def enter(files):
    call(libc.unshare, (NEWNET | NEWNS) if uid == 0 else (NEWUSER | NEWNET | NEWNS))
    if uid:
        maps = {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    call(libc.mount, None, b"/", None, MS_REC | MS_PRIVATE, None)
    for path, text in files.items():
        with tempfile.NamedTemporaryFile("w") as file:
            os.chmod(file.name, 0o644)
            file.write(text)
            file.flush()
            path = os.path.realpath(path).encode()
            call(libc.mount, file.name.encode(), path, None, MS_BIND, None)
def sockets(wanted):
    for kind, address, port in wanted:
        made = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        if address:
            # The tests of a module share the namespace; a worker has its own.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            if kind == "tcp":
                made.listen()
        yield made
def answer(command, text):
    if command == "run":
        found = {}
        exec(text, found)
        return found["answer"], []
    made = list(sockets(text))
    return len(made), made
try:
    enter(json.loads(sys.argv[2]))
    pipe.send(b'"ready"')
except OSError as exc:
    pipe.send(json.dumps(f"{exc.strerror}").encode())
    sys.exit()
while message := pipe.recv(65536):
    try:
        value, made = answer(*json.loads(message))
    except Exception:
        value, made = traceback.format_exc(), []
    socket.send_fds(pipe, [json.dumps(value).encode()], [each.fileno() for each in made])
    for each in made:
        each.close()
"""


class Namespace:
    """A namespace that has a loopback and nothing else."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe

    def listeners(self, wanted: Sequence[Listener]) -> list[socket.socket]:
        """Bound sockets, as a worker makes them for its host."""
        return self._sockets([[item.kind, item.address, item.port] for item in wanted])

    def tcp(self) -> socket.socket:
        """A socket that is not connected yet."""
        return self._sockets([["tcp", "", 0]])[0]

    def udp(self) -> socket.socket:
        return self._sockets([["udp", "", 0]])[0]

    def run(self, code: str) -> Any:
        """What `answer` is after the code has run in the namespace."""
        self._pipe.send(json.dumps(["run", code]).encode())
        return json.loads(self._pipe.recv(65536))

    def _sockets(self, wanted: list[list[Any]]) -> list[socket.socket]:
        self._pipe.send(json.dumps(["sockets", wanted]).encode())
        message, fds, _, _ = socket.recv_fds(self._pipe, 65536, len(wanted))
        assert len(fds) == len(wanted), message.decode()
        return [socket.socket(fileno=fd) for fd in fds]


@contextmanager
def network_namespace(files: Mapping[str, str] | None = None) -> Iterator[Namespace]:
    """With `files` in place of those of the machine. Skips where it refuses namespaces."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(30)
        arguments = [str(theirs.fileno()), json.dumps(dict(files or {}))]
        command = [sys.executable, "-I", "-c", _PROGRAM, *arguments]
        with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            try:
                state = json.loads(ours.recv(1024))
                if state != "ready":
                    pytest.skip(f"this machine refuses a network namespace: {state}")
                yield Namespace(ours)
            finally:
                process.kill()
