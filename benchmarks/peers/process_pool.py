"""`concurrent.futures.ProcessPoolExecutor`, what the standard library offers."""

from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from os import getpid

from benchmarks.drivers import check, run_in_window
from benchmarks.workers.functions import add, echo

__all__ = ["ProcessPoolPeer"]


class ProcessPoolPeer:
    """One worker, start method `spawn`: `fork` would share the host's memory with the worker.

    In flight: 64 futures, the next submitted when the oldest is answered. As a batch:
    `map(chunksize=64)`, the documented way for many small calls. No timeouts: there are none
    that stop a worker.
    """

    async def start(self) -> None:
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))

    async def call(self, a: int, b: int) -> int:
        return self._pool.submit(add, a, b).result()

    async def echo(self, data: bytes) -> bytes:
        return self._pool.submit(echo, data).result()

    async def many(self, calls: int, in_flight: int) -> None:
        run_in_window(self._submit, Future.result, calls, in_flight)

    async def batch(self, calls: int, size: int) -> None:
        for _ in range(calls // size):
            for answer in self._pool.map(add, [1] * size, [2] * size, chunksize=size):
                check(answer)

    def worker_pids(self) -> list[int]:
        return [self._pool.submit(getpid).result()]

    async def stop(self) -> None:
        self._pool.shutdown()

    def _submit(self, a: int, b: int) -> Future[int]:
        return self._pool.submit(add, a, b)
