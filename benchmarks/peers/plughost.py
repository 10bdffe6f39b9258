"""plughost itself, as an application uses it: all checks on, the default configuration."""

import asyncio
from typing import Final

from benchmarks.drivers import run_in_tasks
from benchmarks.spawn import ROOT
from plughost import GRANT_ALL_ASKED, Host, HostConfig

__all__ = ["PlughostPeer"]

_SPARE: Final = 2.0  # seconds after which a template process to spare is there


class PlughostPeer:
    """A `Host` with the one plugin of `benchmarks/plugins`.

    In flight: 64 tasks that call in a loop, the driver of the other async peers.

    `cold_start` is the start of the Host itself, the plugin's template process included; its
    second row is a plugin that is started on a Host that has been up for a while, and so has a
    template process to spare. All layers of the sandbox are on.
    """

    async def start(self) -> None:
        self._host = Host([ROOT / "benchmarks" / "plugins"], HostConfig(grants=GRANT_ALL_ASKED))
        await self._host.__aenter__()

    async def call(self, a: int, b: int) -> int:
        answer: int = await self._host.call("bench.add", {"a": a, "b": b})
        return answer

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = await self._host.call("bench.echo", {"data": data})
        return answer

    async def many(self, calls: int, in_flight: int) -> None:
        await run_in_tasks(self.call, calls, in_flight)

    def worker_pids(self) -> list[int]:
        pid = self._host.plugins["bench"].pid
        return [] if pid is None else [pid]

    async def stop_worker(self) -> None:
        await self._host.plugins["bench"].stop()
        await asyncio.sleep(_SPARE)

    async def start_worker(self) -> None:
        await self._host.plugins["bench"].start()

    async def stop(self) -> None:
        await self._host.__aexit__(None, None, None)
