"""`grpc.aio` over a unix socket, generic handlers that take and give bytes: no protoc."""

import struct
from tempfile import TemporaryDirectory

import grpc

from benchmarks.drivers import run_in_tasks
from benchmarks.spawn import start_worker, stop_worker, wait_until_ready, worker_command

__all__ = ["GrpcPeer"]

_TIMEOUT = 30.0  # seconds a call: gRPC's documentation asks for a deadline on every one


class GrpcPeer:
    """asyncio on both sides, one channel, its methods made once, every call with a deadline.

    In flight: 64 tasks that call in a loop.
    """

    async def start(self) -> None:
        self._folder = TemporaryDirectory(prefix="bench-")
        path = f"{self._folder.name}/socket"
        self._process = start_worker(worker_command("grpc", path))
        # A channel that finds no socket waits a second before it tries again.
        wait_until_ready(self._process)
        self._channel = grpc.aio.insecure_channel(f"unix:{path}")
        self._add = self._channel.unary_unary("/bench/add")
        self._echo = self._channel.unary_unary("/bench/echo")

    async def call(self, a: int, b: int) -> int:
        answer: int
        (answer,) = struct.unpack(">q", await self._add(struct.pack(">qq", a, b), timeout=_TIMEOUT))
        return answer

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = await self._echo(data, timeout=_TIMEOUT)
        return answer

    async def many(self, calls: int, in_flight: int) -> None:
        await run_in_tasks(self.call, calls, in_flight)

    def worker_pids(self) -> list[int]:
        return [self._process.pid]

    async def stop(self) -> None:
        await self._channel.close()
        stop_worker(self._process)
        self._folder.cleanup()
