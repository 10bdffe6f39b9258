"""Plugins that ask more of the host than one may: what they cost it, and what they leave behind."""

from pathlib import Path

import pytest

from plughost import (
    CallContext,
    CallTimeout,
    Host,
    Limits,
    MemoryConfig,
    PluginConfig,
    Rates,
)
from plughost.memory_store import MemoryMatch
from plughost.rpc.channel import Channel
from plughost.services.memory.table import Quota
from plughost.services.memory.words import WordMemories

from .conftest import MakePlugin, trusting
from .plugins.zoo import until

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

GREEDY = """
    import asyncio
    import os
    import threading

    from msgspec import Raw

    from plughost_protocol import Call, encode, frame_header
    from plughost_sdk import HostError, Plugin

    plugin = Plugin()

    @plugin.tool
    async def flood(method: str, params: dict, times: int) -> None:
        frames = b""
        for number in range(1001, 1001 + times):
            payload = encode(Call(number, method, Raw(encode(params))))
            frames += frame_header(len(payload)) + payload
        # Once this call is answered, and in one write: what is said later comes after all of it.
        threading.Timer(0.05, os.write, (4, frames)).start()

    @plugin.tool
    async def ask(method: str, params: dict) -> str:
        try:
            return repr(await plugin.api._link.request(method, params))
        except HostError as exc:
            return f"{exc.code}: {exc}"

    @plugin.tool
    async def hand_over(times: int, size: int) -> list[str]:
        params = {"tool": "patient.hold", "params": {"data": b"x" * size}}
        asked = [asyncio.create_task(ask("tools.execute", params)) for _ in range(times)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        await plugin.api.call("patient.release")
        return [await each for each in asked]

    @plugin.tool
    async def search(times: int) -> list[str]:
        params = {"query": "dark mode", "user_id": "ada"}
        return await asyncio.gather(*(ask("memory.search", params) for _ in range(times)))

    @plugin.tool
    async def answer() -> int:
        return 42
"""
PATIENT = """
    import asyncio

    from plughost_sdk import Plugin

    plugin = Plugin()
    released = asyncio.Event()

    @plugin.tool
    async def hold(data: bytes = b"") -> int:
        await released.wait()
        return len(data)

    @plugin.tool
    async def release() -> None:
        released.set()
"""
PERMISSIONS = ["tools:register", "tools:execute", "memory:read"]


def channel_of(host: Host, plugin_id: str) -> Channel:
    worker = host.plugin(plugin_id).worker
    assert worker is not None
    return worker.channel


@on_both_loops
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("http.close", {"stream": 1}),
        ("tools.execute", {"tool": "patient.hold", "params": {}}),
    ],
    ids=["not counted", "too many at once"],
)
async def test_who_asks_without_end_is_read_slowly(
    method: str, params: dict[str, object], make_plugin: MakePlugin
) -> None:
    make_plugin("patient", PATIENT)
    folder = make_plugin("greedy", GREEDY, permissions=PERMISSIONS)
    # What 200 frames alone would cost is over after a second.
    own = PluginConfig(limits=Limits(frames_per_second=100))
    async with Host([folder], trusting(plugins={"greedy": own})) as host:
        channel = channel_of(host, "greedy")
        before = channel.unsolicited
        await host.call("greedy.flood", {"method": method, "params": params, "times": 200})
        await until(lambda: channel.unsolicited > before)
        with pytest.raises(CallTimeout):
            await host.call("greedy.answer", context=CallContext(timeout=3))


async def test_requests_that_wait_hold_no_more_than_two_frames_of_memory(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("patient", PATIENT)
    folder = make_plugin("greedy", GREEDY, permissions=PERMISSIONS)
    async with Host([folder], trusting(limits=Limits(memory=1_000_000_000))) as host:
        answers = await host.call("greedy.hand_over", {"times": 4, "size": 10_000_000})
        assert answers.count("10000000") == 3
        [refusal] = set(answers) - {"10000000"}
        assert refusal == (
            "overloaded: the plugin has bytes of requests in flight up to its limit of 33554432: "
            "try again later"
        )


@on_both_loops
async def test_what_a_stopped_plugin_has_asked_of_others_is_cancelled(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("patient", PATIENT)
    folder = make_plugin("greedy", GREEDY, permissions=PERMISSIONS)
    async with Host([folder], trusting()) as host:
        other = channel_of(host, "patient")
        params = {"tool": "patient.hold", "params": {}}
        flood = {"method": "tools.execute", "params": params, "times": 3}
        await host.call("greedy.flood", flood)
        await until(lambda: other.open_calls == 3)
        await host.plugin("greedy").stop()
        await until(lambda: other.open_calls == 0)


async def test_reading_on_without_a_request_opens_nothing(make_plugin: MakePlugin) -> None:
    folder = make_plugin("greedy", GREEDY, permissions=PERMISSIONS)
    async with Host([folder], trusting()) as host:
        read = {"method": "http.read", "params": {"stream": 1}}
        said = await host.call("greedy.ask", read)
        assert said == "http_refused: no response 1 is open: nothing was requested"


class CountedMemories(WordMemories):
    """Tells how many searches run at once."""

    running = 0
    most = 0

    async def search(self, query: str, user_id: str, limit: int) -> list[MemoryMatch]:
        self.running += 1
        self.most = max(self.most, self.running)
        found = await super().search(query, user_id, limit)
        self.running -= 1
        return list(found)


@on_both_loops
async def test_a_plugin_searches_for_one_thing_at_a_time(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    memories = CountedMemories(tmp_path / "memory.db", lambda _: Quota(10, 10_000))
    folder = make_plugin("greedy", GREEDY, permissions=PERMISSIONS)
    config = trusting(memory=MemoryConfig(store=memories), rates=Rates(operations=None))
    async with Host([folder], config) as host:
        assert await host.call("greedy.search", {"times": 20}) == ["[]"] * 20
    assert memories.most == 1
