"""The parts of a `BlockingHost`: what the application has of the services without a loop."""

import threading
from pathlib import Path

import pytest

from plughost import BlockingHost, Event, PlughostError, ToolRequest, User

from .conftest import MakePlugin, trusting

CODE = """
    from plughost_sdk import Plugin

    plugin = Plugin()
    runs = []

    @plugin.tool
    async def double(number: int) -> int:
        return number * 2

    @plugin.tool
    async def know(user: str) -> list[str]:
        name = (await plugin.api.users.get(user)).name
        return [name, *[one.content for one in await plugin.api.memory.search("tea", user)]]

    @plugin.task
    async def refresh() -> None:
        runs.append(1)

    @plugin.hook("collect_metrics")
    def metrics() -> dict[str, int]:
        return {"runs": len(runs)}

    @plugin.hook("handle_event", only="health")
    def health(event) -> str:
        return "well"

    @plugin.tool
    async def plan() -> None:
        await plugin.api.scheduler.schedule("refresh", 3600)
"""
ASKED = [
    "tools:register",
    "users:read",
    "memory:read",
    "scheduler:write",
    "hooks:register",
    "events:subscribe",
]


def test_plain_code_uses_the_services_of_the_host(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("clerk", CODE, permissions=ASKED)
    with BlockingHost([folder], trusting(state_folder=tmp_path / "state")) as host:
        host.users.table.add(User("ada", "Ada Lovelace"))
        assert host.users.get("ada").name == "Ada Lovelace"
        made = host.memory.create("ada", "Drinks tea", "semantic")
        assert host.memory.get(made).content == "Drinks tea"
        assert host.call("clerk.know", {"user": "ada"}) == ["Ada Lovelace", "Drinks tea"]
        host.call("clerk.plan")
        assert [task.name for task in host.scheduler.tasks("clerk")] == ["refresh"]
        assert host.scheduler.run_now("clerk", "refresh").error == ""
        assert host.hooks.collect_metrics() == {"clerk": {"runs": 1}}
        assert [answer.value for answer in host.hooks.collect("health")] == ["well"]
        assert host.hooks.order("handle_event") == ["clerk"]
        with pytest.raises(PlughostError, match="nobody"):
            host.users.get("nobody")
        with pytest.raises(AttributeError):
            host.memory.serch("tea", "ada")


def test_hooks_of_plain_code_run_in_a_thread_and_may_wait(make_plugin: MakePlugin) -> None:
    threads = []

    def only_even(request: ToolRequest) -> None:
        threads.append(threading.current_thread())
        if request.params["number"] % 2:
            raise ValueError("an even number, please")

    with BlockingHost([make_plugin("clerk", CODE, permissions=ASKED)], trusting()) as host:
        end = host.hooks.register("before_request", only_even, only="clerk.double")
        with pytest.raises(PlughostError, match="an even number, please"):
            host.call("clerk.double", {"number": 3})
        assert host.call("clerk.double", {"number": 4}) == 8
        assert threading.main_thread() not in threads
        end()
        assert host.call("clerk.double", {"number": 3}) == 6
        assert len(threads) == 2


def test_a_hook_of_plain_code_may_ask_the_host(make_plugin: MakePlugin) -> None:
    with BlockingHost([make_plugin("clerk", CODE, permissions=ASKED)], trusting()) as host:

        def double(event: Event) -> object:
            return host.call("clerk.double", {"number": event.data})

        host.hooks.register("filter_event", double, only="number.*")
        event = host.emit("number.seen", 21)
        assert event is not None
        assert event.data == 42
