"""Hooks of real plugins on events and on the host's life; on asyncio and on trio."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from plughost import Event, EventRefused, HookResult, Host, HostMisuse
from plughost.catalog.hook_names import HOOK_WORDS
from plughost.catalog.permissions import Permission
from plughost.exchange.hooks.kinds import HOOKS

from .conftest import MakePlugin, trusting
from .event_plugins import take
from .hook_plugins import ALL, BOTH, hooking

pytestmark = pytest.mark.anyio


def seeing(plugin_id: str, how: str = "") -> str:
    """A plugin whose filter notes in the event that it has seen it."""
    return f"""
    @plugin.hook("filter_event"{how})
    def see(event):
        event.data["seen"] = event.data.get("seen", []) + ["{plugin_id}"]
        return event
    """


# Order


@BOTH
async def test_hooks_run_first_plain_last_and_dependencies_before_who_needs_them(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", seeing("aa"), dependencies=["zz"])
    hooking(make_plugin, "bb", seeing("bb", ", trylast=True"))
    hooking(make_plugin, "cc", seeing("cc"))
    hooking(make_plugin, "yy", seeing("yy", ", tryfirst=True"), dependencies=["aa"])
    folder = hooking(make_plugin, "zz", seeing("zz"))
    order = ["yy", "cc", "zz", "aa", "bb"]
    async with Host([folder], trusting()) as host:
        host.hooks.register("filter_event", lambda event: event)
        assert host.hooks.order("filter_event") == ["yy", "(app)", *order[1:]]
        event = await host.emit("order.placed", {"n": 1})
        assert event is not None
        assert event.data == {"n": 1, "seen": order}
        with pytest.raises(HostMisuse, match="there is no hook 'filter'"):
            host.hooks.order("filter")


async def test_hooks_of_one_plugin_run_in_the_order_in_which_it_registers_them(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "own",
        """
        from plughost_sdk import Plugin, hook

        class Own(Plugin):
            async def on_load(self, api):
                await api.hooks.register("filter_event", lambda e: e.data + ["call"])

            @hook("filter_event", trylast=True)
            def last(self, event):
                return event.data + ["last"]

            @hook("filter_event", tryfirst=True)
            async def first(self, event):
                return event.data + ["first"]
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host:
        event = await host.emit("a.b", [])
        assert event is not None
        assert event.data == ["first", "call", "last"]


# Filter and validate


