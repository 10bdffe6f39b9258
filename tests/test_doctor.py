"""The doctor's word against what a host does, on this machine and on ones that refuse."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import pytest

from plughost.config import Layer
from plughost.management.doctor import _elsewhere
from plughost.management.output import Output
from plughost.sandbox.facts import Facts
from plughost.sandbox.remedies import apparmor_profile, remedies_for
from plughost_protocol.probing import Finding

from .cli_runner import COMMAND, plughost, write_plugin
from .refusing_machine import DOCKER

ECHO: Final = """
from plughost_sdk import Plugin, tool

class Echo(Plugin):
    @tool
    async def echo(self, text: str) -> str:
        return text
"""
_TIMEOUT: Final = 50.0  # seconds; on a loaded machine that refuses several layers
NO_LANDLOCK: Final = {"landlock_create_ruleset": errno.ENOSYS}
LANDLOCK_OFF: Final = {"landlock_create_ruleset": errno.EOPNOTSUPP}
NO_MOUNTS: Final = {"mount": errno.EACCES}
OLD_MOUNTS: Final = {"mount_setattr": errno.ENOSYS}
NO_PIDFD: Final = {"pidfd_open": errno.EPERM}
USER: Final = Facts("6.1", "x86_64", "/usr/bin/python3.12", user=1000)
REFUSED: Final = Finding("namespaces", False, "unshare", errno.EPERM, "namespaces")


class Answer(NamedTuple):
    """What a command wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user reaches, unlike those of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="plughost-test-doctor-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def plugin(folder: Path) -> Path:
    root = write_plugin(folder, "echo", ECHO)
    root.chmod(0o755)
    return root


def on_machine(calls: Mapping[str, int], folder: Path, *arguments: object) -> Answer:
    """The command on a machine that refuses these calls."""
    (folder / "config" / "plughost").mkdir(parents=True, exist_ok=True)
    grants = folder / "config" / "plughost" / "plughost.toml"
    grants.write_text('[grants]\n"*" = ["*"]\n')
    grants.chmod(0o600)
    env = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "state")}
    if calls:
        return Answer(*plughost(*arguments, cwd=folder, env=env, refused=calls))
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env=os.environ | {"NO_COLOR": "1"} | env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def row(found: Mapping[str, Any], layer: str) -> dict[str, Any]:
    return next(row for row in found["rows"] if row["layer"] == layer)


def waivers(layers: Sequence[str]) -> list[str]:
    return [part for layer in layers for part in ("--without", layer)]


# This machine


def test_plugins_start_here_exactly_if_the_doctor_says_so(folder: Path, plugin: Path) -> None:
    found = on_machine({}, folder, "doctor", "--json")
    checked = on_machine({}, folder, "check", plugin)
    assert found.json["verdict"]["default_plan"] is (checked.code == 0)
    assert found.code == checked.code == (0 if found.json["verdict"]["default_plan"] else 1)


def test_every_layer_has_a_row_in_words(folder: Path) -> None:
    found = on_machine({}, folder, "doctor", "--json").json
    layers = [row["layer"] for row in found["rows"]]
    assert {*Layer, "no_new_privs", "capabilities", "rlimits"} - set(layers) <= {"uid"}
    for each in found["rows"]:
        assert each["state"] in ("ok", "partial", "missing")
        assert each["buys"]
        assert (each["state"] == "ok") is not bool(each["lacks"])
    assert found["facts"]["kernel"] in on_machine({}, folder, "doctor").out


