"""A new version takes a share of the calls, and goes on or is rolled back."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from plughost import (
    BlockingHost,
    CallContext,
    Canary,
    Cause,
    Host,
    HostedPlugin,
    HostMisuse,
    InvalidParams,
    Limits,
    Rates,
    StartFailed,
    State,
    ToolError,
    ToolRequest,
    UnknownTool,
    WorkerDied,
)

from .conftest import sharing
from .event_plugins import BOTH
from .swap_plugins import ANSWERS, HOLDS, Versions

pytestmark = pytest.mark.anyio

QUICK = Rates(operations=None)
LONG = Canary(share=0.5, calls=100_000)
"""A trial that nobody but the test ends."""

RAISES = ANSWERS.replace("return [", "raise ValueError('the new version is no good')\n    return [")
DIES = ANSWERS.replace(
    "    return [", "    if number == 13:\n        import os; os._exit(7)\n    return ["
)
SLEEPS = ANSWERS.replace("    return", "    import time; time.sleep(60)\n    return")
IDEMPOTENT = "@plugin.tool(idempotent=True)"


async def until(condition: Callable[[], object]) -> None:
    """Return when it holds: something is under way that brings it about."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def version(host: Host, number: int = 1, user: str = "") -> int:
    """Which version answers."""
    context = CallContext(user_id=user) if user else None
    answered, version = await host.call("demo.version", {"number": number}, context=context)
    assert answered == number
    return int(version)


def logged(plugin: HostedPlugin) -> str:
    return "\n".join(entry.message for entry in plugin.log.entries)


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Of which the first one is there."""
    made = Versions(tmp_path / "plugins")
    made.write(1)
    return made


# Who gets which version


@pytest.mark.parametrize(("share", "every"), [(0.1, 10), (0.5, 2), (1.0, 1)])
async def test_the_share_is_exact(versions: Versions, share: float, every: int) -> None:
    async with Host([versions.root], sharing()) as host:
        versions.write(2)
        await host.reload("demo", canary=Canary(share=share, calls=1000))
        seen = [await version(host) for _ in range(40)]
        assert seen == [2 if number % every == 0 else 1 for number in range(1, 41)]


async def test_a_share_that_no_float_is_exact_for_is_exact(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        versions.write(2)
        await host.reload("demo", canary=Canary(share=0.29, calls=1000))
        seen = Counter([await version(host) for _ in range(300)])
        assert seen == {1: 213, 2: 87}


async def test_one_user_sees_one_version(versions: Versions) -> None:
    users = [f"user-{number}" for number in range(200)]
    async with Host([versions.root], sharing()) as host:
        versions.write(2)
        await host.reload("demo", canary=Canary(share=0.25, calls=1000))
        first = [await version(host, user=user) for user in users]
        again = [await version(host, user=user) for user in reversed(users)]
        assert first == again[::-1]
        assert 25 < first.count(2) < 75
        status = host.plugin("demo").canary
        assert status is not None
        assert (status.new.calls, status.old.calls) == (2 * first.count(2), 2 * first.count(1))


CALLS_DEMO = """
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
async def ask(number: int) -> list:
    return await plugin.api.call("demo.version", {"number": number})
