"""The shooting range: files, processes and servers that attacks aim at, all made for this run."""

import ctypes
import json
import os
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .listeners import Listener, Listeners
from .naive_proxy import NaiveProxy

__all__ = ["GRANTED_NAME", "REBINDING_NAME", "SECRET_VARIABLE", "Neighbour", "Range", "Victim"]

SECRET_VARIABLE: Final = "PLUGHOST_ATTACK_SECRET"  # noqa: S105 - its name

GRANTED_NAME: Final = "granted.example.org"
REBINDING_NAME: Final = "rebinding.example.org"

_PATIENCE: Final = 10.0  # seconds
_BETWEEN: Final = 0.01  # seconds
_HERE: Final = Path(__file__).parent

# Without capabilities, which would protect it; workers have none either. It holds a secret in its
# environment, its arguments, its memory and a file without a name, says where, and sleeps until
# its input ends.
_VICTIM: Final = """
import ctypes, os, sys
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
secret = ctypes.create_string_buffer(os.environ["SECRET"].encode(), 32)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
os.unlink(sys.argv[1])
os.write(fd, os.environ["SECRET"].encode())
print(ctypes.addressof(secret), fd, flush=True)
sys.stdin.read(1)
print(secret.raw.decode(errors="replace"), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Victim:
    """A sleeping child of the host's."""

    process: subprocess.Popen[str]
    secret: str
    address: int
    fd: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def memory(self) -> str:
        """What it now has where the secret was. It ends with that."""
        out, _ = self.process.communicate("x", _PATIENCE)
        return out.strip()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The plugin next door, while it runs."""

    pid: int
    address: int
    secret: str


class Range:
    """A temporary folder with all that attacks aim at; gone at the end of the `with` block.

    Files are the host's own. What only the host may read has mode 0600; what everybody may read
    or change is there too, so that a file's mode alone never is what stops an attack.
    """

    def __init__(self, management_socket: Path | None = None) -> None:
        self.management_socket = management_socket
        """The control socket of a running host, where there is one."""
        self.neighbour = Neighbour(0, 0, "")
        """Set once it runs."""
        self.data = Path()
        """The data folder of the attacker whose turn it is."""
        self._stack = ExitStack()
        self._victims: list[Victim] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.root = Path(tempfile.mkdtemp(prefix="plughost-attack-")).resolve()
            stack.callback(shutil.rmtree, self.root, ignore_errors=True)
            self.root.chmod(0o755)
            self.plugins = self._folder("plugins", 0o755)
            self.state = self._folder("state", 0o755)
            self.granted = self._folder("granted", 0o777)
            self.read_only = self._folder("read-only", 0o777)
            self.new_file(folder=self.read_only)
            self.outside = self._folder("outside", 0o777)
            self.listeners = stack.enter_context(Listeners())
            self.environment_secret = secrets.token_hex(16)
            os.environ[SECRET_VARIABLE] = self.environment_secret
            stack.callback(os.environ.pop, SECRET_VARIABLE, None)
            self.inherited_secret = secrets.token_hex(16)
            path = self.new_file(0o600, text=self.inherited_secret)
            self.open_fd = os.open(path, os.O_RDONLY)
            os.set_inheritable(self.open_fd, True)
            stack.callback(os.close, self.open_fd)
            self.memory_secret = secrets.token_hex(16)
            self.memory = ctypes.create_string_buffer(self.memory_secret.encode(), 32)
            stack.callback(self._end_victims)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def grants(self) -> dict[str, str]:
        """What attackers may be granted, by the names that attacks use."""
        return {
            "files": f"fs:write:{self.granted}",
            "read-only": f"fs:read:{self.read_only}",
            "processes": "process:spawn",
            "host": f"net:connect:{GRANTED_NAME}:{self.granted_server.port}",
            "rebinding": f"net:connect:{REBINDING_NAME}:{self.rebinding_server.port}",
        }

    def later(self, undo: Any, *arguments: Any) -> None:
        """Undo something when the range is left, whatever has become of it."""

        def attempt() -> None:
            with suppress(OSError):
                undo(*arguments)

        self._stack.callback(attempt)

    # Files

    def _folder(self, name: str, mode: int) -> Path:
        path = self.root / name
        path.mkdir()
        path.chmod(mode)
        return path

    def new_folder(self) -> Path:
        """An empty folder that everybody may write to."""
        path = Path(tempfile.mkdtemp(dir=self.outside))
        path.chmod(0o777)
        return path

    def new_file(
        self,
        mode: int = 0o666,
        *,
        name: str = "file",
        folder: Path | None = None,
        text: str = "unharmed",
    ) -> Path:
        """A file that the host owns, in a folder of its own if none is given."""
        path = (folder or self.new_folder()) / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def secret_file(self, mode: int = 0o600, folder: Path | None = None) -> tuple[Path, str]:
        """A file with a secret in it, and the secret."""
        secret = secrets.token_hex(16)
        return self.new_file(mode, folder=folder, text=secret), secret

    def data_folder(self, plugin_id: str) -> Path:
        """A plugin's data folder; the host has made it by the time that the plugin runs."""
        path = self.state / "data" / plugin_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def keep_making(self, path: Path) -> Callable[[], None]:
        """Make and delete a file, over and over, until the function that this gives is called."""
        stop = threading.Event()

        def make() -> None:
            while not stop.wait(_BETWEEN):
                path.touch()
                path.unlink()

        thread = threading.Thread(target=make, name="attack-files")
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()

        self._stack.callback(end)
        return end

    # Plugins

    def plugin(self, source: str, plugin_id: str, asks: Mapping[str, str]) -> Path:
        """A copy of one of our plugins, with an id of its own; `asks` is in `grants`."""
        folder = self.plugins / plugin_id
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(_HERE / source, folder, ignore=ignored)
        manifest = json.loads((folder / "manifest.json").read_text())
        asked = [{"permission": text, "reason": "to attack"} for text in asks.values()]
        manifest |= {"id": plugin_id, "permissions": ["tools:register", *asked]}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    # Processes

    def victim(self) -> Victim:
        """A fresh victim; the attack before may have harmed the last one."""
        self._end_victims()
        secret = secrets.token_hex(16)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-I", "-S", "-c", _VICTIM, str(self.root / "victim"), secret],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"SECRET": secret},
            text=True,
            process_group=0,
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker
        address, fd = process.stdout.readline().split()
        victim = Victim(process, secret, int(address), int(fd))
        self._victims.append(victim)
        return victim

    def _end_victims(self) -> None:
        while self._victims:
            process = self._victims.pop().process
            process.kill()
            with suppress(subprocess.TimeoutExpired, ValueError, OSError):
                process.communicate(timeout=_PATIENCE)
            process.wait(_PATIENCE)

    def terminal(self) -> tuple[int, int]:
        """A terminal of the operator's: its master and its slave end, which do not block."""
        master, slave = os.openpty()
        for fd in (master, slave):
            os.set_blocking(fd, False)
            self.later(os.close, fd)
        return master, slave

    def tiny_program(self) -> bytes:
        """A static program for x86_64: it exits with 42 if it runs as root, else with 1."""
        # mov eax, 107 (geteuid); syscall; mov edi, 42; test eax, eax; jz +5; mov edi, 1;
        # mov eax, 231 (exit_group); syscall
        code = bytes.fromhex("b86b0000000f05bf2a00000085c07405bf01000000b8e70000000f05")
        base, start = 0x400000, 64 + 56
        size = start + len(code)
        header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
        header += struct.pack(
            "<HHIQQQIHHHHHH", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0
        )
        return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code

    # Servers

    def server(self, family: int, address: Any, kind: int = socket.SOCK_STREAM) -> Listener:
        """A server that answers whoever comes with a secret."""
        return self.listeners.add(family, address, kind)

    def web_server(self) -> Listener:
        """A server on this machine's loopback that speaks HTTP."""
        listener = self.server(socket.AF_INET, ("127.0.0.1", 0))
        listener.speak_http()
        return listener

    @cached_property
    def granted_server(self) -> Listener:
        """The one that `GRANTED_NAME` leads to, which may be a private address."""
        return self.web_server()

    @cached_property
    def rebinding_server(self) -> Listener:
        """The one that `REBINDING_NAME` leads to, which may be no private address, and is."""
        return self.web_server()

    @cached_property
    def naive_proxy(self) -> NaiveProxy:
        """For the control run."""
        proxy = NaiveProxy()
        self._stack.callback(proxy.close)
        return proxy

    def socket_path(self) -> str:
        """Where a Unix socket may be made; anybody may connect to it."""
        return str(self.new_folder() / "s")
