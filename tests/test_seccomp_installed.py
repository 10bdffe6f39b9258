"""The filters of system calls, installed: what works under them, and what the kernel answers."""

import json
import os
import platform
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import pytest

from plughost.sandbox.seccomp import Filter, SyscallRules, template_filter, worker_filter
from plughost.sandbox.syscalls import MACHINES

EPERM, ENOTTY, ENOSYS = 1, 25, 38
NOBODY: Final = 65534
CHILD: Final = Path(__file__).with_name("seccomp_child.py").read_text()

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINES,
    reason="needs Linux on a machine whose calls are known",
)


def runs(interpreter: str, user: int | None) -> bool:
    command = [interpreter, "-I", "-c", "import ctypes, sqlite3, ssl"]
    try:
        done = subprocess.run(command, user=user, cwd="/", capture_output=True, timeout=30)
    except OSError:
        return False
    return done.returncode == 0


@pytest.fixture(params=["as the tests run", "as nobody"])
def as_user(request: pytest.FixtureRequest) -> tuple[str, int | None]:
    """An interpreter, and the user id to run it with."""
    if request.param == "as the tests run":
        return sys.executable, None
    if os.geteuid() != 0:
        pytest.skip("only root can run a child as another user; the other case ran as one")
    for interpreter in (sys.executable, "/usr/bin/python3"):
        if runs(interpreter, NOBODY):
            return interpreter, NOBODY
    pytest.skip("no interpreter that nobody may run: install python3")


def in_child(
    task: str,
    made: Filter | None,
    as_user: tuple[str, int | None] = (sys.executable, None),
    **more: int,
) -> subprocess.CompletedProcess[str]:
    interpreter, user = as_user
    given: dict[str, Any] = {
        "program": made.program.hex() if made else "",
        "slots": made.pid_slots if made else (),
        "numbers": dict(MACHINES[platform.machine()].numbers),
        **more,
    }
    return subprocess.run(
        [interpreter, "-I", "-c", CHILD, task, json.dumps(given)],
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        env={"LANG": "C.UTF-8", "TMPDIR": "/tmp"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@on_linux
@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("process", [False, True])
def test_ordinary_work_is_done_under_the_filter(
    as_user: tuple[str, int | None], network: bool, process: bool
) -> None:
    rules = SyscallRules(network=network, process=process)
    assert answer(in_child("work", worker_filter(rules), as_user)) == "ok"


@on_linux
def test_numpy_works_under_the_filter() -> None:
    for interpreter in (sys.executable, f"{sys.base_prefix}/bin/python3", "/usr/bin/python3"):
        probe = subprocess.run([interpreter, "-I", "-c", "import numpy"], capture_output=True)
        if probe.returncode == 0:
            done = in_child("numpy", worker_filter(SyscallRules()), (interpreter, None))
            assert answer(done) == 64.0**3
            return
    pytest.skip("no interpreter here has numpy: pip install numpy")


@on_linux
def test_what_a_worker_is_refused_would_have_been_answered_otherwise(
    as_user: tuple[str, int | None],
) -> None:
    refused = answer(in_child("attempts", worker_filter(SyscallRules()), as_user))
    other = {
        "make a ring": -ENOSYS,
        "clone by structure": -ENOSYS,
        "open by structure": -ENOSYS,
        "type into the terminal": -ENOTTY,
    }
    assert refused == {name: other.get(name, -EPERM) for name in refused}
    assert len(refused) > 40


@on_linux
def test_without_the_filter_the_same_calls_get_past_the_entrance() -> None:
    free = answer(in_child("attempts", None))
    refused = answer(in_child("attempts", worker_filter(SyscallRules())))
    same = {name for name in free if free[name] == refused[name]}
    # A file is no terminal for the kernel either; root may do what these ask, others may not.
    not_shown = {"type into the terminal"}
    if os.geteuid() != 0:
        not_shown |= {
            "mount",
            "change the root",
            "own a file",
            "signal another",
            "limits of another",
        }
    assert same <= not_shown


@on_linux
def test_a_program_cannot_be_started_and_the_error_is_a_plain_one(
    as_user: tuple[str, int | None],
) -> None:
    started = answer(in_child("start", worker_filter(SyscallRules()), as_user))
    assert started == {"fork": "EPERM", "subprocess": "PermissionError"}


@on_linux
def test_programs_run_where_they_are_granted(as_user: tuple[str, int | None]) -> None:
    done = in_child("programs", worker_filter(SyscallRules(process=True)), as_user)
    assert answer(done) == {
        "shell": True,
        "python": "42",
        "signal": 15,
        "loop": "loop",
        "namespace": -EPERM,
        "execveat": -EPERM,
    }


@on_linux
def test_a_connection_is_made_where_it_is_granted(as_user: tuple[str, int | None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(40)

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(16))

        echoing = threading.Thread(target=echo)
        echoing.start()
        made = worker_filter(SyscallRules(network=True))
        done = in_child("network", made, as_user, port=server.getsockname()[1])
        echoing.join()
    assert answer(done) == {"stream": "hello", "sent": 1, "refused": [-EPERM]}


@on_linux
@pytest.mark.skipif(platform.machine() != "x86_64", reason="a trap of x86_64")
@pytest.mark.parametrize(
    "made", [worker_filter, lambda _: template_filter()], ids=["worker", "template"]
)
@pytest.mark.parametrize("task", ["int80", "x32"])
def test_a_call_by_another_entrance_is_death(task: str, made: Any) -> None:
    free = in_child(task, None)
    if task == "int80" and free.returncode != 0:
        pytest.skip("this kernel has no 32-bit calls: nothing to show")
    assert free.returncode == 0
    assert in_child(task, made(SyscallRules())).returncode == -31  # SIGSYS


@on_linux
def test_the_template_filter_hinders_no_ordinary_work() -> None:
    assert answer(in_child("work", template_filter())) == "ok"
