"""The host as an application sees it: starting, stopping, limits, forms of plugins."""

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from plughost import (
    BlockingHost,
    CallContext,
    Cause,
    Host,
    HostConfig,
    HostMisuse,
    Limits,
    LogEntry,
    NotRunning,
    PluginConfig,
    Restart,
    SchedulerConfig,
    StartFailed,
    State,
    ToolError,
    Totals,
    UnknownTool,
    WorkerDied,
)

from .conftest import MakePlugin, trusting

pytestmark = pytest.mark.anyio

ECHO = """
    import sys
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def echo(text: str) -> str:
        return text

    @plugin.tool
    async def modules() -> list[str]:
        return sorted(sys.modules)

    @plugin.tool
    async def load(name: str) -> None:
        __import__(name)

    @plugin.tool
    async def fill(megabytes: int) -> int:
        import asyncio
        kept = []
        for _ in range(megabytes):
            kept.append(b"x" * 1_000_000)
            await asyncio.sleep(0.002)
        return len(kept)
"""

FORMS = {
    "module_level": """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.tool
        async def which() -> str:
            return "module_level"
    """,
    "subclass": """
        from plughost_sdk import Plugin, tool

        class Mine(Plugin):
            async def on_load(self, api):
                self.name = "subclass"

            @tool
            async def which(self) -> str:
                return self.name
    """,
    "factory": """
        from plughost_sdk import Plugin

        def create_plugin(manifest):
            made = Plugin()

            @made.tool
            async def which() -> str:
                return "factory" if manifest.id == "forms" else "?"

            return made
    """,
    "default": """
        from plughost_sdk import Plugin, PluginAPI

        class Ported(Plugin):
            async def on_load(self, api: PluginAPI) -> None:
                async def which() -> str:
                    return "default"
                await api.register_tool(which)

        def default(manifest):
            return Ported()
    """,
}


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_of_a_plugin_is_found(make_plugin: MakePlugin, form: str) -> None:
    async with Host([make_plugin("forms", FORMS[form])], trusting()) as host:
        assert not host.problems
        assert await host.call("forms.which") == form


async def test_the_methods_of_a_life_are_called_in_order(make_plugin: MakePlugin) -> None:
    code = """
        from plughost_sdk import Plugin

        class Life(Plugin):
            async def on_load(self, api):
                print("loaded", api.plugin_id, api.manifest.version, api.config)

            def on_unload(self):
                print("unloaded")
    """
    lines: list[LogEntry] = []
    config = trusting(plugins={"life": PluginConfig(config={"colour": "red"})})
    async with Host([make_plugin("life", code)], config, on_log=lines.append) as host:
        assert host.plugins["life"].state is State.ACTIVE
    printed = [entry.message for entry in lines if entry.source == "stdout"]
    assert printed == ["loaded life 1.0.0 {'colour': 'red'}", "unloaded"]


async def test_what_a_plugin_logs_arrives_with_level_and_fields(make_plugin: MakePlugin) -> None:
    code = """
        import logging
        from plughost_sdk import Plugin

        class Talks(Plugin):
            async def on_load(self, api):
                api.logger.info("hello %s", "there", extra={"fields": {"n": 1}})
                logging.getLogger("lib").error("from a library")
                api.logger.debug("too quiet")
    """
    lines: list[LogEntry] = []
    async with Host([make_plugin("talks", code)], trusting(), on_log=lines.append):
        pass
    told = [(e.level, e.message, dict(e.fields)) for e in lines if e.source == "log"]
    assert told == [("info", "hello there", {"n": 1}), ("error", "from a library", {})]


