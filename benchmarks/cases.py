"""What is measured, in the host process of one measurement. Every number here is raw data."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from benchmarks.drivers import check
from benchmarks.memory import helpers_pss, tree_pss
from benchmarks.peer import Batching, Peer, Restarting

__all__ = ["CASES", "Rows"]

Rows: TypeAlias = dict[str, dict[str, float]]
"""Values by metric by variant; the variant "" is the peer's own row."""

_IN_FLIGHT: Final = 64
_MB: Final = 1_000_000
_MIN_CALLS: Final = 300  # fewer have no 99th percentile
_IDLE: Final = 1.0  # seconds; threads that are about to end have ended
# Random: nobody's compression may shine on a megabyte of zeros.
_PAYLOAD: Final = random.Random(0).randbytes(_MB)  # a megabyte


@asynccontextmanager
async def _started(peer: Peer) -> AsyncIterator[None]:
    await peer.start()
    try:
        yield
    finally:
        await peer.stop()


async def sequential(peer: Peer, seconds: float) -> Rows:
    """One caller that waits for each answer."""
    async with _started(peer):
        await _call_for(peer, seconds / 4)
        times = await _call_for(peer, seconds)
    return {"": {"p50_us": _percentile(times, 50) * 1e6, "p99_us": _percentile(times, 99) * 1e6}}


async def in_flight(peer: Peer, seconds: float) -> Rows:
    """64 calls open at once; and, where a peer can, 64 in one message."""
    async with _started(peer):
        rows = {"": {"calls_per_s": await _rate(lambda n: peer.many(n, _IN_FLIGHT), seconds)}}
        if isinstance(peer, Batching):
            rate = await _rate(lambda n: peer.batch(n, _IN_FLIGHT), seconds)
            rows[f"batches of {_IN_FLIGHT}"] = {"calls_per_s": rate}
    return rows


async def echo_1mb(peer: Peer, seconds: float) -> Rows:
    """A megabyte to the worker and back, one at a time; the megabyte counts once."""
    async with _started(peer):
        for _ in range(2):
            if await peer.echo(_PAYLOAD) != _PAYLOAD:
                raise ValueError("the echo is not what was sent")
        count = 0
        start = time.perf_counter()
        while count < 3 or time.perf_counter() - start < seconds:
            await peer.echo(_PAYLOAD)
            count += 1
        elapsed = time.perf_counter() - start
    return {"": {"mb_per_s": count * len(_PAYLOAD) / _MB / elapsed}}


async def cold_start(peer: Peer, _seconds: float) -> Rows:
    """From nothing but imported libraries to the first answer."""
    start = time.perf_counter()
    await peer.start()
    try:
        check(await peer.call(1, 2))
        rows = {"": {"first_answer_ms": (time.perf_counter() - start) * 1e3}}
        if isinstance(peer, Restarting):
            await peer.stop_worker()
            start = time.perf_counter()
            await peer.start_worker()
            check(await peer.call(1, 2))
            rows["host is up"] = {"first_answer_ms": (time.perf_counter() - start) * 1e3}
    finally:
        await peer.stop()
    return rows


async def memory(peer: Peer, _seconds: float) -> Rows:
    """What a worker that has answered a few calls holds while nobody calls."""
    async with _started(peer):
        for _ in range(20):
            check(await peer.call(1, 2))
        workers = peer.worker_pids()
        await asyncio.sleep(_IDLE)
        return {"": {"pss_mb": tree_pss(workers) / _MB, "helpers_mb": helpers_pss(workers) / _MB}}


async def host_cpu(peer: Peer, seconds: float) -> Rows:
    """CPU time of the host process, all its threads, user and system."""
    async with _started(peer):
        await _call_for(peer, seconds / 4)
        start = time.process_time()
        times = await _call_for(peer, seconds)
        sequential_us = (time.process_time() - start) / len(times) * 1e6

        calls = await _enough_calls(lambda n: peer.many(n, _IN_FLIGHT), seconds)
        start = time.process_time()
        await peer.many(calls, _IN_FLIGHT)
        in_flight_us = (time.process_time() - start) / calls * 1e6
    return {"": {"sequential_us": sequential_us, "in_flight_us": in_flight_us}}


async def _call_for(peer: Peer, seconds: float) -> list[float]:
    """The time of each call, in seconds."""
    times: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    before = clock()
    while before < end or len(times) < _MIN_CALLS:
        check(await peer.call(1, 2))
        after = clock()
        times.append(after - before)
        before = clock()
    return times


async def _rate(run: Callable[[int], Awaitable[None]], seconds: float) -> float:
    """Calls a second, over about so many seconds."""
    calls = await _enough_calls(run, seconds)
    start = time.perf_counter()
    await run(calls)
    return calls / (time.perf_counter() - start)


async def _enough_calls(run: Callable[[int], Awaitable[None]], seconds: float) -> int:
    """How many calls last so long. Finding it out is the warm-up."""
    calls = _IN_FLIGHT * 2
    while True:
        start = time.perf_counter()
        await run(calls)
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 5:
            # Whole rounds of 64, so that no batch is short.
            return max(2, round(calls * seconds / elapsed / _IN_FLIGHT)) * _IN_FLIGHT
        calls *= 2


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


CASES: Final[dict[str, Callable[[Peer, float], Awaitable[Rows]]]] = {
    "sequential": sequential,
    "in_flight": in_flight,
    "echo_1mb": echo_1mb,
    "cold_start": cold_start,
    "memory": memory,
    "host_cpu": host_cpu,
}