def test_the_doctor_leaves_nothing_behind(folder: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    names = {path.name for path in Path(tempfile.gettempdir()).glob("plughost-doctor-*")}
    found = on_machine({}, folder, "doctor")
    assert found.err == ""
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert {path.name for path in Path(tempfile.gettempdir()).glob("plughost-doctor-*")} <= names
    ours = f"XDG_CONFIG_HOME={folder / 'config'}"
    for process in psutil.process_iter():
        try:
            told = process.environ()
        except psutil.Error:
            continue
        assert ours not in [f"{name}={value}" for name, value in told.items()]


# Machines that refuse


def test_where_namespaces_are_refused_the_doctor_says_what_to_do(folder: Path) -> None:
    found = on_machine(DOCKER, folder, "doctor", "--json")
    assert found.code == 1
    namespaces = row(found.json, "namespaces")
    assert (namespaces["state"], namespaces["errno"]) == ("missing", errno.EPERM)
    assert "unshare" in namespaces["lacks"]
    assert namespaces["remedies"]
    assert "needs namespaces" in row(found.json, "mounts")["lacks"]
    assert row(found.json, "seccomp")["state"] == "ok"
    verdict = found.json["verdict"]
    assert (verdict["default_plan"], verdict["network"]) == (False, False)
    assert "namespaces" in verdict["without"]
    assert "mounts" not in verdict["without"]  # it goes with the namespaces
    shown = on_machine(DOCKER, folder, "doctor")
    assert shown.code == 1
    assert "net:connect can be granted: no" in shown.out
    assert f"plughost run {' '.join(waivers(verdict['without']))}" in shown.out


@pytest.mark.parametrize("calls", [DOCKER, NO_LANDLOCK, LANDLOCK_OFF, NO_MOUNTS, OLD_MOUNTS])
def test_with_the_waivers_that_the_doctor_names_a_plugin_runs(
    calls: Mapping[str, int], folder: Path, plugin: Path
) -> None:
    found = on_machine(calls, folder, "doctor", "--json")
    assert found.code == 1
    named = waivers(found.json["verdict"]["without"])
    call = ["call", "echo.echo", "--dir", plugin, "text=hello"]
    refused = on_machine(calls, folder, *call)
    assert refused.code != 0
    ran = on_machine(calls, folder, *call, *named)
    assert ran.out == "hello\n"
    assert "warning: the sandbox is without" in ran.err


@pytest.mark.parametrize(
    ("calls", "layer", "reason"),
    [
        (DOCKER, "namespaces", "Operation not permitted"),
        (NO_MOUNTS, "mounts", "Permission denied"),
        (NO_LANDLOCK, "landlock", "this kernel has no Landlock"),
    ],
)
def test_a_plugin_is_refused_with_the_layer_the_reason_and_the_setting(
    calls: Mapping[str, int], layer: str, reason: str, folder: Path, plugin: Path
) -> None:
    refused = on_machine(calls, folder, "check", plugin, "--json")
    assert refused.code == 1
    (verdict,) = refused.json
    (problem,) = verdict["problems"]
    assert reason in problem
    assert f"--without {layer}" in problem
    assert f'Sandbox(without={{"{layer}"}})' in problem


@pytest.mark.parametrize(
    ("calls", "words"),
    [(NO_LANDLOCK, "CONFIG_SECURITY_LANDLOCK"), (LANDLOCK_OFF, "lsm=landlock,")],
)
def test_a_kernel_without_landlock_is_told_from_one_that_does_not_use_it(
    calls: Mapping[str, int], words: str, folder: Path
) -> None:
    found = on_machine(calls, folder, "doctor", "--json").json
    assert words in row(found, "landlock")["remedies"][0]
    assert found["verdict"]["without"] == ["landlock"]
    assert found["verdict"]["untrusted"]  # the view holds the files
    assert found["landlock_abi"] == 0


def test_without_pidfds_plugins_start_all_the_same(folder: Path, plugin: Path) -> None:
    found = on_machine(NO_PIDFD, folder, "doctor", "--json")
    assert row(found.json, "pidfd")["state"] == "partial"
    assert found.code == on_machine(NO_PIDFD, folder, "check", plugin).code


def test_a_check_with_less_warns_and_an_unknown_layer_is_wrong_usage(
    folder: Path, plugin: Path
) -> None:
    checked = on_machine({}, folder, "check", plugin, "--without", "landlock", "--json")
    assert "landlock" in json.loads(checked.err)["warning"]
    assert on_machine({}, folder, "check", plugin, "--without", "moat").code == 2


# What may explain a refusal


def test_apparmors_restriction_is_answered_with_a_profile_before_the_sysctl() -> None:
    ubuntu = Facts(
        "6.8", "x86_64", "/opt/venv/bin/python3", user=1000, apparmor_restricts_userns=True
    )
    uid_map = Finding("namespaces", False, "write uid_map", errno.EPERM, "namespaces")
    profile, sysctl = remedies_for(uid_map, ubuntu)
    assert "plughost doctor --apparmor-profile" in profile
    assert "sysctl" not in profile
    assert "apparmor_restrict_unprivileged_userns=0" in sysctl
    text = apparmor_profile(ubuntu.interpreter)
    assert 'profile plughost "/opt/venv/bin/python3" flags=(unconfined) {\n  userns,\n' in text


def test_the_profile_that_is_printed_names_the_real_interpreter(folder: Path) -> None:
    printed = on_machine({}, folder, "doctor", "--apparmor-profile")
    assert printed.code == 0
    assert f'profile plughost "{Path(sys.executable).resolve()}"' in printed.out


@pytest.mark.parametrize(
    ("finding", "facts", "words"),
    [
        (
            Finding("namespaces", False, "unshare", errno.ENOSPC, "namespaces"),
            {"max_user_namespaces": 0},
            "sysctl -w user.max_user_namespaces=15000",
        ),
        (REFUSED, {"userns_clone": False}, "kernel.unprivileged_userns_clone=1"),
        (REFUSED, {"is_chrooted": True}, "leave the chroot"),
        (REFUSED, {"container": "docker"}, "docker run --user 1000:1000 --security-opt seccomp="),
        (REFUSED, {"container": "podman"}, "podman run"),
        (REFUSED, {"container": "kubernetes"}, "seccompProfile: {type: Unconfined}"),
        (REFUSED, {"is_filtered": True, "has_systemd": True}, "RestrictNamespaces="),
        (REFUSED, {}, "journalctl -k"),
        (REFUSED, {"user": 0, "container": "docker"}, "start it as an ordinary user"),
        (
            Finding("namespaces", False, "unshare", errno.EINVAL, "namespaces"),
            {},
            "CONFIG_USER_NS",
        ),
        (
            Finding("mounts", False, "mount a tmpfs", errno.EACCES, "mounts"),
            {"apparmor_label": "docker-default (enforce)", "container": "docker"},
            "another AppArmor profile than docker-default (enforce)",
        ),
        (
            Finding("mounts", False, "bind /usr/lib", errno.ENOSYS, "mounts"),
            {},
            "5.12 and later",
        ),
        (
            Finding("landlock", False, "create the ruleset", errno.EOPNOTSUPP, "landlock"),
            {"security_modules": ("capability", "yama")},
            "lsm=landlock,capability,yama",
        ),
        (Finding("seccomp", False, "install", errno.EINVAL, "seccomp"), {}, "CONFIG_SECCOMP"),
        (
            Finding("seccomp", False, "no table", 0, "seccomp"),
            {"architecture": "riscv64"},
            "x86_64 or aarch64",
        ),
        (Finding("uid", False, "no user ids", 0, "uid"), {"user": 0}, "/etc/subuid"),
        (
            Finding("capabilities", False, "capset", errno.EPERM, "capabilities"),
            {"user": 0, "capabilities": 1 << 6 | 1 << 7},
            "ordinary user",
        ),
    ],
)
def test_the_first_remedy_follows_from_the_errno_and_the_facts(
    finding: Finding, facts: dict[str, Any], words: str
) -> None:
    known = {name: getattr(USER, name) for name in Facts.__dataclass_fields__} | facts
    assert words in remedies_for(finding, Facts(**known))[0]


def test_what_is_found_well_needs_no_remedy() -> None:
    assert remedies_for(Finding("seccomp", True), USER) == ()


def test_on_another_system_it_says_that_nothing_is_enforced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _elsewhere(Output(), "Darwin") == 1
    assert "no file, no connection, no process" in capsys.readouterr().out
    assert _elsewhere(Output(json=True), "Windows") == 1
    assert json.loads(capsys.readouterr().out)["verdict"]["default_plan"] is False
