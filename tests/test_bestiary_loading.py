"""Plugins that go wrong before they offer anything: they end in `error`, with the reason."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

import plughost_protocol
from plughost import Cause, NotRunning, Restart, Sandbox, StartFailed, State
from plughost.catalog.discovery import Found
from plughost.catalog.manifest import read_manifest
from plughost.exits import WorkerExit
from plughost.reactor import current_reactor
from plughost.rpc.assignment import Assignment
from plughost.rpc.worker import Worker
from plughost.sandbox.interpreter import find_interpreter
from plughost.sandbox.machine import this_machine
from plughost.sandbox.plan import Access, make_plan
from plughost.supervision.logbook import LogBook
from plughost.supervision.template import Launch
from plughost_protocol import Call
from plughost_protocol.launch import Spawn

from .plugins.zoo import PATIENCE, PLUGINS, QUICK, RESTART, until, zoo

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sys_exits_at_import", "SystemExit: I do not want to run here (plugin.py, line 5)"),
        ("raises_at_import", "FileNotFoundError: settings.toml (plugin.py, line 6)"),
        ("syntax_error", "SyntaxError: 'return' outside function (plugin.py, line 3)"),
        ("missing_module", "No module named 'a_module_that_nobody_has' (plugin.py, line 3)"),
        ("raises_in_on_load", "RuntimeError: no API key is configured (plugin.py, line 11)"),
        ("has_no_plugin", "plugin.py has no plugin: it needs a module-level `plugin`"),
        ("declares_a_tool_twice", "tool 'twin' is declared twice: give one of them a name="),
        ("names_a_tool_badly", r"tool '../x\nINFO all is well'"),
        ("declares_no_schema", "the schema is refused at /properties/n/type"),
        ("declares_a_schema_bomb", "more than 24 schemas apply one another to the same value"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_is_in_error_and_not_tried_again(
    name: str, words: str
) -> None:
    async with zoo(name) as host:
        plugin = host.plugin(name.replace("_", "-"))
        assert plugin.state is State.ERROR
        with pytest.raises(StartFailed) as caught:  # once more, with the neighbour under test
            await plugin.start()
        assert words in str(caught.value)
        assert words in host.problems[plugin.id]
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.LOAD_FAILED
        assert plugin.state is State.ERROR
        assert plugin.restarts == 0
        assert any(words in entry.message for entry in plugin.log.entries)
        with pytest.raises(NotRunning):
            await host.call(f"{plugin.id}.tool", {})


async def test_the_last_lines_of_stderr_go_with_a_failed_start() -> None:
    async with zoo("raises_at_import") as host:
        end = host.plugin("raises-at-import").last_exit
        assert end is not None
        assert end.stderr == ("looking for my settings",)
        assert "looking for my settings" in end.report()


async def test_the_cause_of_what_on_load_raised_stands_in_the_log() -> None:
    async with zoo("raises_in_on_load") as host:
        log = [entry.message for entry in host.plugin("raises-in-on-load").log.entries]
        assert "KeyError: 'key'" in log
        assert "which caused:" in log


async def test_a_plugin_that_exits_at_import_is_tried_up_to_the_limit() -> None:
    async with zoo("exits_at_import", restart=replace(RESTART, limit=3)) as host:
        plugin = host.plugin("exits-at-import")
        await until(lambda: plugin.state is State.ERROR)
        assert plugin.restarts == 3
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is Cause.EXITED
        assert plugin.last_exit.code == 7
        assert plugin.error == "exited with code 7 (exited 4 times in 5 min)"


async def test_a_restart_policy_of_never_leaves_it_at_one_try() -> None:
    async with zoo("exits_at_import", restart=Restart(mode="never")) as host:
        plugin = host.plugin("exits-at-import")
        assert plugin.state is State.ERROR
        assert plugin.restarts == 0
        assert "its restart policy is 'never'" in plugin.error


@pytest.mark.parametrize(
    ("name", "line"),
    [("hangs_at_import", 'plugin.py", line 6'), ("hangs_in_on_load", "asyncio/base_events.py")],
)
async def test_a_plugin_that_never_gets_ready_is_killed_and_its_stack_shown(
    name: str, line: str
) -> None:
    limits = replace(QUICK, load_timeout=1.0)
    async with zoo(name, limits=limits) as host:
        plugin = host.plugin(name.replace("_", "-"))
        with pytest.raises(StartFailed) as caught:
            await plugin.start()
        assert "not ready within 1 s" in str(caught.value)
        assert plugin.state is State.ERROR
        end = caught.value.exit
        assert end is not None
        assert end.cause is Cause.NOT_READY
        assert end.signal == "SIGKILL"
        assert line in end.stack


async def test_a_thousand_tools_are_taken() -> None:
    async with zoo("declares_a_thousand_tools") as host:
        assert len(host.tools) == 1002
        assert await host.call("declares-a-thousand-tools.tool_999", {"n0": 1, "n4": 4}) == 5


@pytest.mark.parametrize(
    ("forgery", "cause", "words"),
    [
        ("name", Cause.VIOLATION, "protocol violation: the description of the plugin: Expected"),
        ("extra", Cause.VIOLATION, "unknown field `run_as`"),
        ("number", Cause.VIOLATION, "Expected `object`, got `int`"),
        ("twice", Cause.LOAD_FAILED, "tool forges-its-description.tool is refused: it is declared"),
        ("many", Cause.LOAD_FAILED, "a plugin may offer 1000 tools"),
    ],
)
async def test_a_forged_description_is_refused(forgery: str, cause: Cause, words: str) -> None:
    restart = replace(RESTART, mode="never")
    async with zoo("forges_its_description", config={"forgery": forgery}, restart=restart) as host:
        plugin = host.plugin("forges-its-description")
        assert plugin.state is State.ERROR
        assert words in plugin.error
        assert plugin.last_exit is not None
        assert plugin.last_exit.cause is cause
        assert [name for name in host.tools if name.startswith(plugin.id)] == []


async def test_a_plugin_that_offers_tools_without_the_permission_is_refused() -> None:
    async with zoo("lacks_permissions", config={"offers": True}) as host:
        plugin = host.plugin("lacks-permissions")
        assert plugin.state is State.ERROR
        assert "it lacks the permission 'tools:register'" in plugin.error


async def test_a_call_to_a_plugin_that_did_not_come_back_says_why() -> None:
    restart = replace(RESTART, limit=0)
    async with zoo("dies", restart=restart) as host:
        with suppress(Exception):
            await host.call("dies.exit", {"code": 9})
        await until(lambda: host.plugin("dies").state is State.ERROR)
        with pytest.raises(NotRunning) as caught:
            await host.call("dies.exit", {"code": 9})
        assert "its state is error (exited with code 9 (" in str(caught.value)


class _RawTemplate:
    """Starts a plugin's file as the worker itself, as a worker in another language would be."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._launch: Launch | None = None

    def new_key(self) -> int:
        return 1

    def wake(self) -> None:
        """After the kill: reap it."""
        if self._process is not None and self._launch is not None:
            code = self._process.wait(PATIENCE)
            launch, self._launch = self._launch, None
            launch.exited(code, 0, 0.0)

    async def spawn(self, spawn: Spawn, fds: list[int], launch: Launch) -> None:
        paths = str(Path(plughost_protocol.__file__).parent.parent)
        script = PLUGINS / "speaks_version_99" / "plugin.py"
        self._launch = launch
        self._process = subprocess.Popen(  # noqa: ASYNC220 - as Template does
            [sys.executable, str(script), str(fds[0]), str(fds[1])],
            pass_fds=fds,
            env={"PYTHONPATH": os.pathsep.join([paths, *filter(None, sys.path)])},
        )
        launch.spawned(self._process.pid, os.pidfd_open(self._process.pid))


