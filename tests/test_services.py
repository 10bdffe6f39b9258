"""Services between plugins, with real workers; on asyncio and on trio."""

import signal
from collections.abc import AsyncIterator
from itertools import pairwise
from os import kill
from pathlib import Path
from typing import Any

import anyio
import pytest

from plughost import (
    CallContext,
    CallTimeout,
    Host,
    InvalidParams,
    Limits,
    NotRunning,
    Restart,
    ToolError,
    UnknownService,
    WorkerDied,
)

from .conftest import MakePlugin, sharing

pytestmark = pytest.mark.anyio

PROVIDER = """
import asyncio, os
from plughost_sdk import Plugin, ToolError, current_call, service

plugin = Plugin()
values = {}


@plugin.service("cache")
class Cache:
    '''Keeps values in memory.'''

    async def get(self, key: str, default: str | None = None) -> str | None:
        '''Look a value up.'''
        return values.get(key, default)

    def set(self, key: str, value: str, ttl: float = 0, *, loud: bool = False) -> bool:
        values[key] = value.upper() if loud else value
        return True

    async def fail(self) -> None:
        raise ToolError("no luck", code="unlucky")

    async def lie(self) -> int:
        return "three"

    async def wait(self) -> str:
        await asyncio.sleep(60)

    async def who(self) -> dict:
        call = current_call()
        return {"user": call.user_id, "request": call.request_id, "trace": call.trace,
                "caller": call.caller, "left": call.deadline is not None}

    @service(idempotent=True)
    async def die_once(self, marker: str) -> str:
        try:
            os.close(os.open(os.path.expanduser(f"~/{marker}"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return "second try"
        os._exit(7)

    async def die(self) -> None:
        os._exit(7)

    async def back(self, tool: str, params: dict):
        return await plugin.api.call(tool, params)

    def _hidden(self) -> None: ...


@plugin.tool
async def crash() -> None:
    os._exit(7)

@plugin.tool
async def withdraw() -> None:
    await plugin.api.services.withdraw("cache")
"""

USER = """
import msgspec
from plughost_sdk import Plugin

plugin = Plugin()
cache = None


@plugin.tool
async def use(method: str, args: list = [], kwargs: dict = {}, timeout: float | None = None):
    cache = plugin.api.services.get("cache", timeout=timeout)
    return await getattr(cache, method)(*args, **kwargs)

@plugin.tool
async def use_other(service: str, method: str):
    return await getattr(plugin.api.services.get(service), method)()

@plugin.tool
def use_blocking(key: str):
    cache = plugin.api.blocking.services.get("cache")
    cache.set(key, "from a thread")
    return cache.get(key)

@plugin.tool
async def services():
    return [msgspec.to_builtins(info) for info in await plugin.api.services.list()]
"""

PROVIDES = ["tools:register", "tools:execute", "services:provide:cache"]
USES = ["tools:register", "tools:execute", "services:use:cache"]
QUICK = sharing(limits=Limits(grace=0.3), restart=Restart(backoff=0.01, attempts={}))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def host(make_plugin: MakePlugin) -> AsyncIterator[Host]:
    make_plugin("cache", PROVIDER, permissions=PROVIDES)
    folder = make_plugin("user", USER, permissions=USES, dependencies=["cache"])
    async with Host([folder], QUICK) as host:
        assert not host.problems
        yield host


