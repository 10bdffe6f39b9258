"""`plughost show`, and what a command says when it does without a layer."""

import re
from pathlib import Path
from typing import Final

import pytest

from plughost.config import Layer, Limits
from plughost.sandbox.seccomp import SyscallRules, allowed_syscalls
from plughost.units import format_bytes

from .cli_runner import plughost, running_host, under_a_terminal, write_plugin

PLUGIN: Final = "from plughost_sdk import Plugin\nclass Quiet(Plugin):\n    pass\n"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    write_plugin(made, "quiet", PLUGIN)
    return made


def test_the_plan_is_shown_in_words_and_nothing_is_started(folders: Path, tmp_path: Path) -> None:
    shown = plughost(
        "show", "quiet", "--dir", folders, env={"XDG_DATA_HOME": str(tmp_path / "state")}
    )
    assert shown.code == 0, shown.err
    for words in (
        "its own: no other plugin shares its address-space layout or hash seed",
        str(folders / "quiet"),
        str(tmp_path / "state" / "plughost" / "data" / "quiet"),
        "network       nothing",
        "executes      nothing",
        "threads, 64",
        f"{format_bytes(Limits().memory)} of memory",
        "nofile=256",
        f"{len(allowed_syscalls(SyscallRules()))} allowed",
    ):
        assert words in shown.out, words
    assert "waived" not in shown.out
    assert not (tmp_path / "state").exists()


def test_the_plan_as_json_holds_all_of_it(folders: Path) -> None:
    told = plughost("show", "quiet", "--dir", folders, "--json").json
    assert told["plugin"] == "quiet"
    assert told["layers"] == [layer for layer in Layer if layer in told["layers"]]
    assert told["data_folder"] in told["writes"]
    assert told["system_calls"] == list(allowed_syscalls(SyscallRules()))
    assert told["rlimits"]["core"] == 0
    assert "PATH" in told["environment"]
    assert (told["template"], told["waived"], told["refusal"]) == ("own", [], "")


def test_grants_show_in_the_plan_and_a_missing_one_is_said(tmp_path: Path) -> None:
    folders, notes = tmp_path / "plugins", tmp_path / "notes"
    folders.mkdir()
    notes.mkdir()
    asks = [
        {"permission": f"fs:read:{notes}", "reason": "to read notes"},
        {"permission": "net:connect:api.example.com", "reason": "to ask"},
        {"permission": "process:spawn", "reason": "to run git"},
    ]
    write_plugin(folders, "busy", PLUGIN, permissions=asks)
    told = plughost("show", "busy", "--dir", folders, "--json").json
    assert str(notes) in told["reads"]
    assert told["network"] == ["api.example.com:443"] or "api.example.com" in told["network"][0]
    assert told["starts_programs"] is True
    assert "/usr/bin" in told["executes"]
    assert "execve" in told["system_calls"]
    nothing = tmp_path / "none.toml"
    nothing.write_text("[grants]\n")
    nothing.chmod(0o600)
    refused = plughost("show", "busy", "--dir", folders, "--file", nothing)
    assert refused.code == 7
    assert "not started: it asks for" in refused.out
    assert str(notes) not in refused.out.split("user ")[1].split("writes")[0]


def test_what_is_waived_and_shared_is_shown(folders: Path) -> None:
    # In a home of root's, both or none.
    less = ("show", "quiet", "--dir", folders, "--without", "namespaces", "--without", "uid")
    shown = plughost(*less, "--shared-template")
    (waived,) = [line for line in shown.out.splitlines() if line.startswith("waived")]
    assert "namespaces, mounts" in waived
    assert "shared with the other plugins" in shown.out
    open_net = plughost(*less, "--without", "seccomp")
    assert "whatever the machine reaches" in open_net.out


def test_the_system_calls_are_named_on_request(folders: Path) -> None:
    plain = plughost("show", "quiet", "--dir", folders)
    named = plughost("show", "quiet", "--dir", folders, "--syscalls")
    assert "\n              openat\n" in named.out
    assert "openat" not in plain.out


def test_a_plugin_that_is_not_there_is_answered_with_the_nearest(folders: Path) -> None:
    missing = plughost("show", "quite", "--dir", folders)
    assert missing.code == 4
    assert "did you mean 'quiet'?" in missing.err
    (folders / "quiet" / "manifest.json").write_text("{}")
    assert "manifest.json" in plughost("show", "quiet", "--dir", folders).err


def test_without_a_layer_the_host_warns_and_the_list_shows_it(
    folders: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "socket"
    env = {"XDG_DATA_HOME": str(tmp_path / "state")}
    with running_host(folders, "--without", "landlock", socket=socket) as host:
        (listed,) = plughost("list", "--json", socket=socket, env=env).json
        assert (listed["state"], listed["degraded"]) == ("active", ["landlock"])
        shown = plughost("list", socket=socket, env=env)
        assert "active, degraded" in shown.out
        assert "quiet: without landlock of the sandbox" in shown.out
        assert shown.code == 0
        host.wait_for("it starts without landlock of the sandbox")
    assert "warning: the sandbox is without landlock" in host.output
    with running_host(folders, socket=socket):
        (listed,) = plughost("list", "--json", socket=socket, env=env).json
        assert listed["degraded"] == []


def test_a_call_to_a_running_host_takes_no_waiver(tmp_path: Path) -> None:
    refused = plughost("call", "quiet.x", "--without", "landlock", socket=tmp_path / "socket")
    assert refused.code == 2
    assert "--dir" in refused.err
    unknown = plughost("run", tmp_path, "--without", "moat")
    assert unknown.code == 2
    assert "landlock" in unknown.err


def test_the_doctors_table_fits_a_terminal(tmp_path: Path) -> None:
    shown = under_a_terminal("doctor", socket=tmp_path / "socket")
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    table = plain.split("plugins start")[0].splitlines()
    rows = [line for line in table if line.startswith(("layer", "seccomp", "───"))]
    assert len(rows) >= 3
    assert all(len(line) <= 100 for line in rows)