@BOTH
async def test_a_filter_changes_what_subscribers_get_and_stops_what_it_will(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(
        make_plugin,
        "censor",
        """
        @plugin.hook("filter_event", only="message.*")
        async def censor(event):
            if event.data is None:
                return event
            if "stop" in event.data:
                return None
            return {"text": event.data["text"].replace("damn", "****"), "from": event.source}
        """,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("*.test") as events:
        await host.emit("message.test", {"text": "damn it"})
        assert await host.emit("message.test", {"stop": True}) is None
        await host.emit("message.test")
        await host.emit("other.test", {"stop": True})
        assert [(e.name, e.data) for e in await take(events, 3)] == [
            ("message.test", {"text": "**** it", "from": "app"}),
            ("message.test", None),
            ("other.test", {"stop": True}),
        ]
        assert host.hooks.stats()["censor"]["filter_event"].stopped == 1


@BOTH
async def test_validation_refuses_with_the_reason_that_application_and_plugin_get(
    make_plugin: MakePlugin,
) -> None:
    hooking(
        make_plugin,
        "gate",
        """
        @plugin.hook("validate_event")
        def check(event):
            if "id" not in event.data:
                raise ValueError("Missing required field: id")
            if not event.data:
                raise KeyError
        """,
    )
    folder = hooking(
        make_plugin,
        "emitter",
        """
        @plugin.tool
        async def emit(data: dict) -> str:
            try:
                return str(await plugin.api.events.emit("order.new", data) is not None)
            except HostError as exc:
                return f"{exc.code}: {exc}"
        """,
    )
    reason = "event order.new is refused: plugin 'gate': Missing required field: id"
    async with Host([folder], trusting()) as host, host.events.subscribe("order.*") as events:
        with pytest.raises(EventRefused) as caught:
            await host.emit("order.new", {})
        assert str(caught.value) == reason
        assert await host.call("emitter.emit", {"data": {}}) == f"event_refused: {reason}"
        assert await host.call("emitter.emit", {"data": {"id": 1}}) == "True"
        assert (await take(events, 1))[0].data == {"id": 1}


async def test_a_validation_sees_what_the_filters_leave(make_plugin: MakePlugin) -> None:
    hooking(
        make_plugin,
        "aa",
        """
        @plugin.hook("validate_event")
        def check(event):
            assert event.data == "filtered", event.data
        """,
    )
    folder = hooking(make_plugin, "bb", "plugin.hook('filter_event')(lambda event: 'filtered')")
    async with Host([folder], trusting()) as host:
        assert await host.emit("a.b", "raw") is not None


# Which events a plugin's hooks see


@BOTH
async def test_hooks_see_the_events_that_their_plugin_may_subscribe_to_and_no_others(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(
        make_plugin,
        "narrow",
        """
        plugin.hook("filter_event")(lambda event: "filtered")
        plugin.hook("handle_event")(lambda event: event.name)

        @plugin.hook("validate_event")
        def refuse(event):
            raise ValueError("no")
        """,
        permissions=["hooks:register", "events:subscribe:mine.*"],
    )
    async with Host([folder], trusting()) as host:
        event = await host.emit("theirs.a", "raw")
        assert event is not None
        assert event.data == "raw"
        assert await host.hooks.collect("theirs.a") == []
        with pytest.raises(EventRefused):
            await host.emit("mine.a", "raw")


@pytest.mark.parametrize(
    ("permissions", "registration", "lacks"),
    [
        (["hooks:register"], '"handle_event"', "events:subscribe:*"),
        (
            ["hooks:register", "events:subscribe:mine.*"],
            '"handle_event", only="theirs.*"',
            "events:subscribe:theirs.*",
        ),
        (["events:subscribe"], '"handle_event"', "hooks:register:handle_event"),
        (
            ["hooks:register:handle_event", "events:subscribe"],
            '"filter_event"',
            "hooks:register:filter_event",
        ),
        (["hooks:register:handle_event"], '"before_request"', "hooks:register:before_request"),
    ],
)
async def test_a_hook_without_its_permission_is_refused_where_it_is_registered(
    make_plugin: MakePlugin, permissions: list[str], registration: str, lacks: str
) -> None:
    code = f"plugin.hook({registration})(lambda given: None)"
    folder = hooking(make_plugin, "lacking", code, permissions=permissions)
    async with Host([folder], trusting()) as host:
        assert f"lacks the permission '{lacks}'" in host.problems["lacking"]


def test_every_hook_can_be_granted_and_is_said_in_words() -> None:
    assert sorted(HOOK_WORDS) == sorted(HOOKS)
    for name in HOOKS:
        words = Permission.parse(f"hooks:register:{name}").in_words()
        assert words == f"take part in the hook {name}: {HOOK_WORDS[name]}"


def test_a_grant_of_middleware_says_that_it_sees_all_calls() -> None:
    for text in ("hooks:register:before_request", "hooks:register"):
        words = Permission.parse(text).in_words()
        assert "see, change and refuse the parameters" in words
        assert "every call of every plugin's tools" in words
    assert not Permission.parse("hooks:register:filter_event").covers(
        "hooks:register", "before_request"
    )
    with pytest.raises(ValueError, match=r"there is no hook '\*'"):
        Permission.parse("hooks:register:*")


@pytest.mark.parametrize(
    ("registration", "problem"),
    [
        ('"filter_events"', "there is no 'filter_events'; there are context, "),
        ('"startup", on_failure="closed"', "startup cannot be closed"),
        ('"startup", only="a.*"', "startup is for neither events nor tools"),
        ('"filter_event", only="a b"', "'a b' is no pattern of event names"),
        ('"filter_event", tryfirst=True, trylast=True', "tryfirst or trylast, not both"),
        ('"filter_event", timeout=-1.0', "timeout"),
        ('"filter_event", on_failure="perhaps"', "on_failure"),
    ],
)
async def test_a_hook_that_cannot_be_is_refused_with_the_reason(
    make_plugin: MakePlugin, registration: str, problem: str
) -> None:
    code = f"plugin.hook({registration})(lambda given: None)"
    folder = hooking(make_plugin, "wrong", code)
    async with Host([folder], trusting()) as host:
        assert problem in host.problems["wrong"]


async def test_the_hosts_own_events_are_neither_changed_nor_stopped(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "greedy", "plugin.hook('filter_event')(lambda event: None)")
    host = Host([folder], trusting())
    async with host.events.subscribe("*") as events:
        async with host:
            assert await host.emit("a.b") is None
        names = [event.name async for event in events]
        assert names[:2] == ["plugin:loaded", "system:startup"]


async def test_a_plugin_neither_filters_nor_validates_what_it_emits_itself(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(
        make_plugin,
        "echo",
        """
        @plugin.hook("filter_event")
        async def filter(event):
            await plugin.api.events.emit("echo.filtered", event.name)
            return event.data + 1

        @plugin.hook("validate_event")
        async def validate(event):
            await plugin.api.events.emit("echo.validated", event.name)
        """,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("echo.*") as echoes:
        event = await host.emit("a.b", 1)
        assert event is not None
        assert event.data == 2
        assert [echo.data for echo in await take(echoes, 2)] == ["a.b", "a.b"]
        stats = host.hooks.stats()["echo"]
        assert (stats["filter_event"].runs, stats["validate_event"].runs) == (1, 1)


# Handlers


ANSWERS = """
@plugin.hook("handle_event")
async def handle(event):
    if event.name == "ask.{0}" or event.name == "ask.all":
        return {{"from": "{0}", "data": event.data, "user": event.user_id}}
"""


@BOTH
async def test_answers_are_collected_with_who_gave_them_or_only_the_first(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", ANSWERS.format("aa"))
    hooking(make_plugin, "bb", ANSWERS.format("bb"))
    folder = hooking(
        make_plugin,
        "cc",
        """
        @plugin.tool
        async def ask(name: str, first: bool = False) -> list:
            return await plugin.api.hooks.collect(name, 1, first=first)
        """,
    )

    def answer(plugin: str, data: Any = 1, user: str = "") -> dict[str, Any]:
        return {"from": plugin, "data": data, "user": user}

    async with Host([folder], trusting()) as host:
        collected = await host.hooks.collect("ask.all", "x", user_id="ada")
        assert collected == [
            HookResult("aa", answer("aa", "x", "ada")),
            HookResult("bb", answer("bb", "x", "ada")),
        ]
        first = await host.hooks.collect("ask.all", 1, first=True)
        assert first == [HookResult("aa", answer("aa"))]
        only = await host.hooks.collect("ask.bb", 1, first=True)
        assert only == [HookResult("bb", answer("bb"))]
        assert await host.hooks.collect("ask.nobody") == []
        assert await host.call("cc.ask", {"name": "ask.all", "first": True}) == [
            ["aa", answer("aa")]
        ]
        assert len(await host.call("cc.ask", {"name": "ask.all"})) == 2
        with pytest.raises(Exception, match="only the host emits events"):
            await host.call("cc.ask", {"name": "plugin:loaded"})


async def test_asking_needs_the_permission_to_emit(make_plugin: MakePlugin) -> None:
    folder = hooking(
        make_plugin,
        "mute",
        """
        @plugin.tool
        async def ask() -> list:
            return await plugin.api.hooks.collect("ask.all")
        """,
        permissions=["tools:register", "events:emit:mine.*"],
    )
    async with Host([folder], trusting()) as host:
        with pytest.raises(Exception, match=r"lacks the permission 'events:emit:ask\.all'"):
            await host.call("mute.ask")


@BOTH
async def test_an_event_that_nobody_asks_about_is_handled_all_the_same(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(
        make_plugin,
        "handler",
        """
        @plugin.hook("handle_event", only="work")
        async def handle(event):
            await plugin.api.events.emit("handled", event.data)
        """,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("handled") as handled:
        await host.emit("work", 7)
        assert (await take(handled, 1))[0].data == 7


# The life of the host, and of plugins


@BOTH
async def test_context_and_startup_come_when_all_are_started_and_shutdown_before_they_stop(
    make_plugin: MakePlugin,
) -> None:
    hooking(
        make_plugin,
        "aa",
        """
        log = []

        @plugin.hook("context")
        def context(context):
            log.append(context)

        @plugin.hook("startup")
        async def startup():
            return [log, await plugin.api.call("bb.ping")]

        @plugin.hook("shutdown")
        async def shutdown():
            await plugin.api.events.emit("bye", await plugin.api.call("bb.ping"))
        """,
        config_schema={
            "type": "object",
            "properties": {"level": {"type": "integer", "default": 3}},
        },
    )
    folder = hooking(make_plugin, "bb", "@plugin.tool\ndef ping() -> str: return 'pong'")
    host = Host([folder], trusting())
    heard: list[Event] = []
    host.events.on("bye", heard.append)
    own: list[str] = []

    def startup() -> str:
        own.append("startup")
        return "ready"

    host.hooks.register("startup", startup)
    host.hooks.register("shutdown", lambda: own.append("shutdown"))
    async with host:
        assert own == ["startup"]
        app, first = host.hooks.started
        assert app == HookResult("(app)", "ready")
        [context], pong = first.value
        assert (first.plugin, pong) == ("aa", "pong")
        assert context["config"] == {"level": 3}
        assert context["plugins"] == ["aa", "bb"]
        assert context["host_version"]
        assert sorted(context["permissions"]) == sorted(ALL)
    assert own == ["startup", "shutdown"]
    assert [event.data for event in heard] == ["pong"]


async def test_a_worker_that_takes_the_place_of_another_is_told_anew(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(
        make_plugin,
        "mortal",
        """
        @plugin.hook("startup")
        async def startup():
            await plugin.api.events.emit("started", os.getpid())

        @plugin.hook("filter_event", only="job")
        def filter(event):
            return os.getpid()

        @plugin.tool
        def die() -> None:
            os._exit(3)
        """,
    )
    host = Host([folder], trusting())
    async with host.events.subscribe("started") as started, host:
        first = (await take(started, 1))[0].data
        with pytest.raises(Exception, match="died"):
            await host.call("mortal.die")
        second = (await take(started, 1))[0].data
        assert first != second
        event = await host.emit("job")
        assert event is not None
        assert event.data == second
        assert host.hooks.order("filter_event") == ["mortal"]


async def test_what_a_plugin_takes_back_and_what_is_stopped_or_disabled_is_not_asked(
    make_plugin: MakePlugin,
) -> None:
    code = """
    async def filter(event):
        return "{0}"

    plugin.hook("filter_event")(filter)

    @plugin.tool
    async def stop(all: bool = False) -> list:
        await plugin.api.hooks.unregister("filter_event", None if all else filter)
        return [hook.hook for hook in await plugin.api.hooks.list()]

    @plugin.tool
    async def again() -> list:
        await plugin.api.hooks.register("filter_event", filter, only="a.*", timeout=1.5)
        return [(h.hook, h.position, h.only, h.on_failure, h.timeout)
                for h in await plugin.api.hooks.list()]
    """
    hooking(make_plugin, "aa", code.format("aa"))
    hooking(make_plugin, "bb", code.format("bb"))
    folder = hooking(make_plugin, "cc", code.format("cc"))

    async with Host([folder], trusting()) as host:

        async def data() -> object:
            event = await host.emit("a.b", "raw")
            return event and event.data

        assert await data() == "cc"
        assert await host.call("cc.stop") == []
        assert await data() == "bb"
        assert await host.call("cc.again") == [["filter_event", "plain", "a.*", "open", 1.5]]
        assert await data() == "cc"
        assert await host.call("cc.stop", {"all": True}) == []
        await host.plugin("bb").disable()
        assert await data() == "aa"
        await host.plugin("bb").enable()
        assert await data() == "bb"
        await host.plugin("bb").stop()
        assert await data() == "aa"
        await host.plugin("aa").stop()
        assert await data() == "raw"
        assert host.hooks.list() == []


# Metrics


@BOTH
async def test_metrics_stand_under_their_plugins_id_and_who_fails_is_left_out(
    make_plugin: MakePlugin,
) -> None:
    hooking(make_plugin, "aa", "plugin.hook('collect_metrics')(lambda: {'handled': 42})")
    hooking(
        make_plugin,
        "bb",
        """
        @plugin.hook("collect_metrics", timeout=0.2)
        async def hang():
            await asyncio.sleep(60)

        @plugin.hook("collect_metrics")
        async def metrics():
            return {"b": 1.5}
        """,
    )
    hooking(make_plugin, "cc", "plugin.hook('collect_metrics')(lambda: [1])")
    hooking(make_plugin, "dd", "plugin.hook('collect_metrics')(lambda: {'x': 'y' * 100_000})")
    folder = hooking(make_plugin, "ee", "plugin.hook('collect_metrics')(lambda: {1: 2})")
    async with Host([folder], trusting()) as host:
        host.hooks.register("collect_metrics", lambda: {"rooms": 2})
        assert await host.hooks.collect_metrics() == {
            "(app)": {"rooms": 2},
            "aa": {"handled": 42},
            "bb": {"b": 1.5},
        }
        failures = {
            plugin: s["collect_metrics"].failures for plugin, s in host.hooks.stats().items()
        }
        assert failures == {"(app)": 0, "aa": 0, "bb": 1, "cc": 1, "dd": 1, "ee": 1}


# The application


@BOTH
async def test_the_applications_own_hooks_do_what_those_of_plugins_do(
    make_plugin: MakePlugin,
) -> None:
    folder = hooking(make_plugin, "aa", "@plugin.tool\ndef nothing() -> None: ...")

    async def upper(event: Event) -> object:
        await anyio.lowlevel.checkpoint()
        return event.data.upper() if event.name == "up" else event

    def check(event: Event) -> None:
        if event.data == "BAD":
            raise ValueError("bad is bad")

    async with Host([folder], trusting()) as host:
        host.hooks.register("filter_event", upper, only="*")
        host.hooks.register("filter_event", lambda event: None, only="stop")
        host.hooks.register("filter_event", lambda event: event.with_data([event.data]), only="w")
        host.hooks.register("validate_event", check)
        host.hooks.register("handle_event", lambda event: len(event.data), trylast=True)
        host.hooks.register("handle_event", lambda event: None, tryfirst=True)
        assert await host.hooks.collect("up", "abc") == [HookResult("(app)", 3)]
        assert await host.emit("stop") is None
        with pytest.raises(EventRefused, match=r"plugin '\(app\)': bad is bad"):
            await host.emit("up", "bad")
        wrapped = await host.emit("w", 1)
        assert wrapped is not None
        assert wrapped.data == [1]
        host.hooks.unregister("filter_event", upper)
        assert await host.hooks.collect("up", "abc") == [HookResult("(app)", 3)]
        with pytest.raises(KeyError):
            host.hooks.unregister("filter_event", upper)
        with pytest.raises(HostMisuse, match="startup cannot be closed"):
            host.hooks.register("startup", check, on_failure="closed")
        with pytest.raises(HostMisuse, match="more than 0"):
            host.hooks.register("startup", check, timeout=0)