async def use(host: Host, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of the service `cache` from the plugin `user`."""
    return await host.call("user.use", {"method": method, "args": list(args), "kwargs": kwargs})


async def test_a_plugin_uses_the_service_of_another_by_position_and_by_name(host: Host) -> None:
    assert await use(host, "set", "k", "v", 3600) is True
    assert await use(host, "get", "k") == "v"
    assert await use(host, "get", key="other", default="none") == "none"
    assert await use(host, "get", "other", default="none") == "none"
    assert await use(host, "set", "k", value="v", loud=True) is True
    assert await use(host, "get", "k") == "V"


async def test_a_blocking_tool_uses_a_service_without_awaiting(host: Host) -> None:
    assert await host.call("user.use_blocking", {"key": "k"}) == "from a thread"


async def test_the_application_uses_services_and_sees_them(host: Host) -> None:
    cache = host.services.get("cache")
    await cache.set("k", "v", loud=True)
    assert await cache.get("k") == "V"
    (service,) = host.services.list().values()
    assert (service.name, service.plugin, service.description) == (
        "cache", "cache", "Keeps values in memory.",
    )  # fmt: skip
    assert list(service.methods) == [
        "get", "set", "fail", "lie", "wait", "who", "die_once", "die", "back",
    ]  # fmt: skip
    method = service.methods["set"]
    assert (method.positional, method.idempotent) == (("key", "value", "ttl"), False)
    assert method.input_schema["required"] == ["key", "value"]
    assert service.methods["die_once"].idempotent


async def test_a_plugin_sees_the_services_that_it_may_use(host: Host) -> None:
    (info,) = await host.call("user.services")
    assert (info["name"], info["plugin"]) == ("cache", "cache")
    assert info["methods"]["get"] == "Look a value up."


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ([], {}, "$.key is required"),
        ([1], {}, "$.key must be a string"),
        (["a", "b", "c"], {}, "$ takes 2 values by position, not 3"),
        (["a"], {"key": "b"}, "$.key is given by position and by name"),
        ([], {"key": "a", "more": 1}, "more"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_is_sent(
    host: Host, args: list[Any], kwargs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidParams) as caught:
        await host.services.get("cache").get(*args, **kwargs)
    assert problem in str(caught.value)
    with pytest.raises(ToolError) as through:
        await use(host, "get", *args, **kwargs)
    assert through.value.code == "invalid_params"
    assert problem in str(through.value)


async def test_the_providers_own_error_reaches_the_user_with_its_code(host: Host) -> None:
    with pytest.raises(ToolError, match="no luck") as caught:
        await use(host, "fail")
    assert (caught.value.code, caught.value.type) == ("unlucky", "HostError")
    with pytest.raises(ToolError) as caught:
        await use(host, "lie")
    assert caught.value.code == "result_invalid"


async def test_a_name_that_is_not_there_is_answered_with_the_nearest_one(host: Host) -> None:
    with pytest.raises(UnknownService, match="did you mean 'cache'") as caught:
        await host.services.get("cach").get("k")
    assert (caught.value.service, caught.value.method) == ("cach", "")
    with pytest.raises(UnknownService, match="has no method 'gett'; did you mean 'get'"):
        await host.services.get("cache").gett("k")
    with pytest.raises(ToolError, match="did you mean 'get'") as through:
        await use(host, "gett")
    assert through.value.code == "unknown_method"
    with pytest.raises(ToolError):
        await use(host, "_hidden")


async def test_user_request_trace_and_chain_reach_the_provider(host: Host) -> None:
    context = CallContext(user_id="u1", request_id="r1", trace="00-ab-cd-01", caller="app")
    seen = await host.call("user.use", {"method": "who"}, context=context)
    assert seen == {
        "user": "u1", "request": "r1", "trace": "00-ab-cd-01", "caller": "app > user.use",
        "left": True,
    }  # fmt: skip
    seen = await host.services.get("cache", context=context).who()
    assert (seen["user"], seen["caller"]) == ("u1", "app")


async def test_a_call_ends_with_the_time_of_the_call_that_it_is_made_for(host: Host) -> None:
    with pytest.raises(CallTimeout) as caught:
        await host.call("user.use", {"method": "wait"}, context=CallContext(timeout=0.2))
    assert caught.value.host_wait > 0


async def test_a_plugin_can_wait_for_less(host: Host) -> None:
    with pytest.raises(ToolError, match=r"service:cache\.wait did not answer within 100 ms") as c:
        await host.call("user.use", {"method": "wait", "timeout": 0.1})
    assert c.value.code == "timeout"
    with pytest.raises(CallTimeout):
        await host.services.get("cache", context=CallContext(timeout=0.1)).wait()


async def test_a_call_waits_for_a_provider_that_restarts(host: Host) -> None:
    with pytest.raises(WorkerDied):
        await host.call("cache.crash")
    assert host.plugins["cache"].active_worker is None
    with anyio.fail_after(10):
        assert await use(host, "set", "k", "v") is True
    assert host.plugins["cache"].restarts == 1


async def test_a_provider_that_is_killed_under_a_call_leaves_its_outcome_unknown(
    host: Host,
) -> None:
    outcomes: list[ToolError] = []

    async def wait() -> None:
        with pytest.raises(ToolError) as caught:
            await use(host, "wait")
        outcomes.append(caught.value)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            provider = host.plugins["cache"]
            while not (provider.worker is not None and provider.worker.channel.open_calls):
                await anyio.lowlevel.checkpoint()
            assert provider.pid is not None
            kill(provider.pid, signal.SIGKILL)
        assert outcomes[0].code == "outcome_unknown"
        assert await use(host, "get", "k") is None


async def test_an_idempotent_method_is_called_again_on_the_next_worker(
    host: Host, tmp_path: Path
) -> None:
    assert await use(host, "die_once", tmp_path.name) == "second try"
    assert host.plugins["cache"].restarts == 1


async def test_a_user_that_restarts_finds_the_service_as_before(host: Host) -> None:
    await use(host, "set", "k", "v")
    pid = host.plugins["user"].pid
    assert pid is not None
    kill(pid, signal.SIGKILL)
    with anyio.fail_after(10):
        while host.plugins["user"].pid in (pid, None):
            await anyio.lowlevel.checkpoint()
        assert await use(host, "get", "k") == "v"


async def test_the_service_of_a_plugin_that_was_stopped_says_so(host: Host) -> None:
    await host.plugins["cache"].stop()
    assert not host.services.list()
    with pytest.raises(NotRunning, match="'cache' is not running"):
        await host.services.get("cache").get("k")
    with pytest.raises(ToolError, match="'cache' is not running") as caught:
        await use(host, "get", "k")
    assert caught.value.code == "not_running"
    await host.plugins["cache"].start()
    assert await use(host, "get", "k") is None


async def test_the_service_of_a_plugin_that_is_disabled_comes_back_with_it(host: Host) -> None:
    await use(host, "set", "k", "v")
    await host.plugins["cache"].disable()
    with pytest.raises(NotRunning):
        await host.services.get("cache").get("k")
    await host.plugins["cache"].enable()
    assert await use(host, "get", "k") == "v"


async def test_a_service_that_was_withdrawn_is_unknown(host: Host) -> None:
    await host.call("cache.withdraw")
    with pytest.raises(UnknownService):
        await host.services.get("cache").get("k")
    with pytest.raises(ToolError, match="KeyError"):
        await host.call("cache.withdraw")


async def test_calls_through_services_and_tools_go_round_in_no_circle(host: Host) -> None:
    inner = {"method": "back", "kwargs": {"tool": "user.use", "params": {"method": "who"}}}
    with pytest.raises(ToolError, match="goes round in a cycle") as caught:
        await host.call("user.use", inner)
    assert caught.value.code == "too_deep"
    assert "user.use -> service:cache.back -> user.use" in str(caught.value)


async def test_services_count_for_the_depth_of_calls(make_plugin: MakePlugin) -> None:
    make_plugin("cache", PROVIDER, permissions=PROVIDES)
    folder = make_plugin("user", USER, permissions=USES, dependencies=["cache"])
    config = sharing(call_depth=2)
    async with Host([folder], config) as host:
        assert await use(host, "get", "k") is None
        with pytest.raises(ToolError, match="the limit is 2 calls deep"):
            await use(host, "back", "cache.crash", {})


async def test_a_chain_of_calls_that_is_too_long_to_be_sent_is_too_deep(
    make_plugin: MakePlugin,
) -> None:
    tools = [f"{'step' * 15}_{n}" for n in range(12)]
    lines = ["from plughost_sdk import Plugin", "plugin = Plugin()"]
    for here, there in pairwise(tools):
        lines += ["@plugin.tool", f"async def {here}() -> None:"]
        lines += [f"    await plugin.api.call('{'long-' * 12}id.{there}')"]
    asked = ["tools:register", "tools:execute"]
    folder = make_plugin(f"{'long-' * 12}id", "\n".join(lines), permissions=asked)
    async with Host([folder], sharing(call_depth=50)) as host:
        with pytest.raises(ToolError) as caught:
            await host.call(f"{'long-' * 12}id.{tools[0]}")
        assert caught.value.code == "too_deep"
