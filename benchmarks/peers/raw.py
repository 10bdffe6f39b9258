"""The limit: two processes, two pipes, blocking reads and writes, and no work at all."""

import os

from benchmarks.drivers import shares
from benchmarks.spawn import pipe, start_worker, stop_worker, worker_command

__all__ = ["RawPeer"]

_SIZE = 100  # bytes of a small message with its length; a frame of plughost has about as many
_READ = 64 * 1024


class RawPeer:
    """100 bytes there and back. No ids, no deadlines, no checks, no encoding, one caller.

    In flight: 64 messages leave in one write, and the next 64 when all of these are answered;
    the worker answers whatever it has read in one write.
    """

    async def start(self) -> None:
        # Isolated and without site: the fastest start that CPython has.
        self._process = start_worker(worker_command("raw", flags=("-I", "-S")))
        self._input = pipe(self._process.stdout).fileno()
        self._output = pipe(self._process.stdin).fileno()
        self._message = _frame(bytes(_SIZE - 4))

    async def call(self, a: int, b: int) -> int:
        # Adds on this side: to pack and unpack numbers is not part of the limit.
        os.write(self._output, self._message)
        self._receive(_SIZE)
        return a + b

    async def echo(self, data: bytes) -> bytes:
        message = memoryview(_frame(data))
        size = len(message)
        while message:
            message = message[os.write(self._output, message) :]
        return self._receive(size)[4:]

    async def many(self, calls: int, in_flight: int) -> None:
        full = self._message * in_flight
        for count in shares(calls, -(-calls // in_flight)):
            os.write(self._output, full[: count * _SIZE])
            self._receive(count * _SIZE)

    def worker_pids(self) -> list[int]:
        return [self._process.pid]

    async def stop(self) -> None:
        stop_worker(self._process)

    def _receive(self, size: int) -> bytes:
        data = os.read(self._input, _READ)
        if len(data) == size:
            return data
        parts = [data]
        size -= len(data)
        while size and data:
            data = os.read(self._input, min(size, _READ))
            parts.append(data)
            size -= len(data)
        if size:
            raise EOFError("the worker closed its pipe in the middle of an answer")
        return b"".join(parts)


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body
