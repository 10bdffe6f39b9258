"""Who may provide and use which service, how it is declared, and how long it stays."""

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from plughost import (
    BlockingHost,
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

QUICK = sharing(limits=Limits(grace=0.3), restart=Restart(backoff=0.01))

PROVIDER = """
import os
from plughost_sdk import Plugin

plugin = Plugin()


class Cache:
    async def name(self) -> str:
        return plugin.api.plugin_id

    async def crash(self) -> None:
        os._exit(7)


async def on_load(api):
    await api.services.provide("cache", Cache())

plugin.on_load = on_load


@plugin.tool
async def provide(name: str) -> None:
    await plugin.api.services.provide(name, Cache())

@plugin.tool
async def provide_wrongly(what: str) -> None:
    await plugin.api.services.provide("wrong", {"class": Cache, "plugin": plugin}[what])

@plugin.tool
async def withdraw(name: str) -> None:
    await plugin.api.services.withdraw(name)
"""

USER = """
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def use(service: str) -> str:
    return await plugin.api.services.get(service).name()

@plugin.tool
async def names() -> list[str]:
    return [info.name for info in await plugin.api.services.list()]
"""

PROVIDES = ["tools:register", "services:provide"]
USES = ["tools:register", "services:use"]


async def test_a_service_of_a_plugin_that_one_does_not_depend_on_is_refused_with_the_line(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("one", PROVIDER, permissions=PROVIDES)
    make_plugin("other", USER)
    folder = make_plugin("user", USER, permissions=USES, dependencies=["other"])
    async with Host([folder], QUICK) as host:
        with pytest.raises(ToolError) as caught:
            await host.call("user.use", {"service": "cache"})
        assert caught.value.code == "undeclared_dependency"
        assert '"dependencies": ["other", "one"]' in caught.value.message
        assert await host.call("user.names") == []


@pytest.mark.parametrize("asked", [[], ["services:use:other"]])
async def test_a_service_that_one_has_no_permission_for_is_refused_and_not_listed(
    make_plugin: MakePlugin, asked: list[str]
) -> None:
    make_plugin("one", PROVIDER, permissions=PROVIDES)
    permissions = ["tools:register", *asked]
    folder = make_plugin("user", USER, permissions=permissions, dependencies=["one"])
    async with Host([folder], QUICK) as host:
        with pytest.raises(ToolError, match="services:use:cache") as caught:
            await host.call("user.use", {"service": "cache"})
        assert caught.value.code == "permission_denied"
        assert await host.call("user.names") == []


@pytest.mark.parametrize("asked", [[], ["services:provide:other"]])
async def test_a_plugin_that_may_not_provide_does_not_load(
    make_plugin: MakePlugin, asked: list[str]
) -> None:
    folder = make_plugin("one", PROVIDER, permissions=["tools:register", *asked])
    async with Host([folder], QUICK) as host:
        assert "services:provide:cache" in host.problems["one"]
        assert not host.services.list()


async def test_a_name_is_taken_by_the_plugin_that_provides_it(make_plugin: MakePlugin) -> None:
    make_plugin("one", PROVIDER, permissions=PROVIDES)
    folder = make_plugin("two", PROVIDER, permissions=PROVIDES, dependencies=["one"])
    async with Host([folder], QUICK) as host:
        assert "the name is taken by plugin 'one'" in host.problems["two"]
        assert await host.services.get("cache").name() == "one"
        await host.plugins["one"].stop()
        await host.plugins["two"].start()
        assert await host.services.get("cache").name() == "two"


async def test_services_come_and_go_at_run_time(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("one", PROVIDER, permissions=PROVIDES)], QUICK) as host:
        await host.call("one.provide", {"name": "late"})
        assert list(host.services.list()) == ["cache", "late"]
        with pytest.raises(ToolError, match="provided already"):
            await host.call("one.provide", {"name": "late"})
        await host.call("one.withdraw", {"name": "late"})
        assert list(host.services.list()) == ["cache"]
        with pytest.raises(ToolError, match="KeyError"):
            await host.call("one.withdraw", {"name": "late"})
        await host.call("one.provide", {"name": "late"})
        assert await host.services.get("late").name() == "one"


@pytest.mark.parametrize("name", ["", "a.b", "a b", "1st", "x" * 65, "new\nline", "*", "ä"])
async def test_a_name_that_is_none_is_refused(make_plugin: MakePlugin, name: str) -> None:
    async with Host([make_plugin("one", PROVIDER, permissions=PROVIDES)], QUICK) as host:
        with pytest.raises(ToolError, match="PluginMistake"):
            await host.call("one.provide", {"name": name})
        with pytest.raises(UnknownService):
            await host.services.get(name).name()


@pytest.mark.parametrize(
    ("what", "problem"),
    [("class", "give an object, not a class"), ("plugin", "a plugin is no service")],
)
async def test_what_is_no_object_with_methods_is_refused(
    make_plugin: MakePlugin, what: str, problem: str
) -> None:
    async with Host([make_plugin("one", PROVIDER, permissions=PROVIDES)], QUICK) as host:
        with pytest.raises(ToolError, match=problem):
            await host.call("one.provide_wrongly", {"what": what})


async def test_what_a_dead_worker_provided_late_goes_with_it(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("one", PROVIDER, permissions=PROVIDES)], QUICK) as host:
        await host.call("one.provide", {"name": "late"})
        with pytest.raises(WorkerDied):
            await host.services.get("cache").crash()
        # Its successor may provide it again: until that is loaded, callers wait.
        assert list(host.services.list()) == ["cache", "late"]
        with anyio.fail_after(10):
            assert await host.services.get("cache").name() == "one"
        assert list(host.services.list()) == ["cache"]


