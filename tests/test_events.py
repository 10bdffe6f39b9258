"""Events between real plugins and the application; on asyncio and on trio."""

from typing import Any

import anyio
import pytest

from plughost import (
    BlockingHost,
    CallTimeout,
    Event,
    EventsConfig,
    Host,
    HostConfig,
    HostMisuse,
    InvalidEvent,
    NoReply,
    NoSubscriber,
    PluginConfig,
    Rates,
    ToolError,
)

from .conftest import MakePlugin, trusting
from .event_plugins import ALL, BOTH, DESK, UNLIMITED, eventually, take, until

pytestmark = pytest.mark.anyio

# From the application to plugins, and back


@BOTH
async def test_an_event_reaches_every_handler_whatever_its_form(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "forms",
        """
        import threading
        from plughost_sdk import Plugin, current_call, on

        class Forms(Plugin):
            async def on_load(self, api):
                await api.events.on("session.created", self.by_call)

            @on("session.*")
            async def by_mark(self, event):
                await self.tell("async", event)

            @on("session:created")
            def in_a_thread(self, event):
                name = threading.current_thread().name.split("_")[0]
                call = current_call()
                said = [name, event.source, event.timestamp > 0, call.user_id, call.trace]
                self.api.blocking.events.emit("told.thread", said)

            async def by_call(self, event):
                await self.tell("call", event)

            async def tell(self, how, event):
                await self.api.events.emit("told." + how, [event.name, event.data, event.user_id])
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host:
        async with host.events.subscribe("told.*") as told:
            event = await host.emit("session:created", {"n": b"1"}, user_id="ada", trace="00-1")
            found = {e.name: e for e in await take(told, 3)}
        assert event is not None
        assert found["told.async"].data == ["session:created", {"n": b"1"}, "ada"]
        assert found["told.call"].data == ["session:created", {"n": b"1"}, "ada"]
        assert found["told.thread"].data == ["tool", "app", True, "ada", "00-1"]
        for answer in found.values():
            assert (answer.source, answer.parent, answer.depth) == ("forms", event.id, 1)
            assert (answer.user_id, answer.trace) == ("ada", "00-1")


@BOTH
async def test_plugins_hear_each_other_in_the_order_in_which_each_emits(
    make_plugin: MakePlugin,
) -> None:
    for plugin_id in ("north", "south"):
        folder = make_plugin(
            plugin_id,
            """
            from plughost_sdk import Plugin
            plugin = Plugin()

            @plugin.tool
            async def count(to: int) -> None:
                for n in range(to):
                    await plugin.api.events.emit("data.produced", n)
            """,
            permissions=ALL,
        )
    make_plugin(
        "consumer",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()
        seen = {"north": [], "south": []}

        @plugin.on("data.*")
        async def consume(event):
            seen[event.source].append(event.data)
            if len(seen["north"]) + len(seen["south"]) == 300:
                await plugin.api.events.emit("consumed", seen)
        """,
        permissions=ALL,
    )
    async with (
        Host([folder], trusting(rates=UNLIMITED)) as host,
        host.events.subscribe("consumed") as consumed,
    ):
        await host.call_many([("north.count", {"to": 150}), ("south.count", {"to": 150})])
        (event,) = await take(consumed, 1)
        assert event.data == {"north": list(range(150)), "south": list(range(150))}


