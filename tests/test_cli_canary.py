"""`plughost reload --canary` and `plughost canary`, with a host that runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plughost import Canary
from plughost.management import canary as command

from .cli_runner import Process, plughost, running_host
from .swap_plugins import ANSWERS, Versions

RAISES = ANSWERS.replace("return [", "raise ValueError('no good')\n    return [")


@pytest.fixture
def demo(tmp_path: Path) -> Versions:
    made = Versions(tmp_path / "plugins")
    made.write(1)
    return made


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def host(demo: Versions, tmp_path: Path, socket: Path) -> Iterator[Process]:
    with running_host(tmp_path / "plugins", socket=socket) as process:
        yield process


def call(socket: Path) -> Any:
    return plughost("call", "demo.version", "number=1", "--json", socket=socket)


def test_a_version_is_tried_out_shown_and_promoted(
    demo: Versions, host: Process, socket: Path
) -> None:
    demo.write(2)
    began = plughost("reload", "demo", "--canary", "50%", "--canary-for", "300", socket=socket)
    assert (began.code, began.out) == (0, "demo 1.0.0 active, with version 2.0.0 on trial\n")
    assert [call(socket).json["result"][1] for _ in range(3)] == [1, 2, 1]
    assert plughost("call", "demo.version", "number:=null", socket=socket).code == 2

    told = (
        "version 2.0.0 is on trial with 50% of the calls: "
        "1 calls, 0 failed, 1 more had wrong parameters; the version that runs: 2 calls, 0 failed"
    )
    assert f"demo: {told}" in plughost("list", socket=socket).out
    lines = plughost("canary", "demo", socket=socket).out.splitlines()
    assert lines[:2] == ["demo 1.0.0 active", told]
    assert lines[2].startswith("judged after 100 calls, or in ")
    shown = plughost("canary", "demo", "--json", socket=socket).json
    assert shown["canary"].pop("elapsed") < 300
    assert shown == {
        "plugin": "demo",
        "state": "active",
        "version": "1.0.0",
        "reload_error": "",
        "canary": {
            "version": "2.0.0",
            "share": 0.5,
            "calls": 1,
            "errors": 0,
            "invalid": 1,
            "old_calls": 2,
            "old_errors": 0,
            "old_invalid": 0,
            "judged_after_calls": 100,
            "judged_after": 300.0,
        },
    }
    [status] = plughost("list", "--json", socket=socket).json
    assert status["canary"]["version"] == "2.0.0"

    done = plughost("canary", "demo", "--promote", socket=socket)
    assert (done.code, done.out) == (0, "demo 2.0.0 active\nno version is on trial\n")
    assert call(socket).json["result"] == [1, 2]
    again = plughost("canary", "demo", "--promote", socket=socket)
    assert again.code == 1
    assert "no canary of plugin 'demo' runs" in again.err
    host.wait_for("the canary is promoted, version 2.0.0: by hand")


def test_a_version_that_fails_is_rolled_back_and_the_list_says_why(
    demo: Versions, host: Process, socket: Path, tmp_path: Path
) -> None:
    new = Versions(tmp_path / "releases")
    new.write(2, RAISES)
    options = ["--canary", "100%", "--canary-calls", "10", "--max-errors", "10%"]
    began = plughost("reload", "demo", *options, "--from", "releases", socket=socket, cwd=tmp_path)
    assert began.code == 0, began.err
    assert [call(socket).code for _ in range(3)] == [5, 5, 0]
    reason = "version 2.0.0: 2 of its 2 calls failed, and of 10 no more than 1 may"
    assert f"demo: not reloaded: {reason}" in plughost("list", socket=socket).out
    shown = plughost("canary", "demo", socket=socket).out
    assert shown == f"demo 1.0.0 active\nnot reloaded: {reason}\n"
    host.wait_for("the canary is rolled back, version 2.0.0")

    [result] = plughost("reload", "demo", "--canary=5%", "--json", socket=socket).json
    assert (result["version"], result["canary"], result["done"]) == ("1.0.0", "1.0.0", True)
    back = plughost("canary", "demo", "--roll-back", socket=socket)
    assert back.out == "demo 1.0.0 active\nnot reloaded: version 1.0.0: by hand\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--canary", "10"], "--canary is written as 10%"),
        (["--canary", "0%"], "--canary is more than 0%"),
        (["--canary", "101%"], "at most 100%"),
        (["--canary-calls", "5"], "go with --canary SHARE"),
        (["--canary", "5%", "--canary-calls", "0"], "--canary-calls is 1 or more"),
        (["--canary", "5%", "--canary-for", "0"], "--canary-for is more than 0"),
        (["--canary", "5%", "--max-errors", "101%"], "--max-errors is from 0% to 100%"),
        (["--canary", "5%", "--max-errors", "few"], "--max-errors is written as 10%"),
    ],
)
def test_terms_that_cannot_be_are_wrong_usage(options: list[str], reason: str) -> None:
    done = plughost("reload", "demo", *options)
    assert done.code == 2
    assert reason in " ".join(done.err.replace("│", " ").split())


def test_a_canary_is_promoted_or_rolled_back_not_both(socket: Path) -> None:
    assert plughost("canary", "demo", "--promote", "--roll-back", socket=socket).code == 2
    assert plughost("canary", "demo", socket=socket).code == 4, "there is no host"


def test_the_command_has_the_defaults_of_the_library() -> None:
    ours = Canary()
    theirs = (command.CALLS, command.SECONDS, command.MAX_ERROR_RATE, command.LEAST_CALLS)
    assert theirs == (ours.calls, ours.seconds, ours.max_error_rate, ours.least_calls)
