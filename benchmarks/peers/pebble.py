"""`pebble.ProcessPool`: a process pool that can stop a worker whose task overruns."""

from multiprocessing import get_context
from os import getpid

from pebble import ProcessFuture, ProcessPool

from benchmarks.drivers import check, run_in_window
from benchmarks.workers.functions import add, echo

__all__ = ["PebblePeer"]

_TIMEOUT = 30  # seconds a task; plughost's default too


class PebblePeer:
    """One worker, start method `spawn`, every task with a timeout of 30 s.

    In flight: 64 futures, the next scheduled when the oldest is answered. As a batch:
    `map(chunksize=64)`, where the timeout is for the chunk.
    """

    async def start(self) -> None:
        self._pool = ProcessPool(max_workers=1, context=get_context("spawn"))

    async def call(self, a: int, b: int) -> int:
        answer: int = self._schedule(a, b).result()
        return answer

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = self._pool.schedule(echo, args=(data,), timeout=_TIMEOUT).result()
        return answer

    async def many(self, calls: int, in_flight: int) -> None:
        run_in_window(self._schedule, ProcessFuture.result, calls, in_flight)

    async def batch(self, calls: int, size: int) -> None:
        for _ in range(calls // size):
            chunk = self._pool.map(add, [1] * size, [2] * size, chunksize=size, timeout=_TIMEOUT)
            for answer in chunk.result():
                check(answer)

    def worker_pids(self) -> list[int]:
        return [self._pool.schedule(getpid).result()]

    async def stop(self) -> None:
        self._pool.stop()
        self._pool.join()

    def _schedule(self, a: int, b: int) -> ProcessFuture:
        return self._pool.schedule(add, args=(a, b), timeout=_TIMEOUT)