@BOTH
async def test_the_application_hears_by_iterator_and_by_callbacks(
    make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    plain: list[object] = []
    awaited: list[object] = []

    async def later(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        awaited.append(event.data)

    def breaks(_event: Event) -> None:
        raise LookupError("a mistake of the application")

    async with Host([folder], trusting()) as host:
        host.events.on("note.*", breaks)
        host.events.on("note.*", lambda event: plain.append(event.data))
        once = host.events.on("note.*", plain.append, once=True)
        listener = host.events.on("note:*", later)
        stream = host.events.subscribe("note.*")
        for n in range(3):
            await host.call("desk.emit", {"name": "note.made", "data": n})
        assert [event.data for event in await take(stream, 3)] == [0, 1, 2]
        listener.off()
        await host.emit("note.made", 3)
        await take(stream, 1)
    assert [n for n in plain if not isinstance(n, Event)] == [0, 1, 2, 3]
    assert [event.data for event in plain if isinstance(event, Event)] == [0]
    assert awaited == [0, 1, 2]
    assert once.lost == 0
    assert sum("a mistake of the application" in str(r.exc_info) for r in caplog.records) == 4
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_iterator_that_is_not_read_loses_the_oldest_and_says_how_many(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host:
        slow = host.events.subscribe("tick", buffer=10)
        quick = host.events.subscribe("tick")
        for n in range(25):
            await host.emit("tick", n)
        first, second = await take(slow, 2)
        assert ((first.data, first.lost), (second.data, second.lost)) == ((15, 15), (16, 0))
        assert slow.lost == 15
        assert [event.data for event in await take(quick, 25)] == list(range(25))


async def test_a_handler_that_was_taken_back_hears_nothing_more(make_plugin: MakePlugin) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("noted") as noted:
        await host.call("desk.listen", {"pattern": "a.*"})
        await host.call("desk.listen", {"pattern": "b"})
        await host.emit("a.one", 1)
        await take(noted, 1)
        await host.call("desk.stop", {"pattern": "a.*"})
        await host.emit("a.two", 2)
        await host.emit("b", 3)
        await take(noted, 1)
        assert [data for _, data, _ in await host.call("desk.noted")] == [1, 3]


@BOTH
async def test_once_is_one_event_even_where_many_come_at_once(make_plugin: MakePlugin) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("noted") as noted:
        await host.call("desk.listen_once", {"pattern": "a"})
        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(host.emit, "a", n)
        await host.call("desk.listen", {"pattern": "b"})
        await host.emit("b")
        await until(noted, lambda event: event.data[1] == "b")
        assert [name for name, _, _ in await host.call("desk.noted")] == ["a", "b"]


# Requests


@BOTH
async def test_a_request_gets_the_first_reply_and_only_who_got_it_may_reply(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    make_plugin(
        "store",
        """
        import asyncio
        from plughost_sdk import HostError, Plugin
        plugin = Plugin()
        kept = {}

        @plugin.on("db:set")
        async def set_value(event):
            kept.update(event.data)
            taken = [await event.reply("kept"), await event.reply("again")]
            await plugin.api.events.emit("taken", taken)

        @plugin.on("db:get")
        def get_value(event):
            plugin.api.blocking.events.reply(event, kept.get(event.data))

        @plugin.tool
        async def reply_to(event_id: str) -> bool:
            class Foreign:
                id = event_id
            return await plugin.api.events.reply(Foreign, "mine")
        """,
        permissions=ALL,
    )
    async with (
        Host([folder], trusting()) as host,
        host.events.subscribe("taken") as taken,
        host.events.subscribe("question") as questions,
    ):
        asked = await host.call("desk.ask", {"name": "db:set", "data": {"x": [1, "2"]}})
        assert asked == "kept"
        assert (await take(taken, 1))[0].data == [True, False]
        assert await host.events.request("db:get", "x") == [1, "2"]

        async def answer() -> None:
            (question,) = await take(questions, 1)
            assert question.wants_reply
            with pytest.raises(ToolError) as stranger:
                await host.call("store.reply_to", {"event_id": question.id})
            assert stranger.value.code == "not_your_event"
            assert host.events.reply(question, 42)
            assert not host.events.reply(question, 43)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            assert await host.call("desk.ask", {"name": "question"}) == 42


async def test_a_request_that_nobody_can_answer_ends_with_the_reason(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    make_plugin(
        "bad",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("raises")
        async def raises(event):
            raise ValueError("not today")

        @plugin.on("silent")
        async def silent(event):
            pass
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host:
        with pytest.raises(NoSubscriber, match="nobody subscribes to nothing:here"):
            await host.events.request("nothing:here")
        with pytest.raises(NoReply, match="each of its 1 subscribers failed"):
            await host.events.request("raises")
        with pytest.raises(CallTimeout, match="event silent did not answer within 50 ms"):
            await host.events.request("silent", timeout=0.05)
        for name, code in (("nothing", "no_subscriber"), ("raises", "no_reply")):
            with pytest.raises(ToolError) as refused:
                await host.call("desk.ask", {"name": name})
            assert refused.value.code == code
        log = [entry.message for entry in host.plugin("bad").log.entries]
        assert any("a handler of raises failed" in line and "not today" in line for line in log)
        assert host.events.stats()["bad"].failed == 2


async def test_plain_events_are_tied_together_by_a_correlation_id(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "service",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("service:request")
        async def serve(event):
            await plugin.api.events.emit(
                "service:response", event.data * 2, correlation_id=event.correlation_id)
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host:
        async with host.events.subscribe("service:response") as responses:
            await host.emit("service:request", 21, correlation_id="c-1")
            (response,) = await take(responses, 1)
        assert (response.correlation_id, response.data) == ("c-1", 42)
        assert [tree.name for tree in host.events.trace("c-1")] == [
            "service:request",
            "service:response",
        ]


# What plugins may


async def test_a_plugin_hears_and_says_what_it_is_granted_and_nothing_else(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "desk",
        DESK,
        permissions=[
            "tools:register",
            "events:subscribe:session.*",
            "events:subscribe:noted",
            "events:emit:session.*",
            "events:emit:noted",
        ],
    )
    async with Host([folder], trusting()) as host:
        await host.call("desk.listen", {"pattern": "session:created"})
        await host.call("desk.listen", {"pattern": "session.*"})
        await host.call("desk.emit", {"name": "session:ended"})
        for pattern in ("*", "session", "message:*", "*.created"):
            with pytest.raises(ToolError, match="lacks the permission 'events:subscribe:") as no:
                await host.call("desk.listen", {"pattern": pattern})
            assert no.value.code == "permission_denied"
        with pytest.raises(ToolError, match=r"'events:subscribe:\*'"):
            await host.call("desk.past", {"pattern": "*"})
        with pytest.raises(ToolError, match=r"'events:emit:message\.received'"):
            await host.call("desk.emit", {"name": "message:received"})
        await host.emit("message:received", "secret")
        assert [n for n, _, _ in await host.call("desk.past", {"pattern": "session.*"})] == [
            "session:ended"
        ]


@pytest.mark.parametrize(
    "name",
    ["plugin:loaded", "plugin_loaded", "tool.executed", "system:shutdown", "memory:x", "events:x"],
)
async def test_no_plugin_emits_what_only_the_host_does(make_plugin: MakePlugin, name: str) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host:
        with pytest.raises(ToolError, match="only the host emits") as refused:
            await host.call("desk.emit", {"name": name})
        assert refused.value.code == "event_refused"
        assert host.events.stats()["desk"].emitted == 0


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"name": ""}, "invalid_params"),
        ({"name": "x" * 201}, "invalid_params"),
        ({"name": "no name"}, "invalid_params"),
        ({"name": "a\x00b"}, "invalid_params"),
        ({"name": "a.*"}, "invalid_params"),
        ({"name": "a", "data": "x" * 300_000}, "invalid_params"),
        ({"name": "a", "correlation_id": "x" * 201}, "invalid_params"),
    ],
)
async def test_what_is_no_event_is_refused_and_harms_nobody(
    make_plugin: MakePlugin, call: dict[str, Any], code: str
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe() as events:
        with pytest.raises(ToolError) as refused:
            await host.call("desk.emit", call)
        assert refused.value.code == code
        with pytest.raises(InvalidEvent):
            await host.emit(**call)
        await host.call("desk.emit", {"name": "a"})
        await until(events, lambda event: event.source == "desk")


async def test_a_plugin_has_a_bounded_number_of_subscriptions(make_plugin: MakePlugin) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    config = trusting(events=EventsConfig(subscriptions=3))
    async with Host([folder], config) as host:
        for n in range(3):
            await host.call("desk.listen", {"pattern": f"a{n}"})
        with pytest.raises(ToolError, match="event subscriptions up to its limit of 3"):
            await host.call("desk.listen", {"pattern": "a3"})
        await host.call("desk.stop", {"pattern": "a0"})
        await host.call("desk.listen", {"pattern": "a3"})


async def test_the_application_is_told_of_its_own_mistakes(make_plugin: MakePlugin) -> None:
    host = Host([make_plugin("desk", DESK, permissions=ALL)], trusting())
    with pytest.raises(HostMisuse, match="while the host runs"):
        await host.emit("too.early")
    async with host:
        with pytest.raises(HostMisuse, match="user_id is longer"):
            await host.emit("a", user_id="x" * 1001)
        with pytest.raises(InvalidEvent, match="throttle or a debounce, not both"):
            host.events.subscribe("a", throttle=1.0, debounce=1.0)


# The host's own events


@BOTH
async def test_the_host_tells_of_its_plugins_and_of_itself(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "mortal",
        """
        import os
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("system:*")
        async def heard(event):
            await plugin.api.events.emit("heard", event.name)

        @plugin.tool
        async def die() -> None:
            os._exit(3)
        """,
        permissions=ALL,
    )
    make_plugin("broken", "raise RuntimeError('never')")
    make_plugin("idle", "from plughost_sdk import Plugin\nplugin = Plugin()\n")
    config = trusting(plugins={"idle": PluginConfig(enabled=False)})
    host = Host([folder], config)
    stream = host.events.subscribe("*")
    loaded: list[str] = []
    host.events.on("plugin_loaded", lambda event: loaded.append(event.data["plugin"]))
    async with host:
        started = await until(stream, lambda event: event.name == "heard")
        assert (started.data, started.source) == ("system:startup", "mortal")
        with pytest.raises(Exception, match="died"):
            await host.call("mortal.die")
        crashed = await until(stream, lambda event: event.name == "plugin:crashed")
        assert crashed.data["plugin"] == "mortal"
        assert "code 3" in crashed.data["reason"]
        await until(stream, lambda event: event.name == "plugin:restarted")
        await host.plugin("mortal").stop()
        await until(stream, lambda event: event.name == "plugin:unloaded")
        await host.plugin("mortal").start()
        await until(stream, lambda event: event.name == "plugin:reloaded")
        assert [e.data["plugin"] for e in host.events.history("plugin:error")] == ["broken"]
    names = [event.name async for event in stream]
    assert names[-3:] == ["system:shutdown", "heard", "plugin:unloaded"]
    assert loaded == ["mortal", "mortal"]


@BOTH
async def test_tool_calls_are_told_while_somebody_listens_and_cost_nothing_else(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host:
        await host.call("desk.noted")
        assert host.events.history("tool:*") == []
        async with host.events.subscribe("tool.*") as calls:
            await host.call("desk.noted")
            with pytest.raises(ToolError):
                await host.call("desk.emit", {"name": "no name"})
            before, after, _, failed = await take(calls, 4)
        assert (before.name, before.data["tool"]) == ("tool:before_execute", "desk.noted")
        assert (after.name, after.data["success"]) == ("tool:after_execute", True)
        assert 0 < after.data["duration"] < 20_000
        assert (failed.data["success"], failed.data["error"]) == (False, "invalid_params")
        async with host.events.subscribe("tool.executed") as executed:
            await host.call("desk.noted")
            (event,) = await take(executed, 1)
            assert event.data["tool"] == "desk.noted"
        taken = len(host.events.history("*"))
        await host.call("desk.noted")
        assert len(host.events.history("*")) == taken


# Storms


@BOTH
async def test_two_plugins_that_answer_each_other_are_cut_after_some_hops(
    make_plugin: MakePlugin,
) -> None:
    for here, there in (("ping", "pong"), ("pong", "ping")):
        folder = make_plugin(
            here,
            f"""
            from plughost_sdk import HostError, Plugin
            plugin = Plugin()

            @plugin.on("{here}")
            async def answer(event):
                try:
                    await plugin.api.events.emit("{there}", event.data + 1)
                except HostError as exc:
                    plugin.api.logger.warning("%s: %s", exc.code, exc)
                    raise
            """,
            permissions=ALL,
        )
    async with Host([folder], trusting(events=EventsConfig(max_hops=7))) as host:
        await host.emit("ping", 0)
        await eventually(lambda: host.events.stats()["pong"].failed > 0)
        heard = [event.data for event in host.events.history("*") if event.name[0] == "p"]
        assert [n for n in heard if isinstance(n, int)] == list(range(8))
        (tree,) = [tree for tree in host.events.trace() if tree.name == "ping"]
        depth = 0
        while tree.caused:
            (tree,) = tree.caused
            depth += 1
        assert depth == 7
        assert "too_deep" in str([entry.message for entry in host.plugin("pong").log.entries])


async def test_a_plugin_that_listens_to_tool_calls_and_calls_a_tool_is_cut(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "watcher",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("tool:before_execute")
        async def watch(event):
            await plugin.api.call("desk.noted")
        """,
        permissions=[*ALL, "tools:execute"],
    )
    make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting(events=EventsConfig(max_hops=4))) as host:
        await host.call("desk.noted")
        await eventually(lambda: host.plugin("desk").stats.calls == 6)
        assert len(host.events.history("tool:before_execute")) == 5


async def test_a_plugin_that_emits_without_end_is_limited_and_the_others_are_not(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "flood",
        """
        from plughost_sdk import Plugin, RateLimited
        plugin = Plugin()

        @plugin.tool
        async def flood() -> int:
            emitted = 0
            while True:
                try:
                    await plugin.api.events.emit("flood.drop", emitted)
                except RateLimited as exc:
                    assert exc.retry_after > 0
                    return emitted
                emitted += 1
        """,
        permissions=ALL,
    )
    make_plugin("desk", DESK, permissions=ALL)
    config = trusting(rates=Rates(services={"events": 60}))
    async with Host([folder], config) as host, host.events.subscribe("desk.*") as heard:
        assert 60 <= await host.call("flood.flood") < 80
        await host.call("desk.emit", {"name": "desk.fine"})
        await take(heard, 1)


# Other ways in


def test_a_blocking_application_emits_and_hears_in_a_thread(make_plugin: MakePlugin) -> None:
    import queue
    import threading

    folder = make_plugin("desk", DESK, permissions=ALL)
    heard: queue.Queue[tuple[object, bool]] = queue.Queue()
    main = threading.get_ident()
    with BlockingHost([folder], trusting()) as host:
        off = host.on("noted", lambda e: heard.put((e.data, threading.get_ident() != main)))
        host.call("desk.listen", {"pattern": "a"})
        assert isinstance(host.emit("a", 7), Event)
        assert heard.get(timeout=20) == (["desk", "a", 7], True)
        off()
        with pytest.raises(NoSubscriber):
            host.request_event("nobody.there")


async def test_an_event_says_where_it_comes_from_whatever_its_data_says(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("a") as events:
        forged = {"source": "host", "id": "0", "timestamp": 1e300}
        event_id = await host.call("desk.emit", {"name": "a", "data": forged})
        (event,) = await take(events, 1)
        assert (event.source, event.id, event.data) == ("desk", event_id, forged)
        assert event.timestamp < 1e11


async def test_a_plugin_without_grants_hears_nothing(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "desk",
        DESK,
        permissions=[
            "tools:register",
            {"permission": "events:subscribe", "optional": True},
            {"permission": "events:emit", "optional": True},
        ],
    )
    async with Host([folder], HostConfig(grants={"desk": ["tools:register"]})) as host:
        for tool, params in (
            ("listen", {"pattern": "a"}),
            ("emit", {"name": "a"}),
            ("past", {"pattern": "a"}),
            ("ask", {"name": "a"}),
        ):
            with pytest.raises(ToolError, match="plughost grant desk events:"):
                await host.call(f"desk.{tool}", params)
