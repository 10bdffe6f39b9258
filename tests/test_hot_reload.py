"""Plugins are loaded anew when their files change: each change once, and no half of one."""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest

from plughost import (
    Event,
    Host,
    HostConfig,
    HostMisuse,
    HotReload,
    ManifestError,
    NoSubscriber,
    PluginConfig,
    ReloadOutcome,
    StartFailed,
    State,
)
from plughost.lifecycle.folder_watch import watch_folders

from .conftest import sharing
from .event_plugins import BOTH, eventually
from .swap_plugins import ANSWERS, HOLDS, Versions

pytestmark = pytest.mark.anyio

_TIMEOUT: Final = 30.0  # seconds until a change must have been acted on, on a busy machine
QUICK: Final = HotReload(debounce=0.1)


class Outcomes:
    """What became of the changes, one after the other."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[ReloadOutcome](1000)

    def tell(self, outcome: ReloadOutcome) -> None:
        self._send.send_nowait(outcome)

    async def next(self) -> ReloadOutcome:
        with anyio.fail_after(_TIMEOUT):
            return await self._receive.receive()

    async def expect(self, action: str, plugin: str = "demo") -> ReloadOutcome:
        outcome = await self.next()
        assert (outcome.action, outcome.plugin) == (action, plugin), outcome
        return outcome

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def watched(
    *folders: Path, config: HostConfig | None = None
) -> AsyncIterator[tuple[Host, Outcomes]]:
    outcomes = Outcomes()
    host = Host(folders, config or sharing(hot_reload=QUICK), on_hot_reload=outcomes.tell)
    try:
        async with host:
            yield host, outcomes
    finally:
        outcomes.close()


async def version(host: Host, plugin: str = "demo") -> int:
    number: int = (await host.call(f"{plugin}.version", {"number": 0}))[1]
    return number


@BOTH
async def test_a_changed_file_puts_the_new_code_in_the_place_of_the_old(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with watched(tmp_path) as (host, outcomes):
        pid = os.getpid()
        versions.write(2, ANSWERS.replace("def version", "def edition"))
        outcome = await outcomes.expect("reloaded")
        assert (outcome.version, outcome.files) == ("2.0.0", ("manifest.json", "plugin.py"))
        assert (outcome.added, outcome.removed) == (("edition",), ("version",))
        assert outcome.seconds > 0
        assert await host.call("demo.edition", {"number": 7}) == [7, 2]
        assert host.plugin("demo").stats.swaps == 1
        assert os.getpid() == pid


async def test_a_burst_of_writes_is_one_reload(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    # Longer than a loaded machine takes from one write to the next.
    patient = sharing(hot_reload=HotReload(debounce=1.5))
    async with watched(tmp_path, config=patient) as (host, outcomes):
        for number in range(2, 40):
            versions.write(number)
            (versions.root / f"helper_{number}.py").write_text("")
            await anyio.sleep(0.01)  # as a formatter does, which takes its time
        await outcomes.expect("reloaded")
        assert await version(host) == 39
        versions.write(40)
        await outcomes.expect("reloaded")
        assert host.plugin("demo").stats.swaps == 2


@BOTH
async def test_what_changes_during_a_reload_is_loaded_once_after_it(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    waits = "open('gate').read()\n"
    os.mkfifo(versions.root / "gate")
    async with watched(tmp_path) as (host, outcomes):
        versions.write(2, waits + ANSWERS)
        # Opening returns once the new worker reads: its load is under way.
        gate = await anyio.to_thread.run_sync((versions.root / "gate").open, "w")
        for number in range(3, 6):
            versions.write(number)
        gate.close()
        assert (await outcomes.expect("reloaded")).version == "2.0.0"
        assert (await outcomes.expect("reloaded")).version == "5.0.0"
        assert host.plugin("demo").stats.swaps == 2


@BOTH
async def test_calls_are_not_lost_while_files_change(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(0)
    over = False
    calls = 0
    async with watched(tmp_path) as (host, outcomes):

        async def call(caller: int) -> None:
            nonlocal calls
            last = 0
            while not over:
                number, answered = await host.call("demo.version", {"number": caller})
                assert number == caller
                assert answered >= last, "an older version answered after a newer one"
                last, calls = answered, calls + 1

        async def more_calls(wanted: int) -> None:
            await eventually(lambda: calls >= wanted)

        async with anyio.create_task_group() as tasks:
            for caller in range(16):
                tasks.start_soon(call, caller)
            for number in range(1, 4):
                versions.write(number)
                await outcomes.expect("reloaded")
                assert await version(host) == number
                await more_calls(calls + 40)
            over = True
        assert calls > 100
        assert host.plugin("demo").stats.errors == 0


async def test_a_half_written_file_leaves_what_runs_until_the_next_change(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    told: list[Event] = []
    async with watched(tmp_path) as (host, outcomes):
        host.events.on("plugin:reload_failed", told.append)
        manifest = (versions.root / "manifest.json").read_text()
        (versions.root / "manifest.json").write_text(manifest[:-5])
        failed = await outcomes.expect("failed")
        assert isinstance(failed.error, ManifestError)
        assert failed.goes_on
        assert "is not JSON" in host.plugin("demo").reload_error
        (versions.root / "manifest.json").write_text(manifest)
        await outcomes.expect("reloaded")

        (versions.root / "plugin.py").write_text("def half(:")
        failed = await outcomes.expect("failed")
        assert isinstance(failed.error, StartFailed)
        assert failed.error.exit is not None
        place = failed.error.exit.places[-1]
        assert (place.file, place.line) == (str(versions.root / "plugin.py"), 1)
        assert await version(host) == 1
        versions.write(2)
        await outcomes.expect("reloaded")
        assert await version(host) == 2
        assert [event.data["plugin"] for event in told] == ["demo", "demo"]
        assert "SyntaxError" in told[1].data["reason"]


async def test_a_changed_id_is_refused_and_what_runs_goes_on(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with watched(tmp_path) as (host, outcomes):
        versions.write(2, id="other")
        failed = await outcomes.expect("failed")
        assert "it is 'other' now, and 'demo' was loaded from here" in str(failed.error)
        assert await version(host) == 1
        versions.write(2)
        await outcomes.expect("reloaded")


@BOTH
async def test_a_folder_that_has_gone_is_unloaded_with_what_needs_it_and_comes_back(
    tmp_path: Path,
) -> None:
    places = tmp_path / "plugins"
    first = Versions(places, "a")
    first.write(1)
    Versions(places, "b", dependencies=["a"]).write(1)
    async with watched(places) as (host, outcomes):
        first.root.rename(tmp_path / "away")
        gone = await outcomes.expect("unloaded", "a")
        assert gone.also == ("b",)
        assert "a" not in host.plugins
        assert host.plugin("b").state is State.UNLOADED
        (tmp_path / "away").rename(places / "elsewhere")
        await outcomes.expect("loaded", "a")
        await outcomes.expect("loaded", "b")
        assert await version(host, "b") == 1


async def test_a_folder_that_is_made_anew_is_a_reload(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    # The plugin's own folder is what is watched: a new one of its name is another folder.
    async with watched(versions.root) as (host, outcomes):
        for number in (2, 3):
            shutil.rmtree(versions.root)
            versions.root.mkdir()
            versions.write(number)
            outcome = await outcomes.expect("reloaded")
            assert outcome.version == f"{number}.0.0"
        assert await version(host) == 3


async def test_a_new_plugin_is_loaded_where_plugins_are_looked_for(tmp_path: Path) -> None:
    places = tmp_path / "plugins"  # not there yet
    config = HostConfig(hot_reload=QUICK, grants={"granted": ["*"]})
    async with watched(places, config=config) as (host, outcomes):
        Versions(places, "granted").write(1)
        outcome = await outcomes.expect("loaded", "granted")
        assert outcome.added == ("version",)
        Versions(places, "greedy").write(1)
        failed = await outcomes.expect("failed", "greedy")
        assert "tools:register" in str(failed.error)
        assert not failed.goes_on
        (places / "half").mkdir()
        (places / "half" / "manifest.json").write_text("{")
        await outcomes.expect("failed", "half")
        assert "is not JSON" in host.problems["half"]
        shutil.rmtree(places / "half")
        host.grants = {"*": ["*"]}
        Versions(places, "later").write(1)
        await outcomes.expect("loaded", "later")
        assert set(host.problems) == {"greedy"}


async def test_several_new_plugins_are_loaded_in_the_order_of_their_needs(tmp_path: Path) -> None:
    elsewhere, places = tmp_path / "elsewhere", tmp_path / "plugins"
    for plugin_id, needs in (("a", ["b"]), ("b", ["c"]), ("c", [])):
        Versions(elsewhere, plugin_id, dependencies=needs).write(1)
    places.mkdir()
    async with watched(places) as (_, outcomes):
        for folder in sorted(elsewhere.iterdir()):
            folder.rename(places / folder.name)
        loaded = [(await outcomes.next()) for _ in range(3)]
        assert [(one.action, one.plugin) for one in loaded] == [
            ("loaded", "c"),
            ("loaded", "b"),
            ("loaded", "a"),
        ]


async def test_a_plugin_in_error_is_started_again_and_so_is_what_needs_it(tmp_path: Path) -> None:
    versions = Versions(tmp_path, "a")
    versions.write(1, "raise ValueError('no such luck')")
    Versions(tmp_path, "b", dependencies=["a"]).write(1)
    async with watched(tmp_path) as (host, outcomes):
        assert {plugin.state for plugin in host.plugins.values()} == {State.ERROR}
        versions.write(1)
        await outcomes.expect("loaded", "a")
        await outcomes.expect("loaded", "b")
        assert await version(host, "b") == 1


async def test_what_the_operator_disabled_or_unloaded_stays_so(tmp_path: Path) -> None:
    plugins = {name: Versions(tmp_path, name) for name in ("off", "out", "on")}
    for plugin in plugins.values():
        plugin.write(1)
    async with watched(tmp_path) as (host, outcomes):
        await host.disable("off")
        await host.unload("out")
        for plugin in plugins.values():
            plugin.write(2)
        await outcomes.expect("reloaded", "on")
        assert host.plugin("off").state is State.DISABLED
        assert host.plugin("out").state is State.UNLOADED


SINGLE: Final = """
# /// plughost
# id = "single"
# name = "Single"
# version = "{version}.0.0"
# permissions = ["tools:register"]
# ///
"""


async def test_a_plugin_of_one_file_is_reloaded_however_an_editor_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "single.py"

    def text(number: int) -> str:
        return (SINGLE + ANSWERS).replace("{version}", str(number))

    file.write_text(text(1))
    for folder in (tmp_path, file):
        async with watched(folder) as (host, outcomes):
            for number in (2, 3):
                (tmp_path / "single.py~").write_text(text(number))
                (tmp_path / "single.py~").replace(file)  # as editors do, for safety
                outcome = await outcomes.expect("reloaded", "single")
                assert outcome.files == ("single.py",)
                assert await version(host, "single") == number


async def test_only_files_that_the_patterns_name_count(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    for folder in ("templates", "tests", "__pycache__"):
        (versions.root / folder).mkdir()
    settings = HotReload(
        debounce=0.1, patterns=("*.py", "templates/*.html", "package.json"), ignore=("tests",)
    )
    async with watched(tmp_path, config=sharing(hot_reload=settings)) as (_, outcomes):
        for name in (
            "notes.txt",
            "index.html",
            "manifest.json",
            "tests/test_it.py",
            "__pycache__/plugin.py",
            ".#plugin.py",
            "plugin.py~",
        ):
            path = versions.root / name
            path.write_text(path.read_text() if path.exists() else "one")
        (versions.root / "templates" / "page.html").write_text("one")
        outcome = await outcomes.expect("reloaded")
        assert outcome.files == ("templates/page.html",)


async def test_only_the_paths_that_are_named_are_watched(tmp_path: Path) -> None:
    plugins = {name: Versions(tmp_path, name) for name in ("a", "b")}
    for plugin in plugins.values():
        plugin.write(1)
    settings = HotReload(debounce=0.1, paths=(tmp_path / "b",))
    async with watched(tmp_path, config=sharing(hot_reload=settings)) as (host, outcomes):
        for plugin in plugins.values():
            plugin.write(2)
        await outcomes.expect("reloaded", "b")
        assert await version(host, "a") == 1


async def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    versions = Versions(tmp_path / "plugins")
    versions.write(1)
    (versions.root / "out").symlink_to(outside)
    (versions.root / "round").symlink_to(versions.root)
    async with watched(tmp_path / "plugins") as (_, outcomes):
        (outside / "other.py").write_text("")
        versions.write(2)
        outcome = await outcomes.expect("reloaded")
        assert outcome.files == ("manifest.json", "plugin.py")


async def test_a_file_that_is_changed_while_the_host_starts_is_seen(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1, "open('gate').read()\n" + ANSWERS)
    gate = versions.root / "gate"
    os.mkfifo(gate)

    def change() -> None:
        with gate.open("w"):  # returns once the plugin has been read, and runs
            versions.write(2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, change)
        async with watched(tmp_path) as (host, outcomes):
            await outcomes.expect("reloaded")
            assert await version(host) == 2


async def test_what_plugins_stored_stays_and_what_they_registered_goes(tmp_path: Path) -> None:
    asks = [
        "tools:register",
        "storage:read",
        "storage:write",
        "events:subscribe",
        "scheduler:write",
    ]
    versions = Versions(tmp_path, permissions=asks)
    stored = """