"""


async def test_calls_of_plugins_and_calls_that_hooks_see_take_part(versions: Versions) -> None:
    needs = ["tools:register", "tools:execute"]
    caller = Versions(versions.root.parent, "caller", permissions=needs)
    caller.write(1, CALLS_DEMO)

    def look(request: ToolRequest) -> None:
        seen.append(request.tool)

    seen: list[str] = []
    async with Host([versions.root.parent], sharing(rates=QUICK)) as host:
        versions.write(2)
        await host.reload("demo", canary=Canary(share=0.25, calls=1000))
        nested = [(await host.call("caller.ask", {"number": 1}))[1] for _ in range(8)]
        assert nested == [1, 1, 1, 2] * 2
        host.hooks.register("before_request", look, only="demo.version")
        assert [await version(host) for _ in range(8)] == [1, 1, 1, 2] * 2
        assert len(seen) == 8
        status = host.plugin("demo").canary
        assert status is not None
        assert (status.new.calls, status.old.calls) == (4, 12)


# Verdicts


@BOTH
async def test_a_good_version_is_promoted_by_itself(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        async with host.events.subscribe("plugin:*") as events:
            versions.write(2)
            await host.reload("demo", canary=Canary(share=0.5, calls=20))
            assert (plugin.version, len(plugin.workers)) == ("1.0.0", 2)
            tried = plugin.workers[1].pid
            for _ in range(40):
                await version(host)
            await until(lambda: plugin.canary is None)
            assert (plugin.version, plugin.reload_error) == ("2.0.0", "")
            assert await version(host) == 2
            assert plugin.pid != tried, "what serves was loaded to stay"
            await until(lambda: len(plugin.workers) == 1)
            told = [await anext(events) for _ in range(3)]
        assert [event.name for event in told] == [
            "plugin:canary_began",
            "plugin:canary_promoted",
            "plugin:reloaded",
        ]
        assert told[0].data == {"plugin": "demo", "version": "2.0.0", "share": 0.5}
        assert "0 of its 20 calls failed, and 0 of 20 of the" in told[1].data["reason"]
        assert "the canary is promoted, version 2.0.0: 0 of its 20" in logged(plugin)
        assert (plugin.stats.calls, plugin.stats.errors, plugin.stats.swaps) == (41, 0, 1)


@BOTH
async def test_a_bad_version_is_rolled_back_as_soon_as_it_cannot_be_saved(
    versions: Versions,
) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        async with host.events.subscribe("plugin:canary_rolled_back") as events:
            versions.write(2, RAISES)
            await host.reload("demo", canary=Canary(share=0.5, calls=40, max_error_rate=0.05))
            failed = 0
            for _ in range(20):
                try:
                    assert await version(host) == 1
                except ToolError:
                    failed += 1
            assert failed == 3, "two of forty may fail"
            told = await anext(events)
        reason = "3 of its 3 calls failed, and of 40 no more than 2 may"
        assert plugin.reload_error == f"version 2.0.0: {reason}"
        assert told.data == {"plugin": "demo", "version": "2.0.0", "reason": reason}
        assert f"the canary is rolled back, version 2.0.0: {reason}" in logged(plugin)
        assert "holds version 2.0.0 still" in logged(plugin)
        assert (plugin.state, plugin.version, plugin.canary) == (State.ACTIVE, "1.0.0", None)
        await until(lambda: len(plugin.workers) == 1)


async def test_too_few_calls_in_the_time_promote_nothing(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        await host.reload("demo", canary=Canary(share=1.0, seconds=0.5))
        await version(host)
        await until(lambda: plugin.canary is None)
        assert plugin.version == "1.0.0"
        assert "too few calls to judge it by" in plugin.reload_error


async def test_a_version_that_does_not_load_is_never_on_trial(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, "raise ValueError('no such luck')")
        with pytest.raises(StartFailed, match="no such luck"):
            await host.reload("demo", canary=LONG)
        assert (plugin.canary, len(plugin.workers)) == (None, 1)
        assert [await version(host) for _ in range(4)] == [1] * 4


async def test_a_canary_that_stops_responding_is_rolled_back(versions: Versions) -> None:
    limits = Limits(unresponsive_after=0.5, grace=0.5, call_timeout=30.0)
    async with Host([versions.root], sharing(limits=limits)) as host:
        plugin = host.plugin("demo")
        versions.write(2, SLEEPS)
        await host.reload("demo", canary=Canary(share=1.0))
        tried = plugin.workers[1]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(version, host)
            await until(tried.channel.has_acknowledged_calls)
            tasks.start_soon(version, host, 3)  # which is never acknowledged
            await until(lambda: plugin.canary is None)
            assert "its worker's message loop is silent" in plugin.reload_error
            assert await version(host, 2) == 1
            tasks.cancel_scope.cancel()
        os.kill(tried.pid, signal.SIGKILL)


# What goes wrong meanwhile


@BOTH
async def test_a_canary_that_dies_loses_no_call_that_was_not_sent_or_is_idempotent(
    versions: Versions,
) -> None:
    again = IDEMPOTENT
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(1, ANSWERS.replace("@plugin.tool", again))
        await host.reload("demo")
        versions.write(2, DIES.replace("@plugin.tool", again))
        await host.reload("demo", canary=LONG)
        answers: list[int] = []

        async def call(number: int) -> None:
            answers.append(await version(host, number))

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(call, number)
            tasks.start_soon(call, 13)
        assert len(answers) == 65
        # 13 is asked for twice, and two calls in turn are never the same version's.
        await call(13)
        await call(13)
        assert plugin.canary is None
        assert "exited with code 7" in plugin.reload_error
        assert plugin.restarts == 0
        assert (plugin.stats.errors, plugin.state) == (0, State.ACTIVE)
        assert await version(host, 13) == 1


MEASURES = """
from plughost_sdk import Plugin