LATE = """
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def provide() -> None:
    class Late:
        async def name(self) -> str:
            return "late"
    await plugin.api.services.provide("late", Late())
"""


async def test_a_manifest_that_names_its_services_tells_who_is_not_running(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("one", LATE, permissions=PROVIDES, services=["late"])
    async with Host([folder], QUICK) as host:
        with pytest.raises(UnknownService):
            await host.services.get("late").name()
        await host.plugins["one"].stop()
        with pytest.raises(NotRunning, match="'one' is not running"):
            await host.services.get("late").name()


FORMS = """
from dataclasses import dataclass

from plughost_sdk import Plugin, service


@dataclass
class Point:
    x: int
    y: int = 0


class Shapes(Plugin):
    @service("shapes", idempotent=True)
    async def flip(self, point: Point) -> Point:
        '''Turn it over.'''
        return Point(point.y, point.x)

    @service("shapes", method="size_of")
    def size(self, point: Point) -> int:
        return abs(point.x * point.y)

    @service("by_schema", input_schema={"type": "object", "required": ["n"]})
    async def any(self, **arguments):
        return arguments
"""


async def test_methods_of_a_plugin_are_marked_and_typed_like_tools(make_plugin: MakePlugin) -> None:
    async with Host([make_plugin("one", FORMS, permissions=PROVIDES)], QUICK) as host:
        assert not host.problems
        shapes = host.services.get("shapes")
        assert await shapes.flip({"x": 1}) == {"x": 0, "y": 1}
        assert await shapes.size_of(point={"x": 2, "y": -3}) == 6
        assert await host.services.get("by_schema").any(n=1, more="x") == {"n": 1, "more": "x"}
        with pytest.raises(InvalidParams, match="takes 0 values by position"):
            await host.services.get("by_schema").any(1)
        service = host.services.list()["shapes"]
        assert service.methods["flip"].idempotent
        assert not service.methods["size_of"].idempotent
        assert service.methods["flip"].description == "Turn it over."


MISTAKES = {
    "streams": ("async def many(self):\n        yield 1", "'many' is a generator"),
    "nothing": ("_hidden = 1", "no public methods"),
    "unnamed": ("async def f(self, *args): ...", "cannot be given by name"),
    "too_long": (f"async def {'f' * 65}(self): ...", "length <= 64"),
}


@pytest.mark.parametrize(("body", "problem"), MISTAKES.values(), ids=MISTAKES)
async def test_a_service_that_cannot_be_fails_the_load_and_says_why(
    make_plugin: MakePlugin, body: str, problem: str
) -> None:
    code = f"""
from plughost_sdk import Plugin
plugin = Plugin()

@plugin.service("bad")
class Bad:
    {body}
"""
    async with Host([make_plugin("one", code, permissions=PROVIDES)], QUICK) as host:
        assert problem in host.problems["one"]
        assert "service 'bad'" in host.problems["one"]


RAW = """
from msgspec import Raw
from plughost_protocol import encode
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def ask(method: str, params: dict) -> object:
    return await plugin.api._link.request(f"services.{method}", params)

@plugin.tool
async def provide_many(services: int, methods: int) -> None:
    specs = [{"name": f"m{n}", "input_schema": {"type": "object"}} for n in range(methods)]
    for n in range(services):
        await plugin.api._link.request("services.provide", {"name": f"s{n}", "methods": specs})
"""

GOOD: Mapping[str, Any] = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("method", "params", "problem"),
    [
        ("provide", {"name": "s", "methods": []}, "length >= 1"),
        ("provide", {"name": "s", "methods": [GOOD] * 201}, "length <= 200"),
        ("provide", {"name": "s", "methods": [GOOD, GOOD]}, "it has f twice"),
        ("provide", {"name": "a.b", "methods": [GOOD]}, "regex"),
        ("provide", {"name": "s", "methods": [{**GOOD, "name": "_f"}]}, "regex"),
        ("provide", {"name": "s", "methods": [{**GOOD, "streams": True}]}, "cannot stream"),
        ("provide", {"name": "s", "methods": [{"name": "f", "input_schema": {"type": 7}}]}, "type"),
        ("provide", {"name": "s", "methods": [GOOD], "more": 1}, "unknown field"),
        ("withdraw", {"name": "s"}, "no service 's'"),
        ("call", {"service": "own", "method": "f", "params": []}, "must be an object"),
        ("call", {"service": "own", "method": "f", "params": {}, "positional": {}}, "an array"),
        ("call", {"service": "own", "method": "f", "params": {}, "positional": [1]}, "takes 0"),
        ("call", {"service": "s" * 65, "method": "f", "params": {}}, "length <= 64"),
        ("call", {"service": "own", "method": "f", "params": {}, "timeout": -1}, "timeout"),
    ],
)
async def test_a_worker_that_sends_nonsense_gets_an_error(
    make_plugin: MakePlugin, method: str, params: dict[str, Any], problem: str
) -> None:
    permissions = ["tools:register", "services:provide", "services:use"]
    async with Host([make_plugin("one", RAW, permissions=permissions)], QUICK) as host:
        own = {"method": "provide", "params": {"name": "own", "methods": [GOOD]}}
        await host.call("one.ask", own)
        with pytest.raises(ToolError) as caught:
            await host.call("one.ask", {"method": method, "params": params})
        assert problem in str(caught.value)
        assert caught.value.code in ("invalid_params", "unknown_method")
        assert list(host.services.list()) == ["own"]


