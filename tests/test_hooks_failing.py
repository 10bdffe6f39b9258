"""Hooks that fail, hang, die and are not there: what stops, and what goes on."""

import pytest

from plughost import EventsConfig, HookFailed, HooksConfig, Host, Restart

from .conftest import MakePlugin, trusting
from .event_plugins import take
from .hook_plugins import BOTH, hooking

pytestmark = pytest.mark.anyio

RUINED = [
    ("raise ValueError('secret of mine')", "failed"),
    ("await asyncio.sleep(60)", "did not answer within 200 ms"),
    ("time.sleep(60)", "did not answer within 200 ms"),
    ("await plugin.api.call('no.such')", "failed"),
    ("os._exit(1)", "was cut off: its worker died"),
    ("return 'x' * 300_000", "failed"),
    ("return object()", "failed"),
]


@pytest.mark.parametrize(("code", "reason"), RUINED)
@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_a_filter_that_fails_is_as_if_it_was_not_there_or_stops_the_event(
    make_plugin: MakePlugin, code: str, reason: str, on_failure: str
) -> None:
    folder = hooking(
        make_plugin,
        "bad",
        f"""
        @plugin.hook("filter_event", only="job", on_failure="{on_failure}", timeout=0.2)
        async def filter(event):
            {code}
        """,
    )
    async with Host([folder], trusting()) as host:
        if on_failure == "open":
            event = await host.emit("job", "raw")
            assert event is not None
            assert event.data == "raw"
        else:
            with pytest.raises(HookFailed) as caught:
                await host.emit("job", "raw")
            assert str(caught.value).startswith(
                f"hook filter_event of plugin 'bad' {reason}, and is closed"
            )
            assert "secret" not in str(caught.value)
            [node] = [n for n in host.events.trace() if n.name == "job"]
            assert reason in node.stopped
        log = [entry.message for entry in host.plugin("bad").log.entries]
        if "secret" in code:
            assert any("secret of mine" in line for line in log)


LATE = """
runs = 0

@plugin.hook("filter_event", only="open", timeout=0.1)
async def filter(event):
    global runs
    runs += 1
    if event.data == "slow":
        await asyncio.sleep(600)
    if event.data == "bad":
        raise ValueError(runs)
    return runs

plugin.hook("filter_event", only="closed", timeout=0.1, on_failure="closed")(filter)
"""


@BOTH
async def test_a_hook_that_is_late_again_and_again_is_left_out_for_a_while(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "late", LATE)
    config = trusting(hooks=HooksConfig(late_limit=2, pause=1000))
    async with Host([folder], config) as host:
        for _ in range(5):
            event = await host.emit("open", "slow")
            assert event is not None
            assert event.data == "slow"
        stats = host.hooks.stats()["late"]["filter_event"]
        assert (stats.runs, stats.failures, stats.late) == (0, 5, 2)
        log = [entry.message for entry in host.plugin("late").log.entries]
        assert sum("the hook filter_event failed, and" in line for line in log) == 2
        assert any("was late 2 times in a row: it is not called for 17 min" in x for x in log)
        # One that is closed refuses all the while.
        for _ in range(2):
            with pytest.raises(HookFailed, match="did not answer within 100 ms, and is closed"):
                await host.emit("closed", "slow")
        with pytest.raises(HookFailed, match="late 2 times in a row, is tried again in 17 min"):
            await host.emit("closed", "fine")


@BOTH
async def test_a_hook_that_only_raises_is_asked_each_time(make_plugin: MakePlugin) -> None:
    folder = hooking(make_plugin, "late", LATE)
    async with Host([folder], trusting(hooks=HooksConfig(late_limit=1, pause=1000))) as host:
        for _ in range(5):
            with pytest.raises(HookFailed, match="failed, and is closed"):
                await host.emit("closed", "bad")
        event = await host.emit("closed", "fine")
        assert event is not None
        assert event.data == 6


async def test_a_hook_that_asks_for_more_time_than_there_is_is_left_out_as_well(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "late", LATE.replace("timeout=0.1", "timeout=600"))
    config = trusting(hooks=HooksConfig(timeout=0.1, total=0.2, late_limit=1, pause=1000))
    async with Host([folder], config) as host:
        with pytest.raises(HookFailed, match="did not answer within"):
            await host.emit("closed", "slow")
        with pytest.raises(HookFailed, match="was late 1 times in a row"):
            await host.emit("closed", "fine")


async def test_a_hook_that_was_left_out_is_tried_again(make_plugin: MakePlugin) -> None:
    folder = hooking(make_plugin, "late", LATE)
    async with Host([folder], trusting(hooks=HooksConfig(late_limit=1, pause=1e-9))) as host:
        for _ in range(2):
            await host.emit("open", "slow")
        event = await host.emit("open", "fine")
        assert event is not None
        assert event.data == 3


@BOTH
async def test_hanging_hooks_hold_an_event_up_for_no_longer_than_the_total(
    make_plugin: MakePlugin,
) -> None:
    code = """
    @plugin.hook("filter_event", only="job"{0})
    async def hang(event):
        await asyncio.sleep(600)
    """
    for name in ("aa", "bb", "cc"):
        hooking(make_plugin, name, code.format(""))
    folder = hooking(make_plugin, "dd", "plugin.hook('filter_event')(lambda e: 'filtered')")
    config = trusting(hooks=HooksConfig(timeout=0.3, total=0.3))
    async with Host([folder], config) as host:
        event = await host.emit("job", "raw")
        assert event is not None
        assert event.data == "raw"
        stats = host.hooks.stats()
        assert [stats[name]["filter_event"].late for name in ("aa", "bb", "cc", "dd")] == [1] * 4
        # Who was late through no fault of its own is there for the next event.
        event = await host.emit("other", "raw")
        assert event is not None
        assert event.data == "filtered"


