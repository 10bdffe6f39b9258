"""Plugins are loaded, unloaded, reloaded, enabled and disabled while the host runs."""

import os
import shutil
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from plughost import (
    BlockingHost,
    CommandTimeout,
    Host,
    HostConfig,
    HostMisuse,
    ManifestError,
    NotRunning,
    StartFailed,
    State,
    StillNeeded,
    UnknownPlugin,
)

from .conftest import sharing
from .event_plugins import BOTH
from .swap_plugins import Versions

pytestmark = pytest.mark.anyio

SLEEPS = "import time; time.sleep(60)"


def chain(folder: Path) -> dict[str, Versions]:
    """Three plugins: c needs b, b needs a."""
    made = {}
    for plugin_id, needs in (("a", []), ("b", ["a"]), ("c", ["b"])):
        made[plugin_id] = Versions(folder, plugin_id, dependencies=needs)
        made[plugin_id].write(1)
    return made


def states(host: Host) -> dict[str, str]:
    return {plugin_id: plugin.state.value for plugin_id, plugin in host.plugins.items()}


async def test_a_folder_that_has_come_is_loaded_and_unloaded(tmp_path: Path) -> None:
    chain(tmp_path / "first")
    late = Versions(tmp_path / "later", "late", dependencies=["c"])
    late.write(4)
    async with Host([tmp_path / "first"], sharing()) as host:
        with pytest.raises(UnknownPlugin):
            await host.load("late")
        assert await host.load(tmp_path / "later") == ["late"]
        assert await host.call("late.version", {"number": 1}) == [1, 4]
        with pytest.raises(HostMisuse, match="is active: reload it"):
            await host.load("late")
        assert await host.unload("late") == ["late"]
        with pytest.raises(NotRunning):
            await host.plugin("late").wait_for_worker(1)
        late.write(5)
        assert await host.load("late") == ["late"]
        assert await host.call("late.version", {"number": 1}) == [1, 5]


async def test_a_plugin_that_came_into_the_hosts_own_folders_is_found_by_its_id(
    tmp_path: Path,
) -> None:
    chain(tmp_path)
    async with Host([tmp_path], sharing()) as host:
        Versions(tmp_path, "new").write(1)
        assert await host.load("new") == ["new"]
        Versions(tmp_path, "newer").write(1)
        outcomes = await host.command("load")
        assert [(o.plugin, o.state, o.error) for o in outcomes] == [("newer", "active", None)]


async def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    chain(tmp_path / "first")
    async with Host([tmp_path / "first"], sharing()) as host:
        with pytest.raises(ManifestError, match="holds no plugin"):
            await host.load(tmp_path)
        Versions(tmp_path / "wrong", "wrong").write(1, dependencies=["nothing"])
        with pytest.raises(StartFailed, match="it needs nothing, which is not installed"):
            await host.load(tmp_path / "wrong")
        assert host.problems == {"wrong": "it needs nothing, which is not installed"}
        other = Versions(tmp_path / "other", "a")
        other.write(1)
        with pytest.raises(ManifestError, match="'a' is taken by"):
            await host.load(tmp_path / "other")
        with pytest.raises(UnknownPlugin, match="did you mean"):
            await host.reload("wrnog")


async def test_what_is_not_granted_is_not_loaded_until_it_is(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], HostConfig()) as host:
        assert host.plugin("demo").state is State.ERROR
        with pytest.raises(StartFailed, match="tools:register"):
            await host.load("demo")
        host.grants = {"demo": ["tools:register"]}
        await host.load("demo")
        assert await host.call("demo.version", {"number": 1}) == [1, 1]
        host.grants = {}
        with pytest.raises(StartFailed, match="tools:register"):
            await host.reload("demo")
        assert await host.call("demo.version", {"number": 1}) == [1, 1]


@BOTH
async def test_what_others_need_is_unloaded_with_them_or_not_at_all(tmp_path: Path) -> None:
    chain(tmp_path)
    async with Host([tmp_path], sharing()) as host:
        with pytest.raises(StillNeeded, match="is needed by c, b") as caught:
            await host.unload("a")
        assert caught.value.needed_by == ("c", "b")
        assert set(states(host).values()) == {"active"}
        assert await host.unload("a", cascade=True) == ["c", "b", "a"]
        assert set(states(host).values()) == {"unloaded"}
        with pytest.raises(StartFailed, match="it needs b, which does not run"):
            await host.load("c")
        outcomes = await host.command("load", ["c", "a", "b"])
        assert [(o.plugin, o.state) for o in outcomes] == [
            ("a", "active"),
            ("b", "active"),
            ("c", "active"),
        ]


async def test_a_command_on_all_goes_in_the_order_of_the_dependencies(tmp_path: Path) -> None:
    made = chain(tmp_path)
    async with Host([tmp_path], sharing()) as host:
        for versions in made.values():
            versions.write(2)
        reloaded = await host.command("reload")
        assert [(o.plugin, o.version, o.error) for o in reloaded] == [
            ("a", "2.0.0", None),
            ("b", "2.0.0", None),
            ("c", "2.0.0", None),
        ]
        assert [o.plugin for o in await host.command("disable")] == ["c", "b", "a"]
        assert set(states(host).values()) == {"disabled"}
        assert [o.plugin for o in await host.command("enable")] == ["a", "b", "c"]
        assert [o.plugin for o in await host.command("unload")] == ["c", "b", "a"]
        assert set(states(host).values()) == {"unloaded"}
        assert await host.command("reload") == []
        with pytest.raises(HostMisuse, match="there is no command 'explode'"):
            await host.command("explode")


