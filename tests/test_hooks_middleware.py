"""Hooks round calls of tools: `before_request` and `after_response`; on asyncio and on trio."""

from typing import Any

import pytest

from plughost import (
    CallContext,
    CallRefused,
    CallTimeout,
    HookFailed,
    Host,
    HostMisuse,
    InvalidParams,
    Outcome,
    ToolError,
    ToolRequest,
    ToolResponse,
)

from .conftest import MakePlugin, trusting
from .event_plugins import take
from .hook_plugins import BOTH, hooking

pytestmark = pytest.mark.anyio

TOOLS = """
@plugin.tool
def double(number: int, note: str = "") -> int:
    return number * 2

@plugin.tool
async def ask(tool: str, params: dict) -> object:
    return await plugin.api.call(tool, params)

@plugin.tool
def fail() -> None:
    raise ValueError("failed")

@plugin.tool
async def count(to: int):
    for number in range(to):
        yield number
"""

WATCHER = """
calls = []

@plugin.hook("before_request")
async def before(request):
    calls.append(["before", request.tool, request.params, request.caller, request.user_id])
    if request.params.get("number") == 13:
        raise ValueError("13 is unlucky")
    if request.params.get("number") == 5:
        request.params["number"] = 50
    if request.params.get("number") == 6:
        return {"number": 60, "note": "new"}

@plugin.hook("after_response")
def after(response):
    calls.append(["after", response.tool, response.params, response.result, response.request_id])
    if response.result == 14:
        response.result = 15
        return response
    if response.result == 16:
        return 17

@plugin.tool
def seen() -> list:
    return [call for call in calls if "watcher." not in call[1]]
"""


@BOTH
async def test_middleware_sees_changes_and_refuses_calls(make_plugin: MakePlugin) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(make_plugin, "watcher", WATCHER)
    async with Host([folder], trusting()) as host:
        context = CallContext(user_id="ada", request_id="r1", caller="desk")
        assert await host.call("aa.double", {"number": 4}, context=context) == 8
        assert await host.call("watcher.seen") == [
            ["before", "aa.double", {"number": 4}, "desk", "ada"],
            ["after", "aa.double", {"number": 4}, 8, "r1"],
        ]
        assert await host.call("plugin_aa_double", {"number": 5}) == 100
        assert await host.call("aa.double", {"number": 6}) == 120
        assert await host.call("aa.double", {"number": 7}) == 15
        assert await host.call("aa.double", {"number": 8}) == 17
        with pytest.raises(CallRefused) as caught:
            await host.call("aa.double", {"number": 13})
        assert str(caught.value) == (
            "the call of aa.double is refused by plugin 'watcher': 13 is unlucky"
        )
        assert (caught.value.tool, caught.value.plugin_id) == ("aa.double", "watcher")
        assert host.hooks.stats()["watcher"]["before_request"].stopped == 1
        [one, other] = await host.call_many(
            [("aa.double", {"number": 5}), ("aa.double", {"number": 13})]
        )
        assert one == Outcome("aa.double", value=100)
        assert isinstance(other.error, CallRefused)


@BOTH
async def test_a_plugin_that_calls_gets_the_refusal_by_its_code(make_plugin: MakePlugin) -> None:
    hooking(make_plugin, "aa", TOOLS)
    hooking(
        make_plugin,
        "bb",
        """
        @plugin.tool
        async def ask() -> str:
            try:
                await plugin.api.call("aa.double", {"number": 13})
            except HostError as exc:
                return f"{exc.code}: {exc}"
        """,
    )
    folder = hooking(make_plugin, "watcher", WATCHER)
    async with Host([folder], trusting()) as host:
        refusal = await host.call("bb.ask")
        assert refusal.startswith("call_refused: the call of aa.double is refused by plugin")
        seen = await host.call("watcher.seen")
        assert ["before", "aa.double", {"number": 13}, "bb.ask", ""] in seen


