"""`plughost events`, against a host that runs in another process."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_runner import Process, plughost, running_host, write_plugin

CODE = r"""
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.on("order.*")
async def receive(event):
    if event.name == "order.bad":
        raise ValueError("no such thing")
    await plugin.api.events.emit("invoice.sent", {"for": event.data})

@plugin.tool
async def order(what: str, name: str = "order.placed", correlation_id: str = "") -> str:
    return await plugin.api.events.emit(name, what, correlation_id=correlation_id)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Process]:
    asked = ["tools:register", "events:subscribe", "events:emit"]
    folder = write_plugin(tmp_path, "shop", CODE, permissions=asked)
    grants = tmp_path / "plughost.toml"
    grants.write_text('[grants]\nshop = ["*"]\n')
    with running_host(folder, "--file", grants, socket=tmp_path / "socket") as running:
        yield running


def order(tmp_path: Path, *arguments: str) -> str:
    called = plughost("call", "shop.order", *arguments, socket=tmp_path / "socket")
    assert called.code == 0, called.err
    return called.out.strip()


def test_the_last_events_are_shown_by_pattern(host: Process, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    event_id = order(tmp_path, "what=tea\n\x1b[31m")
    follower = Process("events", "--pattern", "invoice.*", "--follow", socket=socket)
    follower.wait_for("invoice.sent shop")
    shown = plughost("events", "--pattern", "order.*", socket=socket)
    assert shown.code == 0
    assert r'order.placed shop "tea\n\u001b[31m"' in shown.out
    assert event_id in shown.out
    assert "plugin:loaded" not in shown.out
    listed = json.loads(plughost("events", "--json", socket=socket).out)
    assert [event["name"] for event in listed][:2] == ["plugin:loaded", "system:startup"]
    last = plughost("events", "--json", "--limit", "1", socket=socket).json
    assert [(event["name"], event["parent"]) for event in last] == [("invoice.sent", event_id)]
    order(tmp_path, "what=milk")
    assert "milk" in follower.wait_for("invoice.sent shop")
    host.send(signal.SIGTERM)
    host.wait_for("^stopping")  # who only looks on is not waited for
    assert host.wait() == 0
    assert follower.wait() == 0


def test_a_trace_shows_who_got_an_event_and_what_it_caused(host: Process, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    event_id = order(tmp_path, "what=tea", "correlation_id=c-1")
    bad_id = order(tmp_path, "what=gold", "name=order.bad")
    follower = Process("events", "--follow", socket=socket)
    follower.wait_for("order.bad")
    follower.end()
    for wanted in (event_id, "c-1"):
        shown = plughost("events", "--trace", wanted, socket=socket)
        lines = shown.out.splitlines()
        assert "order.placed shop" in lines[0]
        assert "  > shop on order.*: handled after" in lines[1]
        assert "    " in lines[2]
        assert "invoice.sent shop" in lines[2]
    while "failed" not in (bad := plughost("events", bad_id, socket=socket)).out:
        assert bad.code == 0
    assert "ValueError: no such thing" in bad.out
    everything = plughost("events", "--trace", "--json", socket=socket).json
    assert [tree["name"] for tree in everything][-2:] == ["order.placed", "order.bad"]
    missing = plughost("events", "--trace", "nothing", socket=socket)
    assert missing.code == 4
    assert "no event 'nothing' is remembered" in missing.err


def test_what_is_no_pattern_is_wrong_usage(host: Process, tmp_path: Path) -> None:
    for arguments in (["--pattern", "a b"], ["--limit", "0"], ["--pattern", "[", "--follow"]):
        assert plughost("events", *arguments, socket=tmp_path / "socket").code == 2