async def test_one_that_fails_keeps_no_other_from_its_command(tmp_path: Path) -> None:
    made = chain(tmp_path)
    async with Host([tmp_path], sharing()) as host:
        made["a"].write(2, "raise ValueError('broken')")
        made["b"].write(2)
        failed, done, unknown = await host.command("reload", ["b", "zzz", "a"])
        assert (failed.plugin, failed.state, failed.version) == ("a", "active", "1.0.0")
        assert "broken" in str(failed.error)
        assert (done.plugin, done.version, done.error) == ("b", "2.0.0", None)
        assert (unknown.plugin, unknown.state) == ("zzz", "")
        assert isinstance(unknown.error, UnknownPlugin)


async def test_a_manifest_that_changes_its_id_changes_nothing(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], sharing()) as host:
        versions.write(2, id="other")
        with pytest.raises(ManifestError, match="it is 'other' now, and 'demo' was loaded"):
            await host.reload("demo")
        (versions.root / "manifest.json").write_text("{")
        with pytest.raises(ManifestError, match="is not JSON"):
            await host.reload("demo")
        assert await host.call("demo.version", {"number": 1}) == [1, 1]
        assert list(host.plugins) == ["demo"]


async def test_a_folder_that_is_gone_is_said_to_be_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("gone", "stays"):
        Versions(tmp_path, name).write(1)
    async with Host([tmp_path], sharing()) as host:
        shutil.rmtree(tmp_path / "gone")
        with pytest.raises(ManifestError, match="/gone: is gone: put it back"):
            await host.reload("gone")
        outcomes = await host.command("reload")
        assert {one.plugin: one.error is None for one in outcomes} == {"gone": False, "stays": True}
        for name in ("gone", "stays"):
            assert await host.call(f"{name}.version", {"number": 1}) == [1, 1]
        assert await host.unload("gone") == ["gone"]
        Versions(tmp_path, "new").write(1)
        outcomes = await host.command("load")
        assert {one.plugin: one.state for one in outcomes} == {"gone": "unloaded", "new": "active"}
        shutil.rmtree(tmp_path)
        (outcome,) = await host.command("load")
        assert "is gone" in str(outcome.error)
        assert await host.call("stays.version", {"number": 2}) == [2, 1]
        os.mkdir(tmp_path)  # noqa: PTH102 - Path's is held to block
        Versions(tmp_path, "gone").write(2)
        assert await host.load("gone") == ["gone"]
        assert await host.call("gone.version", {"number": 3}) == [3, 2]


@BOTH
async def test_commands_on_one_plugin_are_done_one_after_the_other(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(host.reload, "demo")
        assert plugin.stats.swaps == 3
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.reload, "demo")
            while plugin.turns.under_way != "reload":  # trio begins tasks in any order
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(host.unload, "demo")
        assert plugin.stats.swaps == 4
        assert plugin.state is State.UNLOADED


@BOTH
async def test_a_command_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], sharing()) as host:
        plugin = host.plugin("demo")
        versions.write(2, SLEEPS)
        waits: list[str] = []

        async def disable() -> None:
            while plugin.turns.under_way != "reload":
                await anyio.lowlevel.checkpoint()
            with pytest.raises(CommandTimeout, match="'reload' is under way") as caught:
                await host.disable("demo", deadline=0.1)
            waits.append(caught.value.under_way)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disable)
            with pytest.raises(CommandTimeout, match="did not end within 1 s, and was given up"):
                await host.reload("demo", deadline=1.0)
        assert waits == ["reload"]
        assert (plugin.state, plugin.version) == (State.ACTIVE, "1.0.0")
        assert len(plugin.workers) == 1
        assert await host.call("demo.version", {"number": 1}) == [1, 1]

        await host.unload("demo")
        with pytest.raises(CommandTimeout):
            await host.load("demo", deadline=1.0)
        assert (plugin.state, plugin.workers) == (State.UNLOADED, [])
        versions.write(3)
        await host.load("demo")
        assert await host.call("demo.version", {"number": 1}) == [1, 3]


async def test_a_disabled_plugin_is_not_loaded_but_enabled(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], sharing()) as host:
        await host.disable("demo")
        with pytest.raises(HostMisuse, match="is disabled: enable it"):
            await host.load("demo")
        with pytest.raises(HostMisuse, match="is disabled: enable it first"):
            await host.reload("demo")
        pid = host.plugin("demo").pid
        await host.enable("demo")
        assert host.plugin("demo").pid == pid
        assert await host.call("demo.version", {"number": 1}) == [1, 1]


async def test_plain_code_has_the_same_commands(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)

    def run() -> None:
        with BlockingHost([tmp_path], sharing()) as host:
            versions.write(2)
            host.reload("demo")
            assert host.call("demo.version", {"number": 1}) == [1, 2]
            assert host.health()["demo"].status == "healthy"
            host.disable("demo")
            host.enable("demo")
            assert host.unload("demo") == ["demo"]
            assert host.load("demo") == ["demo"]
            assert [outcome.state for outcome in host.command("reload")] == ["active"]

    await anyio.to_thread.run_sync(run)


@BOTH
async def test_a_host_that_stops_starts_nothing_more(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    refused: list[str] = []

    async def reload(host: Host) -> None:
        try:
            await host.reload("demo")
        except (HostMisuse, StartFailed) as exc:
            refused.append(str(exc))

    async with anyio.create_task_group() as tasks:
        async with Host([tmp_path], sharing()) as host:
            versions.write(2, SLEEPS)
            tasks.start_soon(reload, host)
            while len(host.plugin("demo").workers) < 2:
                await anyio.lowlevel.checkpoint()
            tasks.start_soon(reload, host)
            await anyio.lowlevel.checkpoint()
        assert host.plugin("demo").workers == []
    assert len(refused) == 2
    assert host.plugin("demo").state is State.UNLOADED
