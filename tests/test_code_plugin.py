"""A plugin out of a text: held in memory only, granted what is named, and sandboxed as any."""

from pathlib import Path

import anyio
import pytest

from plughost import BlockingHost, Host, HostConfig, HostMisuse, StartFailed, ToolError, WorkerDied

from .event_plugins import eventually

CODE = """\
import os
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
def look() -> dict:
    return {
        "name": __name__,
        "cwd": os.getcwd(),
        "holds": sorted(os.listdir(".")),
        "config": dict(plugin.api.config),
        "permissions": plugin.api.manifest.permissions,
    }

@plugin.tool
def fail() -> None:
    raise ValueError("on line 19")
"""

TOOLS = ["tools:register"]


def config(tmp_path: Path) -> HostConfig:
    return HostConfig(state_folder=tmp_path / "state")


def holding(folder: Path, text: bytes) -> list[Path]:
    """The files below a folder in which a text is found."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text in path.read_bytes()]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_text_is_a_plugin_that_leaves_nothing_on_disk(tmp_path: Path) -> None:
    async with Host([], config(tmp_path)) as host:
        plugin = await host.load_code("my-text", CODE, permissions=TOOLS, config={"a": 1})
        seen = await host.call("my-text.look")
        assert (seen["name"], seen["config"]) == ("my_text", {"a": 1})
        assert seen["permissions"] == TOOLS
        assert (Path(seen["cwd"]).name, seen["holds"]) == ("my-text", [])
        assert not holding(tmp_path, b"on line 19")
        assert "on line 19" not in repr(plugin.found)
        await host.unload_code("my-text")
        assert "my-text" not in host.plugins
        assert not host.tools
        assert not (tmp_path / "state" / "data" / "my-text").exists()
        await host.load_code("my-text", CODE, permissions=TOOLS)
        assert (await host.call("my-text.look"))["config"] == {}


@pytest.mark.anyio
async def test_its_errors_name_the_lines_of_the_text(tmp_path: Path) -> None:
    async with Host([], config(tmp_path)) as host:
        await host.load_code("my-text", CODE, permissions=TOOLS)
        with pytest.raises(ToolError, match=r"on line 19 \(<my-text>, line 18\)") as caught:
            await host.call("my-text.fail")
        assert '    raise ValueError("on line 19")' in caught.value.traceback
        with pytest.raises(StartFailed, match=r"SyntaxError.*<wrong>, line 2"):
            await host.load_code("wrong", "x = 1\nx = = 2\n")
        assert "wrong" not in host.plugins


@pytest.mark.anyio
async def test_it_restarts_from_memory(tmp_path: Path) -> None:
    code = CODE + "\n@plugin.tool\ndef die() -> None:\n    os._exit(3)\n"
    async with Host([], config(tmp_path)) as host:
        plugin = await host.load_code("my-text", code, permissions=TOOLS)
        first = plugin.pid
        with pytest.raises(WorkerDied):
            await host.call("my-text.die")
        assert (await host.call("my-text.look"))["name"] == "my_text"
        assert plugin.pid != first


@pytest.mark.anyio
async def test_the_object_form_of_permissions_is_granted_as_it_is(tmp_path: Path) -> None:
    wanted = {
        "fileSystem": False,
        "network": ["api.example.com"],
        "events": ["session.created", "message.sent"],
        "others": ["tools:register"],
    }
    async with Host([], config(tmp_path)) as host:
        resources = {"memory": "100MB", "cpu": "50%", "call_timeout": "3s"}
        plugin = await host.load_code("my-text", CODE, permissions=wanted, resources=resources)
        assert (plugin.limits.memory, plugin.limits.cpu) == (100_000_000, 0.5)
        assert plugin.limits.call_timeout == 3.0
        assert set(map(str, plugin.policy.granted)) == {
            "net:connect:api.example.com",
            "events:subscribe:session.created",
            "events:subscribe:message.sent",
            "tools:register",
        }


@pytest.mark.anyio
async def test_what_is_not_named_is_not_granted(tmp_path: Path) -> None:
    async with Host([], config(tmp_path)) as host:
        with pytest.raises(StartFailed, match="tools:register"):
            await host.load_code("my-text", CODE)
        assert not host.plugins


@pytest.mark.anyio
async def test_a_name_of_the_standard_library_hides_no_module(tmp_path: Path) -> None:
    code = CODE + "\nimport json\n@plugin.tool\ndef dumped() -> str:\n    return json.dumps([1])\n"
    async with Host([], config(tmp_path)) as host:
        await host.load_code("json", code, permissions=TOOLS)
        assert await host.call("json.dumped") == "[1]"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"name": "My Text"}, "no plugin's id"),
        ({"code": "#" * 1_000_001}, "1,000,001 bytes, and may have 1,000,000"),
        ({"code": "'\ud800'"}, "no text"),
        ({"permissions": "tools:register"}, "a list or an object"),
        ({"permissions": ["fly:high"]}, "there is no permission"),
        ({"permissions": {"fileSystem": True}}, "too wide"),
        ({"permissions": {"disk": []}}, "unknown field `disk`"),
        ({"resources": {"memroy": "1MB"}}, "did you mean 'memory'"),
        ({"resources": {"memory": "lots"}}, "'lots' is no size"),
        ({"resources": {"memory": "1MB"}}, "needs 32 MB"),
        ({"resources": {"storage_keys": 5}}, "there is no 'storage_keys'"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_starts(
    arguments: dict[str, object], problem: str
) -> None:
    async with Host([]) as host:
        given = {"name": "my-text", "code": CODE} | arguments
        with pytest.raises(HostMisuse, match=problem):
            await host.load_code(**given)  # type: ignore[arg-type] # some are meant to be wrong
        assert not host.plugins


@pytest.mark.anyio
async def test_a_host_that_does_not_run_yet_takes_no_plugins(tmp_path: Path) -> None:
    host = Host([], config(tmp_path))
    with pytest.raises(HostMisuse, match="inside of its `async with` block"):
        await host.load_code("my-text", CODE)
    assert not host.plugins


def test_a_blocking_host_loads_texts_too(tmp_path: Path) -> None:
    with BlockingHost([], config(tmp_path)) as host:
        host.load_code("my-text", CODE, permissions=TOOLS)
        assert host.call("my-text.look")["name"] == "my_text"
        with pytest.raises(HostMisuse, match="there is a plugin 'my-text' already"):
            host.load_code("my-text", CODE)
        host.unload_code("my-text")
        assert not host.plugins


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_one_that_is_unloaded_while_it_loads_did_not_start(tmp_path: Path) -> None:
    hangs = "import time\ntime.sleep(1000)\n"
    async with Host([], config(tmp_path)) as host, anyio.create_task_group() as tasks:

        async def load() -> None:
            with pytest.raises(StartFailed, match="my-text"):
                await host.load_code("my-text", hangs)

        tasks.start_soon(load)
        await eventually(lambda: "my-text" in host.plugins and bool(host.plugin("my-text").worker))
        await host.unload_code("my-text")
        await host.load_code("my-text", CODE, permissions=TOOLS)


@pytest.mark.anyio
async def test_a_host_keeps_nothing_of_one_that_was_unloaded(tmp_path: Path) -> None:
    async with Host([], config(tmp_path)) as host:
        for name in ("one", "two"):
            await host.load_code(name, CODE, permissions=TOOLS)
            await host.unload_code(name)
        assert host.events.stats() == {}