async def test_what_does_not_fit_the_schema_reaches_neither_middleware_nor_tool(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(make_plugin, "watcher", WATCHER)
    async with Host([folder], trusting()) as host:
        with pytest.raises(InvalidParams):
            await host.call("aa.double", {"number": "four"})
        with pytest.raises(ToolError, match="failed"):
            await host.call("aa.fail")
        assert await host.call("watcher.seen") == [["before", "aa.fail", {}, "", ""]]


@pytest.mark.parametrize(
    ("hook", "code", "reason"),
    [
        ("before_request", "return {'number': 'many'}", "failed"),
        ("before_request", "return 7", "failed"),
        ("before_request", "return {'number': 1, 'note': 'x' * 2_000_000}", "failed"),
        ("after_response", "return 'no number'", "failed"),
        ("after_response", "raise ValueError('oh')", "failed"),
        ("after_response", "given.result = object()", "failed"),
        ("before_request", "import os; os._exit(1)", "was cut off: its worker died"),
        ("before_request", "time.sleep(60)", "did not answer within 300 ms"),
        ("before_request", "plugin.api.blocking.call('no.such')", "failed"),
    ],
)
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_middleware_that_breaks_the_contract_is_passed_over_or_refuses(
    make_plugin: MakePlugin, hook: str, code: str, reason: str, on_failure: str
) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(
        make_plugin,
        "bad",
        f"""
        @plugin.hook("{hook}", on_failure="{on_failure}", timeout=0.3)
        def bad(given):
            {code}
        """,
    )
    async with Host([folder], trusting()) as host:
        if on_failure == "open":
            assert await host.call("aa.double", {"number": 4}) == 8
        else:
            with pytest.raises(HookFailed) as caught:
                await host.call("aa.double", {"number": 4})
            assert str(caught.value) == (
                f"hook {hook} of plugin 'bad' {reason}, and is closed: nothing passes without it. "
                "Its log says more; disable the plugin to do without it"
            )
        stats = host.hooks.stats()["bad"][hook]
        assert (stats.runs, stats.failures, stats.late) == (0, 1, "within" in reason)
        log = [entry.message for entry in host.plugin("bad").log.entries]
        told = "passed over" if on_failure == "open" else "refuses"
        assert any(f"the hook {hook} failed, and " in line and told in line for line in log)


@BOTH
async def test_a_plugins_middleware_sees_neither_its_own_calls_nor_those_they_lead_to(
    make_plugin: MakePlugin,
) -> None:
    code = """
    calls = []

    @plugin.hook("before_request")
    async def before(request):
        calls.append([request.tool, request.caller])
        await plugin.api.call("aa.double", {{"number": 1}})

    @plugin.tool
    async def ask() -> int:
        return await plugin.api.call("aa.double", {{"number": 2}})

    @plugin.tool
    def seen() -> list:
        found, calls[:] = calls[:], []
        return found
    """
    hooking(make_plugin, "aa", TOOLS)
    hooking(make_plugin, "mm", code.format("mm"))
    folder = hooking(make_plugin, "nn", code.format("nn"))
    app: list[list[str]] = []

    async with Host([folder], trusting()) as host:

        async def before(request: ToolRequest) -> None:
            app.append([request.tool, request.caller])
            await host.call("aa.double", {"number": 3})

        host.hooks.register("before_request", before, only="aa.*")
        assert await host.call("aa.double", {"number": 4}) == 8
        # Each hook calls the tool, and the others' hooks see that: never one its own.
        app_, mm, nn = (f"{name}.hook(before_request)" for name in ("(app)", "mm", "nn"))
        came_from = ("", mm, f"{mm} > {nn}", nn, f"{nn} > {mm}")
        chains = sorted(["aa.double", chain] for chain in came_from)
        assert sorted(app) == chains
        mm_saw = [caller for _, caller in await host.call("mm.seen")]
        assert mm_saw
        assert all("mm.hook" not in caller for caller in mm_saw)
        assert any(caller.startswith(app_) for caller in mm_saw)
        await host.call("nn.seen")
        await host.call("mm.seen")
        app.clear()
        assert await host.call("mm.ask") == 4
        # Its own tool is called by the application, which it sees; its own call it does not.
        assert ["mm.ask", ""] in await host.call("mm.seen")
        assert ["aa.double", "mm.ask"] in await host.call("nn.seen")


@BOTH
async def test_a_stream_begins_with_the_parameters_that_middleware_leaves(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(
        make_plugin,
        "mm",
        """
        @plugin.hook("before_request", only="aa.*")
        def before(request):
            if request.params.get("to") == 9:
                raise PermissionError("too many")
            return request.params | {"to": 2} if "to" in request.params else None

        @plugin.hook("after_response", only="aa.*")
        def after(response):
            return 0
        """,
    )
    async with Host([folder], trusting()) as host:
        async with host.stream("aa.count", {"to": 5}) as numbers:
            assert [number async for number in numbers] == [0, 1]
        with pytest.raises(CallRefused, match="too many"):
            async with host.stream("aa.count", {"to": 9}) as numbers:
                await anext(numbers)
        # A tool that does not stream gives its one result, as the hooks leave it.
        async with host.stream("aa.double", {"number": 4}) as numbers:
            assert [number async for number in numbers] == [0]


@BOTH
async def test_the_time_that_middleware_takes_is_the_calls_time(make_plugin: MakePlugin) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(
        make_plugin,
        "slow",
        """
        @plugin.hook("before_request", only="aa.*")
        async def before(request):
            await asyncio.sleep(60)
        """,
    )
    async with Host([folder], trusting()) as host:
        for _ in range(6):
            with pytest.raises(CallTimeout):
                await host.call("aa.double", {"number": 1}, context=CallContext(timeout=0.05))
        stats = host.hooks.stats()["slow"]["before_request"]
        # Late, but through deadlines that others set: it is asked again each time.
        assert (stats.failures, stats.late) == (6, 6)
        log = "\n".join(entry.message for entry in host.plugin("slow").log.entries)
        assert "too little time left" in log
        assert "in a row" not in log
        assert host.plugin("slow").active_worker is not None


@BOTH
async def test_the_applications_own_middleware(make_plugin: MakePlugin) -> None:
    folder = hooking(make_plugin, "aa", TOOLS)
    seen: list[Any] = []

    def before(request: ToolRequest) -> dict[str, Any] | None:
        seen.append(request)
        if request.params["number"] == 0:
            raise PermissionError("not 0")
        return {"number": 10} if request.params["number"] == 1 else None

    async def after(response: ToolResponse) -> None:
        seen.append(response)
        response.result += 1

    async with Host([folder], trusting()) as host:
        assert await host.call("aa.double", {"number": 1}) == 2
        host.hooks.register("before_request", before, only="aa.double")
        host.hooks.register("after_response", after, only="aa.*")
        assert await host.call("aa.double", {"number": 1}) == 21
        assert [type(given) for given in seen] == [ToolRequest, ToolResponse]
        with pytest.raises(CallRefused, match=r"by plugin '\(app\)': not 0"):
            await host.call("aa.double", {"number": 0})
        host.hooks.unregister("before_request", before)
        host.hooks.unregister("after_response", after)
        assert await host.call("aa.double", {"number": 1}) == 2
        with pytest.raises(HostMisuse, match="there is no 'before'"):
            host.hooks.register("before", before)


@BOTH
async def test_events_of_calls_tell_of_those_that_middleware_refuses(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", TOOLS)
    folder = hooking(make_plugin, "watcher", WATCHER)
    async with (
        Host([folder], trusting()) as host,
        host.events.subscribe("tool:after_execute") as events,
    ):
        with pytest.raises(CallRefused):
            await host.call("aa.double", {"number": 13})
        assert (await take(events, 1))[0].data["error"] == "call_refused"