plugin = Plugin()
VERSION = {version}

@plugin.tool
async def measure(text: str) -> list:
    return [len(text), VERSION]
"""


async def test_calls_that_a_dead_canary_was_never_sent_are_answered_by_the_old_version(
    versions: Versions,
) -> None:
    versions.write(1, MEASURES)
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, MEASURES)
        await host.reload("demo", canary=Canary(share=1.0))
        tried = plugin.workers[1]
        answers: list[list[int]] = []
        died: list[WorkerDied] = []

        async def call(size: int) -> None:
            try:
                answers.append(await host.call("demo.measure", {"text": "x" * size}))
            except WorkerDied as exc:
                died.append(exc)

        os.kill(tried.pid, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(call, 100_000 + number)
            await until(lambda: tried.channel.open_calls == 40)
            assert tried.channel.backlog > 1_000_000, "the pipe takes no more than a few"
            os.kill(tried.pid, signal.SIGKILL)
        assert died
        assert all(exc.outcome_unknown for exc in died)
        assert all(version == 1 for _, version in answers)
        assert len({size for size, _ in answers}) == len(answers) == 40 - len(died)
        assert (plugin.stats.calls, plugin.stats.errors) == (40, len(died))


async def test_a_call_that_a_canary_died_with_ends_as_it_would_without_one(
    versions: Versions,
) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, DIES)
        await host.reload("demo", canary=Canary(share=1.0))
        with pytest.raises(WorkerDied) as caught:
            await version(host, 13)
        assert caught.value.outcome_unknown
        assert await version(host, 13) == 1
        assert plugin.stats.errors == 1


async def test_a_call_that_is_tried_again_is_checked_by_the_other_versions_schema(
    versions: Versions,
) -> None:
    old = ANSWERS.replace("@plugin.tool", IDEMPOTENT)
    new = DIES.replace("@plugin.tool", IDEMPOTENT).replace(
        "(number: int)", "(number: int, loud: bool = False)"
    )
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(1, old)
        await host.reload("demo")
        versions.write(2, new)
        await host.reload("demo", canary=Canary(share=1.0))
        with pytest.raises(InvalidParams, match="loud"):
            await host.call("demo.version", {"number": 13, "loud": True})
        assert plugin.canary is None
        assert (plugin.stats.errors, plugin.stats.invalid) == (1, 1)


async def test_a_canary_over_its_memory_limit_is_rolled_back(versions: Versions) -> None:
    eats = ANSWERS.replace("    return", "    len(b'x' * (1024 * 1024 * 1024))\n    return")
    async with Host([versions.root], sharing(limits=Limits(memory="128MB"))) as host:
        plugin = host.plugin("demo")
        versions.write(2, eats)
        await host.reload("demo", canary=Canary(share=1.0))
        with pytest.raises(WorkerDied):
            await version(host)
        assert "memory limit 128 MB exceeded" in plugin.reload_error
        assert (plugin.state, plugin.restarts) == (State.ACTIVE, 0)
        assert await version(host) == 1


async def test_the_version_that_runs_may_die_and_the_trial_goes_on(versions: Versions) -> None:
    new = Versions(versions.root.parent.parent / "releases")
    new.write(2)
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        await host.reload("demo", canary=Canary(share=0.5, calls=1000, path=new.root))
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        await until(lambda: plugin.state is State.RESTARTING)
        assert [await version(host) for _ in range(4)] == [1, 2, 1, 2]
        assert (plugin.restarts, plugin.version) == (1, "1.0.0")
        assert plugin.canary is not None
        await host.promote("demo")
        assert (await version(host), plugin.found.root) == (2, new.root)


async def test_a_version_that_runs_and_stays_down_takes_its_canary_along(
    versions: Versions,
) -> None:
    new = Versions(versions.root.parent.parent / "releases")
    new.write(2)
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        await host.reload("demo", canary=Canary(share=0.5, calls=1000, path=new.root))
        versions.write(1, "raise ValueError('broken meanwhile')")
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        await until(lambda: plugin.state is State.ERROR)
        await until(lambda: plugin.canary is None)
        assert "the version that runs has stopped" in plugin.reload_error
        await until(lambda: plugin.workers == [])


# Calls, whatever happens


@BOTH
async def test_callers_lose_no_call_and_get_none_twice_through_a_promotion_and_a_roll_back(
    versions: Versions,
) -> None:
    callers, over, calls = 64, False, 0
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        newest = 1

        async def call(caller: int) -> None:
            nonlocal calls
            number = caller
            while not over:
                least = plugin.version
                seen = await version(host, number)
                assert f"{seen}.0.0" >= least, "an older version answered after a newer one"
                number, calls = number + callers, calls + 1

        async with anyio.create_task_group() as tasks:
            for caller in range(callers):
                tasks.start_soon(call, caller)
            for newest in range(2, 8):
                versions.write(newest)
                await host.reload("demo", canary=LONG)
                before = calls
                await until(lambda before=before: calls > before + callers)  # type: ignore[misc]
                if newest % 2:
                    await host.promote("demo")
                    assert plugin.version == f"{newest}.0.0"
                else:
                    await host.roll_back("demo")
                before = calls
                await until(lambda before=before: calls > before + callers)  # type: ignore[misc]
            over = True
        assert newest == 7
        assert plugin.stats.calls == calls
        assert (plugin.stats.errors, plugin.stats.swaps, plugin.restarts) == (0, 3, 0)
        assert plugin.version == "7.0.0"


async def test_the_schema_of_the_version_that_takes_a_call_checks_it(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, ANSWERS.replace("number: int", "number: str"))
        await host.reload("demo", canary=Canary(share=0.5, calls=1000))
        for number, answered in [(1, 1), ("2", 2), (3, 1)]:
            assert await host.call("demo.version", {"number": number}) == [number, answered]
        with pytest.raises(InvalidParams):
            await host.call("demo.version", {"number": 4})
        status = plugin.canary
        assert status is not None
        assert (status.new.calls, status.new.errors, status.new.invalid) == (1, 0, 1)
        assert (status.old.calls, status.old.invalid) == (2, 0)


async def test_tools_of_one_version_only_are_called_in_that_one(versions: Versions) -> None:
    both = "\n@plugin.tool\nasync def NAME() -> int:\n    return VERSION\n"
    versions.write(1, ANSWERS + both.replace("NAME", "dropped"))
    async with Host([versions.root], sharing()) as host:
        versions.write(2, ANSWERS + both.replace("NAME", "added"))
        await host.reload("demo", canary=Canary(share=1.0, calls=1000))
        assert sorted(host.tools) == ["demo.dropped", "demo.version"]
        assert await host.call("demo.dropped") == 1
        with pytest.raises(UnknownTool):
            await host.call("demo.added")
        await host.promote("demo")
        assert sorted(host.tools) == ["demo.added", "demo.version"]
        assert await host.call("demo.added") == 2


STREAMS = """
import asyncio
from plughost_sdk import Plugin