@pytest.mark.parametrize(
    ("services", "methods", "problem"),
    [(101, 1, "may provide 100 services"), (6, 200, "may have 1000 methods together")],
)
async def test_a_plugin_provides_so_much_and_not_more(
    make_plugin: MakePlugin, services: int, methods: int, problem: str
) -> None:
    async with Host([make_plugin("one", RAW, permissions=PROVIDES)], QUICK) as host:
        with pytest.raises(ToolError, match=problem):
            await host.call("one.provide_many", {"services": services, "methods": methods})


def test_an_application_without_a_loop_uses_services_too(make_plugin: MakePlugin) -> None:
    folder = make_plugin("one", PROVIDER, permissions=PROVIDES)
    with BlockingHost([folder], QUICK) as host:
        assert host.services.get("cache").name() == "one"
        assert list(host.services.list()) == ["cache"]


async def test_services_have_a_rate_of_their_own(make_plugin: MakePlugin) -> None:
    make_plugin("one", PROVIDER, permissions=PROVIDES)
    folder = make_plugin("user", USER, permissions=USES, dependencies=["one"])
    async with Host([folder], QUICK) as host:
        outcomes = await host.call_many([("user.use", {"service": "cache"})] * 150)
        assert {outcome.value for outcome in outcomes} == {"one"}
