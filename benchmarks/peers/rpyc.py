"""`rpyc` over the worker's stdin and stdout, with a service of its own (not `SlaveService`)."""

from operator import attrgetter

import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream

from benchmarks.drivers import run_in_window
from benchmarks.spawn import pipe, start_worker, stop_worker, worker_command

__all__ = ["RpycPeer"]


class RpycPeer:
    """The remote functions are looked up once: `conn.root.add` is a round trip by itself.

    In flight: `rpyc.async_`, 64 results open, the next call sent when the oldest is answered.
    Compression is off: the echoed bytes are random, it would cost nine tenths of that rate.
    """

    async def start(self) -> None:
        self._process = start_worker(worker_command("rpyc"))
        stream = PipeStream(pipe(self._process.stdout), pipe(self._process.stdin))
        self._connection = rpyc.connect_channel(Channel(stream, compress=False))
        self._add = self._connection.root.add
        self._echo = self._connection.root.echo

    async def call(self, a: int, b: int) -> int:
        answer: int = self._add(a, b)
        return answer

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = self._echo(data)
        return answer

    async def many(self, calls: int, in_flight: int) -> None:
        run_in_window(rpyc.async_(self._add), attrgetter("value"), calls, in_flight)

    def worker_pids(self) -> list[int]:
        return [self._process.pid]

    async def stop(self) -> None:
        self._connection.close()
        stop_worker(self._process)
