"""A real Redis server for tests: in a folder of its own, on a Unix socket, saved nowhere."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

__all__ = ["RedisServer", "redis_server"]


class RedisServer:
    """One server, which a test can stop and start again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self, *options: str) -> None:
        """Returns when it answers. What it held when it was stopped is gone."""
        socket = self._folder / "redis.sock"
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", *options],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, "redis-server has ended"
            assert time.monotonic() < deadline, "redis-server does not answer"

    def _answers(self) -> bool:
        done = self.command("ping", check=False)
        return done.stdout == b"PONG\n"

    def command(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        """What redis-cli does with a command."""
        socket = str(self._folder / "redis.sock")
        return subprocess.run(
            ["redis-cli", "-s", socket, *words], capture_output=True, timeout=20, check=check
        )

    def stop(self) -> None:
        """Returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server. Skips the test where this machine cannot have one."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    if not shutil.which("redis-server") or not shutil.which("redis-cli"):
        pytest.skip("redis-server is not installed")
    # Not pytest's own folder: the path of a socket has at most 107 bytes.
    with TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