@plugin.tool
async def stored(name: str) -> str:
    return await plugin.api.storage.get(name)
"""
    registers = """
@plugin.on("order.placed")
async def on_order(event) -> None:
    await event.reply("taken")

@plugin.task(every=3600)
async def refresh() -> None:
    pass
"""
    versions.write(1, HOLDS + stored + registers)
    async with watched(tmp_path) as (host, outcomes):
        await host.call("demo.release", {"name": "kept"})
        assert len(host.scheduler.tasks("demo")) == 1
        assert await host.events.request("order.placed") == "taken"
        versions.write(2, HOLDS + stored)
        await outcomes.expect("reloaded")
        assert host.scheduler.tasks("demo") == []
        with pytest.raises(NoSubscriber):
            await host.events.request("order.placed")
        assert await host.call("demo.stored", {"name": "kept"}) == "go"


async def test_in_production_nothing_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PLUGHOST_ENV", "production")
    versions = Versions(tmp_path)
    versions.write(1)
    monkeypatch.setitem(sys.modules, "watchfiles", None)  # it is not even imported
    async with watched(tmp_path) as (host, _):
        assert "hot reload is off: PLUGHOST_ENV is production" in caplog.text
        assert await version(host) == 1


async def test_without_watchfiles_the_host_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(HostMisuse, match=r"pip install 'plughost\[dev\]'"):
        async with watched(tmp_path):
            pass


@BOTH
async def test_watching_ends_soon_after_it_is_cancelled(tmp_path: Path) -> None:
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_folders, [str(tmp_path)], lambda *_: True, lambda _: None, ready.set)
        with anyio.fail_after(_TIMEOUT):
            await ready.wait()
        began = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - began < 4  # watchfiles' own wait would be 5 seconds


async def test_where_nothing_tells_of_changes_files_are_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    versions = Versions(tmp_path)
    versions.write(1)
    async with watched(tmp_path) as (host, outcomes):
        versions.write(2)
        await outcomes.expect("reloaded")
        assert await version(host) == 2


async def test_a_plugin_that_sleeps_is_swapped_in_its_sleep(tmp_path: Path) -> None:
    versions = Versions(tmp_path, activation=["tool"])
    versions.write(1)
    async with watched(tmp_path) as (host, outcomes):
        assert host.plugin("demo").state is State.SLEEPING
        versions.write(2)
        await outcomes.expect("reloaded")
        assert await version(host) == 2
        (versions.root / "plugin.py").write_text("1 / 0")
        assert (await outcomes.expect("failed")).goes_on
        assert await version(host) == 2


async def test_a_hidden_plugin_is_not_reloaded(tmp_path: Path) -> None:
    first, second = (Versions(tmp_path / name) for name in ("first", "second"))
    for one in (first, second):
        one.write(1)
    async with watched(tmp_path / "first", tmp_path / "second") as (host, outcomes):
        second.write(2)
        first.write(3)
        assert (await outcomes.expect("reloaded")).version == "3.0.0"
        assert await version(host) == 3


async def test_a_plugin_that_the_configuration_disables_comes_disabled(tmp_path: Path) -> None:
    config = sharing(hot_reload=QUICK, plugins={"off": PluginConfig(enabled=False)})
    places = tmp_path / "plugins"
    places.mkdir()
    async with watched(places, config=config) as (host, outcomes):
        Versions(places, "off").write(1)
        Versions(places, "on").write(1)
        await outcomes.expect("loaded", "on")
        Versions(places, "last").write(1)
        await outcomes.expect("loaded", "last")
        assert host.plugin("off").state is State.DISABLED


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"debounce": 0.0}, "HotReload.debounce must be more than 0"),
        ({"patterns": ()}, "HotReload.patterns must name something"),
        ({"patterns": "*.py"}, "HotReload.patterns must be a list"),
    ],
)
async def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(HostMisuse, match=problem):
        HotReload(**settings)


async def test_true_and_false_stand_for_all_of_the_settings() -> None:
    assert HostConfig(hot_reload=True).hot_reload == HotReload()
    assert HostConfig(hot_reload=False) == HostConfig()
    assert not HostConfig().hot_reload.enabled