MORTAL = """
@plugin.hook("filter_event", only="open")
def filter(event):
    return "filtered"

@plugin.hook("validate_event", only="closed")
def validate(event):
    pass

@plugin.tool
def die() -> None:
    os._exit(3)
"""


@BOTH
async def test_while_its_plugin_restarts_an_open_hook_is_skipped_and_a_closed_one_refuses(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "mortal", MORTAL)
    config = trusting(restart=Restart(backoff=600, backoff_max=600, jitter=0))
    async with Host([folder], config) as host, host.events.subscribe("plugin:*") as events:
        with pytest.raises(Exception, match="died"):
            await host.call("mortal.die")
        while (await take(events, 1))[0].name != "plugin:crashed":
            pass
        event = await host.emit("open", "raw")
        assert event is not None
        assert event.data == "raw"
        with pytest.raises(HookFailed, match="is not there: its plugin is not running"):
            await host.emit("closed")
        await host.plugin("mortal").stop()
        assert await host.emit("closed") is not None


async def test_a_closed_hook_outlives_the_plugin_that_was_given_up_until_someone_acts(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "mortal", MORTAL)
    config = trusting(restart=Restart(limit=0))
    async with Host([folder], config) as host, host.events.subscribe("plugin:*") as events:
        with pytest.raises(Exception, match="died"):
            await host.call("mortal.die")
        while (await take(events, 1))[0].name != "plugin:error":
            pass
        assert host.hooks.order("filter_event") == []
        assert host.hooks.order("validate_event") == ["mortal"]
        with pytest.raises(HookFailed):
            await host.emit("closed")
        await host.plugin("mortal").disable()
        assert await host.emit("closed") is not None
        await host.plugin("mortal").enable()
        assert host.hooks.order("filter_event") == ["mortal"]
        event = await host.emit("open", "raw")
        assert event is not None
        assert event.data == "filtered"


@BOTH
async def test_hooks_of_the_start_and_the_end_that_hang_do_not_keep_the_host_from_either(
    make_plugin: MakePlugin,
) -> None:
    code = """
    @plugin.hook("startup")
    @plugin.hook("shutdown")
    async def hang():
        await asyncio.sleep(600)

    @plugin.hook("context")
    def fail(context):
        raise ValueError
    """
    hooking(make_plugin, "aa", code)
    folder = hooking(make_plugin, "bb", "plugin.hook('startup', trylast=True)(lambda: 'up')")
    config = trusting(hooks=HooksConfig(timeout=0.2, life_total=5))
    async with Host([folder], config) as host:
        assert [result.plugin for result in host.hooks.started] == ["bb"]
        stats = host.hooks.stats()["aa"]
    assert {name: s.failures for name, s in stats.items()} == {
        "startup": 1,
        "shutdown": 1,
        "context": 1,
    }


async def test_a_plugin_registers_no_more_hooks_than_it_may(make_plugin: MakePlugin) -> None:
    folder = hooking(
        make_plugin,
        "many",
        """
        @plugin.tool
        async def more() -> str:
            try:
                while True:
                    await plugin.api.hooks.register("shutdown", print)
            except HostError as exc:
                return f"{exc.code} {len(await plugin.api.hooks.list())}"
        """,
    )
    async with Host([folder], trusting(hooks=HooksConfig(hooks=3))) as host:
        assert await host.call("many.more") == "overloaded 3"


async def test_a_filter_makes_no_event_larger_than_events_may_be(make_plugin: MakePlugin) -> None:
    folder = hooking(make_plugin, "bad", "plugin.hook('filter_event')(lambda e: e.data + 'x' * 10)")
    async with Host([folder], trusting(events=EventsConfig(max_size=1000))) as host:
        event = await host.emit("job", "x" * 995)
        assert event is not None
        assert len(event.data) == 995


async def test_calls_that_carry_too_much_are_not_shown(make_plugin: MakePlugin) -> None:
    hooking(make_plugin, "aa", "@plugin.tool\ndef size(text: str) -> int: return len(text)")
    folder = hooking(
        make_plugin,
        "mm",
        """
        plugin.hook("before_request", only="aa.*")(lambda request: {"text": ""})
        """,
    )
    config = trusting(hooks=HooksConfig(max_size=1000, late_limit=1))
    async with Host([folder], config) as host:
        for _ in range(4):
            assert await host.call("aa.size", {"text": "x" * 2000}) == 2000
        # That was not the hook's fault: it is not left out.
        assert await host.call("aa.size", {"text": "x" * 20}) == 0


@pytest.mark.parametrize("setting", ["timeout", "total", "hooks", "max_size", "late_limit"])
async def test_a_setting_that_cannot_be_is_refused(setting: str) -> None:
    with pytest.raises(Exception, match=f"HooksConfig.{setting} must be more than 0"):
        HooksConfig(**{setting: 0})
