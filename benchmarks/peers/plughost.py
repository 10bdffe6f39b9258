"""plughost itself, as an application uses it: all checks on, the default configuration."""

from benchmarks.drivers import run_in_tasks
from benchmarks.spawn import ROOT
from plughost import Host, HostConfig

__all__ = ["PlughostPeer"]


class PlughostPeer:
    """A `Host` with the one plugin of `benchmarks/plugins`.

    In flight: 64 tasks that call in a loop, the driver of the other async peers.

    `cold_start` is the start of the Host itself, its template process included; its second row
    is one plugin that is started again on this Host: a fork of the template that is up.
    """

    async def start(self) -> None:
        self._host = Host([ROOT / "benchmarks" / "plugins"], config=HostConfig())
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

    async def start_worker(self) -> None:
        await self._host.plugins["bench"].start()

    async def stop(self) -> None:
        await self._host.__aexit__(None, None, None)