class _Owner:
    def on_confined(self, worker: Worker) -> None:
        """Nothing was confined: it is no fork of a template."""

    def on_request(self, worker: Worker, call: Call) -> None:
        raise AssertionError

    def on_request_cancelled(self, worker: Worker, call_id: int) -> None:
        raise AssertionError

    def on_exit(self, worker: Worker, exit: WorkerExit) -> None:
        """Nothing more is to be done."""


async def test_a_worker_of_a_version_to_come_is_ended_with_the_remedy(tmp_path: Path) -> None:
    root = PLUGINS / "speaks_version_99"
    found = Found(root, read_manifest(root))
    plan = make_plan(
        found.manifest.id,
        root,
        tmp_path,
        Access(),
        QUICK,
        Sandbox(),
        find_interpreter(""),
        this_machine(),
    )
    assignment = Assignment(found, QUICK, (), {}, plan)
    async with anyio.create_task_group() as tasks:
        book = LogBook("speaks-version-99", QUICK)
        template = _RawTemplate()
        reactor = current_reactor(tasks)
        worker = Worker(reactor, template, assignment, book, _Owner())  # type: ignore[arg-type] # a stand-in
        with anyio.fail_after(PATIENCE), pytest.raises(StartFailed) as caught:
            await worker.start()
    assert "the worker speaks protocol 99, this host speaks 1" in str(caught.value)
    assert "install a newer plughost in the host" in str(caught.value)
    assert caught.value.exit is not None
    assert caught.value.exit.cause is Cause.VIOLATION