@pytest.mark.parametrize(("level", "kept"), [("debug", 4), ("warning", 2), ("error", 1)])
async def test_the_operator_says_from_which_level_on_records_are_kept(
    make_plugin: MakePlugin, level: str, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
        from plughost_sdk import Plugin

        class Talks(Plugin):
            async def on_load(self, api):
                for level in ("debug", "info", "warning", "error"):
                    getattr(api.logger, level)("so be it")
    """
    lines: list[LogEntry] = []
    config = trusting(limits=Limits(log_level=level))
    with caplog.at_level("DEBUG", "plughost.plugin"):
        async with Host([make_plugin("talks", code)], config, on_log=lines.append):
            pass
    assert sum(line.source == "log" for line in lines) == kept
    assert caplog.messages.count("[Plugin:talks] so be it") == kept


async def test_the_worker_holds_msgspec_and_the_standard_library_only(
    make_plugin: MakePlugin,
) -> None:
    async with Host([make_plugin("echo", ECHO)], trusting()) as host:
        modules = await host.call("echo.modules")
        for name in ("psutil", "anyio", "plughost"):
            with pytest.raises(ToolError, match=f"No module named '{name}'"):
                await host.call("echo.load", {"name": name})
    forbidden = {"plughost", "anyio", "jsonschema", "jsonschema_rs", "psutil", "rich", "typer"}
    assert not forbidden & {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "settings",
    [
        {"shared_template": True},
        {"plugins": {"echo": PluginConfig(python=sys.executable)}},
    ],
)
async def test_a_shared_template_and_a_fresh_interpreter_serve_as_a_template_of_ones_own_does(
    make_plugin: MakePlugin, settings: dict[str, Any]
) -> None:
    async with Host([make_plugin("echo", ECHO)], trusting(**settings)) as host:
        assert not host.problems
        assert await host.call("echo.echo", {"text": "fresh"}) == "fresh"


async def test_the_blocks_own_exception_comes_out_as_it_is(make_plugin: MakePlugin) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Host([make_plugin("echo", ECHO)], trusting()):
            raise LookupError("mine")


async def test_a_host_is_entered_once() -> None:
    async with Host([]) as host:
        pass
    with pytest.raises(HostMisuse, match="once"):
        async with host:
            pass


async def test_one_bad_plugin_keeps_no_other_from_running(make_plugin: MakePlugin) -> None:
    folder = make_plugin("echo", ECHO)
    make_plugin("broken", "import nowhere")
    make_plugin("wrong", "", colour="red")
    async with Host([folder], trusting()) as host:
        assert await host.call("echo.echo", {"text": "here"}) == "here"
        assert "No module named 'nowhere'" in host.problems["broken"]
        assert "colour: unknown field" in host.problems["wrong"]
        assert host.plugins["broken"].state is State.ERROR


async def test_dependencies_run_before_their_dependents(make_plugin: MakePlugin) -> None:
    folder = make_plugin("first", ECHO)
    code = """
        from plughost_sdk import Plugin

        class Second(Plugin):
            async def on_load(self, api):
                self.heard = await api.call("first.echo", {"text": "up"})
                print("heard", self.heard)
    """
    make_plugin("second", code, permissions=["tools:execute:first.*"], dependencies=["first"])
    make_plugin("third", code, dependencies=["absent"])
    async with Host([folder], trusting()) as host:
        assert host.plugins["second"].state is State.ACTIVE
        assert "absent" in host.problems["third"]


async def test_a_worker_over_its_memory_is_killed_and_the_call_says_so(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("echo", ECHO, limits={"memory": "100MB"})
    async with Host([folder], trusting(restart=Restart(backoff=0.01))) as host:
        with pytest.raises(WorkerDied, match=r"memory limit 100 MB exceeded \(peak 1\d\d MB\)"):
            await host.call("echo.fill", {"megabytes": 1000})
        assert await host.call("echo.echo", {"text": "again"}) == "again"
        with pytest.raises(WorkerDied, match="memory limit"):
            await host.call("echo.fill", {"megabytes": 1000})
        with anyio.fail_after(5):
            while host.plugins["echo"].state is not State.ERROR:
                await anyio.lowlevel.checkpoint()


async def test_over_the_total_memory_the_largest_worker_is_killed(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("small", ECHO)
    make_plugin("large", ECHO)
    config = trusting(totals=Totals(memory=150_000_000), restart=Restart(mode="never"))
    async with Host([folder], config) as host:
        with pytest.raises(WorkerDied, match="total memory limit 150 MB of all plugins exceeded"):
            await host.call("large.fill", {"megabytes": 200})
        assert await host.call("small.echo", {"text": "here"}) == "here"
        end = host.plugins["large"].last_exit
        assert end is not None
        assert end.cause is Cause.MEMORY


async def test_no_more_workers_run_than_the_total_allows(make_plugin: MakePlugin) -> None:
    folder = make_plugin("one", ECHO)
    make_plugin("two", ECHO)
    async with Host([folder], trusting(totals=Totals(workers=1))) as host:
        assert len(host.problems) == 1
        assert "as many as its total allows" in next(iter(host.problems.values()))


async def test_the_models_get_the_tools_in_their_own_forms(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("echo", ECHO)], trusting()) as host:
        tool = host.tools["echo.echo"]
    anthropic = tool.for_anthropic()
    openai = tool.for_openai()
    assert anthropic["name"] == openai["function"]["name"] == "plugin_echo_echo"
    assert anthropic["input_schema"] == openai["function"]["parameters"]
    assert anthropic["input_schema"]["required"] == ["text"]


async def test_a_name_too_long_for_models_is_cut_and_stays_unique(
    make_plugin: MakePlugin,
) -> None:
    names = ["a" * 60, "a" * 59 + "b"]
    code = "from plughost_sdk import Plugin\nplugin = Plugin()\n" + "".join(
        f"@plugin.tool(name='{name}')\nasync def tool_{i}() -> int:\n    return {i}\n"
        for i, name in enumerate(names)
    )
    async with Host([make_plugin("long", code)], trusting()) as host:
        models = [tool.model_name for tool in host.tools.values()]
        assert all(len(name) <= 64 for name in models)
        assert [await host.call(name) for name in models] == [0, 1]


def test_a_host_without_an_event_loop_serves_plain_code(make_plugin: MakePlugin) -> None:
    code = ECHO + ("\n    @plugin.tool\n    def numbers(n: int):\n        yield from range(n)\n")
    with BlockingHost([make_plugin("echo", code)], trusting()) as host:
        assert host.call("echo.echo", {"text": "plain"}) == "plain"
        outcomes = host.call_many([("echo.echo", {"text": str(n)}) for n in range(3)])
        assert [outcome.value for outcome in outcomes] == ["0", "1", "2"]
        with host.stream("echo.numbers", {"n": 30}) as numbers:
            assert list(numbers) == list(range(30))
        assert host.plugins["echo"].state is State.ACTIVE
        assert not host.problems


async def test_a_call_to_a_plugin_that_stays_down_says_why(make_plugin: MakePlugin) -> None:
    code = ECHO + "\n    @plugin.tool\n    def die() -> None:\n        import os; os._exit(3)\n"
    config = trusting(restart=Restart(mode="never"), limits=Limits(grace=0.2))
    async with Host([make_plugin("echo", code)], config) as host:
        with pytest.raises(WorkerDied):
            await host.call("echo.die")
        with pytest.raises(Exception, match=r"state is error \(exited with code 3"):
            await host.call("echo.echo", {"text": "?"}, context=CallContext(timeout=5))


async def test_a_tool_whose_plugin_does_not_run_is_not_called_unknown(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("echo", ECHO)
    asks = """
        from plughost_sdk import HostError, Plugin

        plugin = Plugin()

        @plugin.tool
        async def ask() -> list[str]:
            try:
                return [await plugin.api.call("echo.echo", {"text": "heard"})]
            except HostError as exc:
                return [exc.code, str(exc)]
    """
    make_plugin("asks", asks, permissions=["tools:register", "tools:execute:echo.*"])
    make_plugin("broken", "import nowhere")
    make_plugin("wrong", "", colour="red")
    async with Host([folder], trusting()) as host:
        with pytest.raises(UnknownTool):
            await host.call("echo.shout")
        with pytest.raises(NotRunning, match=r"state is error \(.*No module named 'nowhere'"):
            await host.call("broken.tool")
        with pytest.raises(NotRunning, match=r"state is refused \(.*colour: unknown field"):
            await host.call("wrong.tool")
        await host.unload("echo")
        for name in ("echo.echo", "plugin_echo_echo"):
            with pytest.raises(NotRunning, match="'echo' is not running: its state is unloaded"):
                await host.call(name)
        code, told = await host.call("asks.ask")
        assert code == "not_running"
        assert told.endswith("plugin 'echo' is not running: its state is unloaded")
        for name in ("nobody.echo", "plugin_nobody_echo", "echo_echo"):
            with pytest.raises(UnknownTool):
                await host.call(name)


async def test_a_plugin_can_be_stopped_and_started_again(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("echo", ECHO)], trusting()) as host:
        plugin = host.plugins["echo"]
        first = plugin.pid
        await plugin.stop()
        assert plugin.state.value == "unloaded"
        assert not host.tools
        await plugin.start()
        assert plugin.pid != first
        assert await host.call("echo.echo", {"text": "back"}) == "back"


async def test_a_disabled_plugin_keeps_its_worker_and_takes_no_calls(
    make_plugin: MakePlugin,
) -> None:
    code = """
        from plughost_sdk import Plugin, tool

        class Switch(Plugin):
            seen: list[str] = []

            async def on_enable(self):
                self.seen.append("enabled")

            def on_disable(self):
                self.seen.append("disabled")
                raise RuntimeError("not in the mood")

            @tool
            async def story(self) -> list[str]:
                return self.seen
    """
    lines: list[LogEntry] = []
    async with Host([make_plugin("switch", code)], trusting(), on_log=lines.append) as host:
        plugin = host.plugins["switch"]
        pid = plugin.pid
        await plugin.disable()
        assert plugin.state is State.DISABLED
        with pytest.raises(NotRunning, match="state is disabled"):
            await host.call("switch.story")
        await plugin.enable()
        assert await host.call("switch.story") == ["disabled", "enabled"]
        assert plugin.pid == pid
        assert any("not in the mood" in entry.message for entry in lines)

        await plugin.disable()
        assert plugin.worker is not None
        plugin.worker.process.kill()
        with anyio.fail_after(5):
            while plugin.worker is not None:
                await anyio.lowlevel.checkpoint()
        assert plugin.state.value == "disabled"
        await plugin.enable()
        assert await host.call("switch.story") == []


async def test_what_the_operator_disables_is_not_started(make_plugin: MakePlugin) -> None:
    config = trusting(plugins={"echo": PluginConfig(enabled=False)})
    async with Host([make_plugin("echo", ECHO)], config) as host:
        plugin = host.plugins["echo"]
        assert (plugin.state, plugin.pid) == (State.DISABLED, None)
        await plugin.enable()
        assert await host.call("echo.echo", {"text": "now"}) == "now"


async def test_a_plugin_that_is_being_loaded_can_be_stopped(make_plugin: MakePlugin) -> None:
    folder = make_plugin("slow", "import time; time.sleep(60)")
    config = trusting(limits=Limits(grace=0.2), plugins={"slow": PluginConfig(enabled=False)})
    async with Host([folder], config) as host:
        plugin = host.plugins["slow"]
        async with anyio.create_task_group() as tasks:

            async def start() -> None:
                with pytest.raises(StartFailed):
                    await plugin.enable()

            tasks.start_soon(start)
            with anyio.fail_after(5):
                while not plugin.pid:
                    await anyio.lowlevel.checkpoint()
                await plugin.stop()
        assert plugin.state is State.UNLOADED
        assert plugin.pid is None


async def test_a_plugin_that_runs_cannot_be_started_once_more(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("echo", ECHO)], trusting()) as host:
        with pytest.raises(HostMisuse, match="active cannot start"):
            await host.plugins["echo"].start()


async def test_files_of_the_plugin_are_left_as_they_are(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("echo", "import helper\n" + ECHO.replace("\n    ", "\n"))
    (folder / "echo" / "helper.py").write_text("X = 1\n")
    before = sorted(path.name for path in folder.rglob("*"))
    async with Host([folder], trusting()) as host:
        assert not host.problems
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_what_keeps_the_host_from_starting_is_raised_as_it_is() -> None:
    config = HostConfig(scheduler=SchedulerConfig(timezone="Middle/Earth"))
    with pytest.raises(HostMisuse, match="Middle/Earth"):
        async with Host([], config):
            pass