plugin = Plugin()
VERSION = {version}

@plugin.tool
async def items():
    for number in range(3):
        yield [number, VERSION]
"""


@BOTH
async def test_a_stream_that_began_on_a_canary_ends_there(versions: Versions) -> None:
    versions.write(1, STREAMS)
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, STREAMS)
        await host.reload("demo", canary=Canary(share=1.0, calls=1000))
        async with host.stream("demo.items") as items:
            seen = [await anext(items)]
            await host.roll_back("demo")
            async with host.stream("demo.items") as others:
                assert [item async for item in others] == [[0, 1], [1, 1], [2, 1]]
            seen += [item async for item in items]
        assert seen == [[0, 2], [1, 2], [2, 2]]
        await until(lambda: len(plugin.workers) == 1)


async def test_a_call_that_a_canary_has_when_it_is_rolled_back_ends_there(tmp_path: Path) -> None:
    stores = ["tools:register", "storage:read", "storage:write"]
    versions = Versions(tmp_path, permissions=stores)
    versions.write(1, HOLDS)
    results = []
    async with Host([tmp_path], sharing(rates=QUICK)) as host:
        plugin = host.plugin("demo")
        versions.write(2, HOLDS)
        await host.reload("demo", canary=Canary(share=1.0, calls=1000))

        async def hold() -> None:
            results.append(await host.call("demo.hold", {"name": "one"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            while not await host.call("demo.began", {"name": "one"}):
                pass
            tried = plugin.workers[1]
            await host.roll_back("demo")
            assert await host.call("demo.version") == 1
            assert tried.exit is None
            await host.call("demo.release", {"name": "one"})
        assert results == [["one", 2]]
        await tried.wait()
        assert tried.exit is not None
        assert tried.exit.cause is Cause.STOPPED


# Commands meanwhile


@BOTH
async def test_commands_end_a_trial_and_say_so(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        await host.reload("demo", canary=LONG)
        versions.write(3)
        await host.reload("demo", canary=LONG)
        assert plugin.canary is not None
        assert plugin.canary.version == "3.0.0"
        assert "version 2.0.0: version 3.0.0 is tried out in its place" in logged(plugin)

        versions.write(4, "raise ValueError('broken')")
        with pytest.raises(StartFailed):
            await host.reload("demo")
        assert plugin.canary is not None, "what fails changes nothing"
        versions.write(4)
        await host.reload("demo")
        assert plugin.canary is None
        assert plugin.version == "4.0.0"
        assert "version 3.0.0: version 4.0.0 was loaded without a trial" in logged(plugin)
        assert "holds version" not in logged(plugin)

        await host.reload("demo", canary=LONG)
        await host.configure({"demo": {}})
        assert plugin.canary is None

        await host.reload("demo", canary=LONG)
        await host.disable("demo")
        assert plugin.canary is None
        assert "the plugin was disabled" in plugin.reload_error
        with pytest.raises(HostMisuse, match="is disabled: enable it first"):
            await host.reload("demo", canary=LONG)
        await host.enable("demo")

        await host.reload("demo", canary=LONG)
        await host.unload("demo")
        assert (plugin.canary, plugin.workers) == (None, [])
        with pytest.raises(HostMisuse, match="a canary runs beside a version that runs"):
            await host.reload("demo", canary=LONG)
        await host.load("demo")
        await host.reload("demo", canary=LONG)
        workers = plugin.workers
    assert all(worker.exit is not None for worker in workers)


async def test_a_worker_is_not_recycled_while_a_version_is_on_trial(versions: Versions) -> None:
    async with Host([versions.root], sharing(limits=Limits(recycle_calls=3))) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        # Long enough for two looks at whether it is to be recycled.
        await host.reload("demo", canary=Canary(share=0.5, calls=20, seconds=1.2))
        for _ in range(10):
            await version(host)
        await until(lambda: plugin.stats.swaps == 1)
        told = logged(plugin)
        assert 0 < told.index("the canary is rolled back") < told.index("is recycled")


# By hand


async def test_a_version_is_promoted_and_rolled_back_by_hand(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        for act in (host.promote, host.roll_back):
            with pytest.raises(HostMisuse, match="no canary of plugin 'demo' runs"):
                await act("demo")
        versions.write(2)
        await host.reload("demo", canary=LONG)
        await host.roll_back("demo")
        assert plugin.reload_error == "version 2.0.0: by hand"
        assert [await version(host) for _ in range(4)] == [1] * 4
        await host.reload("demo", canary=LONG)
        assert plugin.reload_error == ""
        await host.promote("demo")
        assert (plugin.version, plugin.reload_error) == ("2.0.0", "")
        assert [await version(host) for _ in range(4)] == [2] * 4


async def test_files_that_have_changed_since_are_not_promoted(versions: Versions) -> None:
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        await host.reload("demo", canary=LONG)
        versions.write(3)
        with pytest.raises(StartFailed, match=r"were changed since version 2\.0\.0 was loaded"):
            await host.promote("demo")
        assert plugin.canary is not None
        versions.write(4)
        await host.reload("demo", canary=Canary(share=1.0, calls=20))
        versions.write(5)
        for _ in range(20):
            await version(host)
        await until(lambda: plugin.canary is None)
        assert "it could not be promoted: the files in" in plugin.reload_error
        assert await version(host) == 1


async def test_the_new_version_may_lie_elsewhere(versions: Versions, tmp_path: Path) -> None:
    new = Versions(tmp_path / "releases")
    new.write(2)
    Versions(tmp_path / "others", "other").write(1)
    async with Host([versions.root], sharing()) as host:
        plugin = host.plugin("demo")
        with pytest.raises(HostMisuse, match="there is no plugin 'demo' in"):
            await host.reload("demo", canary=Canary(path=tmp_path / "others"))
        await host.reload("demo", canary=Canary(share=1.0, path=new.root))
        assert await version(host) == 2
        await host.roll_back("demo")
        assert "holds version" not in logged(plugin)
        await host.reload("demo")
        assert await version(host) == 1


async def test_without_an_event_loop_it_is_the_same(versions: Versions) -> None:
    def run() -> None:
        with BlockingHost([versions.root], sharing()) as host:
            versions.write(2)
            host.reload("demo", canary=Canary(share=1.0))
            assert host.call("demo.version", {"number": 1}) == [1, 2]
            host.roll_back("demo")
            assert host.call("demo.version", {"number": 1}) == [1, 1]
            [outcome] = host.command("reload", ["demo"], canary=Canary(share=0.1))
            assert (outcome.version, outcome.canary) == ("1.0.0", "2.0.0")
            host.promote("demo")
            assert host.call("demo.version", {"number": 1}) == [1, 2]
            with pytest.raises(HostMisuse, match="a canary goes with the command reload"):
                host.command("unload", canary=Canary())

    await anyio.to_thread.run_sync(run)


# What a version on trial registers

REGISTERS = """
from plughost_sdk import Plugin

plugin = Plugin()
VERSION = {version}
heard = []

@plugin.on("news.*")
async def on_news(event):
    heard.append(event.name)

@plugin.task(every=3600)
async def tick():
    pass

@plugin.tool
async def version(number: int) -> list:
    return [number, VERSION]

@plugin.tool
async def news() -> list:
    return [VERSION, heard]

@plugin.tool
async def subscribe() -> None:
    await plugin.api.events.on("more.*", on_news)

@plugin.tool
async def remind() -> str:
    return await plugin.api.scheduler.schedule("reminder", 60, tick)
"""
NEEDS = ["tools:register", "events:subscribe", "scheduler:write"]


async def test_what_others_see_of_a_plugin_is_the_version_that_runs(tmp_path: Path) -> None:
    versions = Versions(tmp_path, permissions=NEEDS)
    versions.write(1, REGISTERS)
    async with Host([tmp_path], sharing()) as host:
        versions.write(2, REGISTERS)
        await host.reload("demo", canary=Canary(share=0.5, calls=1000))
        await host.emit("news.one")
        heard: dict[int, list[str]] = {}
        with anyio.fail_after(10):
            while heard.get(1) != ["news.one"]:
                heard |= [await host.call("demo.news")]
        heard |= [await host.call("demo.news")]
        assert heard == {1: ["news.one"], 2: []}
        await host.promote("demo")
        await host.emit("news.two")
        with anyio.fail_after(10):
            while await host.call("demo.news") != [2, ["news.two"]]:
                pass


async def test_in_a_call_a_version_on_trial_registers_nothing_but_tasks(tmp_path: Path) -> None:
    versions = Versions(tmp_path, permissions=NEEDS)
    versions.write(1, REGISTERS)
    async with Host([tmp_path], sharing()) as host:
        versions.write(2, REGISTERS)
        await host.reload("demo", canary=Canary(share=1.0, calls=1000))
        with pytest.raises(ToolError, match=r"this version of plugin 'demo' is on trial"):
            await host.call("demo.subscribe")
        await host.call("demo.remind")
        await host.roll_back("demo")
        assert [task.name for task in host.scheduler.tasks("demo")] == ["tick", "reminder"]


# Plugins that sleep


async def test_a_plugin_with_a_version_on_trial_does_not_fall_asleep(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "plugins", activation=["tool"])
    new = Versions(tmp_path / "releases", activation=["tool"])
    versions.write(1)
    new.write(2)
    config = sharing(state_folder=tmp_path / "state", limits=Limits(idle_after=0.2))
    async with Host([versions.root], config) as host:
        assert await version(host) == 1
        async with host.events.subscribe("plugin.*") as events:
            await host.reload("demo", canary=Canary(share=0.5, seconds=1.5, path=new.root))
            await version(host)
            seen: list[str] = []
            with anyio.fail_after(20):
                while "plugin:canary_rolled_back" not in seen or seen[-1] != "plugin:asleep":
                    seen.append((await anext(events)).name)
        during = seen[seen.index("plugin:canary_began") : seen.index("plugin:canary_rolled_back")]
        assert "plugin:asleep" not in during


async def test_a_canary_of_a_plugin_that_sleeps_has_it_woken_by_its_calls(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "plugins", activation=["tool"])
    new = Versions(tmp_path / "releases", activation=["tool"])
    versions.write(1)
    new.write(2)
    config = sharing(state_folder=tmp_path / "state", limits=Limits(idle_after=1000.0))
    async with Host([versions.root], config) as host:
        plugin = host.plugin("demo")
        await until(lambda: plugin.state is State.SLEEPING)
        await plugin.alone()
        answers: list[int] = []

        async def call() -> None:
            await until(lambda: plugin.workers)  # of the new version, which is being loaded
            answers.append(await version(host))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await host.reload("demo", canary=Canary(share=0.5, calls=1000, path=new.root))
        assert answers == [1]
        assert [await version(host) for _ in range(4)] in ([1, 2, 1, 2], [2, 1, 2, 1])
        await host.promote("demo")
        assert (plugin.version, await version(host)) == ("2.0.0", 2)
