"""The plan of a sandbox: computed without a process, and what a worker then finds."""

import dataclasses
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from plughost import Host, HostConfig, PluginConfig, Restart
from plughost.config import Layer, Limits, Sandbox
from plughost.errors import PlughostError
from plughost.lifecycle.plugin import HostedPlugin
from plughost.sandbox.interpreter import find_interpreter
from plughost.sandbox.landlock import EXECUTE, LandlockFeatures
from plughost.sandbox.machine import Machine
from plughost.sandbox.plan import (
    Access,
    NetworkNeeds,
    PlanRefused,
    SandboxPlan,
    make_plan,
    template_confinement,
)
from plughost.sandbox.seccomp import UnsupportedMachine
from plughost.sandbox.view import FileSystem
from plughost_protocol.confinement import Listener

from .conftest import MakePlugin, trusting
from .plugins.zoo import until

LANDLOCK: Final = LandlockFeatures(7, (1 << 16) - 1, 3, 3)
USER: Final = Machine(1000, 1000, "x86_64", LANDLOCK)
ROOT: Final = Machine(0, 0, "x86_64", LANDLOCK)
NEW_USER, NEW_PIDS, NEW_MOUNTS, NEW_NETWORK = 0x1000_0000, 0x2000_0000, 0x0002_0000, 0x4000_0000
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
NETWORK: Final = NetworkNeeds(
    ("api.example.com:443",),
    (Listener("tcp", "127.64.0.1", 443),),
    (443,),
    {"/etc/hosts": "127.64.0.1 api.example.com\n"},
)


def plan(
    folder: Path,
    machine: Machine = USER,
    access: Access | None = None,
    sandbox: Sandbox | None = None,
    plugin_id: str = "weather",
) -> SandboxPlan:
    (folder / "plugin").mkdir(exist_ok=True)
    return make_plan(
        plugin_id,
        folder / "plugin",
        folder / "data",
        access or Access(),
        Limits(),
        sandbox or Sandbox(),
        find_interpreter(),
        machine,
    )


def test_the_plan_of_a_plugin_that_is_not_on_disk_has_its_data_folder_only(
    tmp_path: Path,
) -> None:
    of_a_folder = plan(tmp_path)
    data = str(tmp_path / "data")
    of_a_text = make_plan(
        "weather",
        None,
        tmp_path / "data",
        Access(),
        Limits(),
        Sandbox(),
        find_interpreter(),
        USER,
    )
    gone = {place.path for place in of_a_folder.places} - {p.path for p in of_a_text.places}
    assert gone == {str(tmp_path / "plugin")}
    assert (of_a_text.working_folder, of_a_text.data_folder) == (data, data)


def without(*layers: Layer) -> Sandbox:
    return Sandbox(frozenset(layers))


# Without a process


def test_a_plan_is_frozen_equal_to_its_like_and_tells_all(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert made == plan(tmp_path)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.user = 0  # type: ignore[misc] # the point
    for told in ("weather", str(tmp_path / "data"), "landlock", "PATH"):
        assert told in repr(made)


def test_an_ordinary_user_gets_a_user_namespace_and_root_gets_ids(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ours, roots = plan(tmp_path), plan(tmp_path, ROOT)
    assert (ours.user, Layer.UID in ours.layers) == (None, False)
    assert ours.confinement().namespaces & NEW_USER
    assert not roots.confinement().namespaces & NEW_USER
    assert roots.confinement().ids == (roots.user, roots.user)
    assert roots.user
    assert roots.user > 1000
    other = plan(tmp_path, ROOT, plugin_id="other").user
    assert other != roots.user == plan(tmp_path, ROOT).user


def test_the_template_makes_the_process_ids_and_root_keeps_few_powers(tmp_path: Path) -> None:
    made = template_confinement(Sandbox(), USER)
    assert made.namespaces & NEW_USER
    assert made.namespaces & NEW_PIDS
    assert (made.keep_capabilities, bool(made.filter)) == (0, True)
    roots = template_confinement(Sandbox(), ROOT)
    assert not roots.namespaces & NEW_USER
    assert 0 < roots.keep_capabilities.bit_count() <= 10


def test_in_a_container_ids_come_out_of_its_map_or_the_plan_is_refused(tmp_path: Path) -> None:
    mapped = dataclasses.replace(ROOT, id_map=((0, 1), (1, 65535)))
    user = plan(tmp_path, mapped).user
    assert user is not None
    assert 32768 <= user < 65536
    alone = dataclasses.replace(ROOT, id_map=((0, 1),))
    with pytest.raises(PlanRefused, match="maps only its root") as refused:
        plan(tmp_path, alone)
    assert refused.value.layer is Layer.UID
    assert "--without uid" in str(refused.value)
    assert plan(tmp_path, alone, sandbox=without(Layer.UID)).user is None


def test_without_landlock_in_the_kernel_the_plan_is_refused_unless_it_is_waived(
    tmp_path: Path,
) -> None:
    machine = dataclasses.replace(USER, landlock=LandlockFeatures(0))
    with pytest.raises(PlanRefused, match="no Landlock") as refused:
        plan(tmp_path, machine)
    assert refused.value.layer is Layer.LANDLOCK
    assert 'Sandbox(without={"landlock"})' in str(refused.value)
    made = plan(tmp_path, machine, sandbox=without(Layer.LANDLOCK))
    assert made.confinement().landlock is None


def test_the_first_landlock_will_do_with_a_view_and_not_without(tmp_path: Path) -> None:
    machine = dataclasses.replace(USER, landlock=LandlockFeatures(1, (1 << 13) - 1))
    (tmp_path / "data").mkdir()
    rules = plan(tmp_path, machine).confinement().landlock
    assert rules is not None
    assert (rules.handled_net, rules.scoped) == (0, 0)
    assert all(access & TRUNCATE == 0 for _, access in rules.paths)
    with pytest.raises(PlanRefused, match="truncation"):
        plan(tmp_path, machine, sandbox=without(Layer.MOUNTS))


def test_landlock_gives_writing_to_the_data_folder_and_execution_to_nobody(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    rules = plan(tmp_path).confinement().landlock
    assert rules is not None
    writable = {path for path, access in rules.paths if access & WRITE_FILE}
    assert {path for path in writable if not path.startswith("/dev/")} == {
        str(tmp_path / "data"),
        "/tmp",
    }
    assert not [path for path, access in rules.paths if access & EXECUTE]
    programs = plan(tmp_path, access=Access(processes=True)).confinement().landlock
    assert programs is not None
    may_run = {path for path, access in programs.paths if access & EXECUTE}
    assert os.path.realpath("/usr/bin") in may_run
    assert not may_run & writable


def test_on_a_machine_without_a_table_seccomp_must_be_waived(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert plan(tmp_path, dataclasses.replace(USER, architecture="aarch64")).confinement().filter
    machine = dataclasses.replace(USER, architecture="riscv64")
    with pytest.raises(UnsupportedMachine, match="riscv64"):
        plan(tmp_path, machine).confinement()
    waived = plan(tmp_path, machine, sandbox=without(Layer.SECCOMP)).confinement()
    assert (waived.filter, waived.pid_slots) == (b"", [])


def test_without_namespaces_there_is_no_view_and_no_user_to_count_processes_of(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    made = plan(tmp_path, sandbox=without(Layer.NAMESPACES))
    assert made.layers == {Layer.LANDLOCK, Layer.SECCOMP}
    assert (made.view, made.confinement().namespaces) == (None, 0)
    assert not made.system_calls.mount_view
    assert made.environment["TMPDIR"] == str(tmp_path / "data")
    assert resource.RLIMIT_NPROC not in dict(made.rlimits)
    assert resource.RLIMIT_NPROC in dict(plan(tmp_path).rlimits)


@pytest.mark.parametrize("layer", [Layer.NAMESPACES, Layer.MOUNTS, Layer.SECCOMP])
def test_the_network_is_refused_where_a_layer_that_it_needs_is_waived(
    layer: Layer, tmp_path: Path
) -> None:
    access = Access(network=NETWORK)
    with pytest.raises(PlanRefused, match="net:connect needs the layers"):
        plan(tmp_path, access=access, sandbox=without(layer))


def test_a_granted_host_is_a_listener_a_port_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    made = plan(tmp_path, access=Access(network=NETWORK)).confinement()
    assert made.listeners == list(NETWORK.listeners)
    assert made.landlock is not None
    assert made.landlock.connect_ports == [443]
    assert made.view is not None
    assert made.view.files == NETWORK.files


def test_a_limit_is_never_above_the_hosts_own_hard_limit(tmp_path: Path) -> None:
    code = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (100, 100)); "
        "from pathlib import Path; from tests.test_plan import plan; "
        "print(dict(plan(Path(sys.argv[1])).rlimits)[r.RLIMIT_NOFILE])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "100\n"


def test_the_environment_is_an_allow_list(tmp_path: Path) -> None:
    given = set(plan(tmp_path).environment)
    assert given == {
        "HOME",
        "LANG",
        "MALLOC_ARENA_MAX",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "TMPDIR",
        "TZ",
    }
    name = next(name for name in os.environ if name not in given)
    granted = plan(tmp_path, access=Access(variables=(name, "NOT_SET_ANYWHERE")))
    assert set(granted.environment) == {*given, name}


# Places and links


def test_a_link_on_the_way_is_shown_as_a_link_and_its_target_is_bound(tmp_path: Path) -> None:
    (tmp_path / "releases" / "7").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/7")
    files = FileSystem()
    files.add(str(tmp_path / "current"), writable=True)
    view = files.view(1024)
    assert view.links == {str(tmp_path / "current"): "releases/7"}
    assert [(bind.path, bind.writable) for bind in view.binds if not bind.device] == [
        (str(tmp_path / "releases" / "7"), True)
    ]


def test_the_parent_of_a_link_is_that_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "far" / "secret").mkdir()
    (tmp_path / "short").symlink_to("far/away")
    (tmp_path / "link").symlink_to("short/../secret")
    files = FileSystem()
    files.add(str(tmp_path / "link"))
    (place,) = files.places
    assert place == str(tmp_path / "far" / "secret") == os.path.realpath(tmp_path / "link")


def test_a_circle_of_links_and_a_path_that_is_not_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    files = FileSystem()
    with pytest.raises(PlughostError, match="too many symbolic links"):
        files.add(str(tmp_path / "a"))
    with pytest.raises(PlughostError, match="No such file"):
        files.add(str(tmp_path / "missing"))
    files.add(str(tmp_path / "missing"), optional=True)
    assert files.places == {}


def test_a_place_inside_another_is_bound_only_if_it_is_different(tmp_path: Path) -> None:
    for name in ("outer/same", "outer/data", "outer-not"):
        (tmp_path / name).mkdir(parents=True)
    files = FileSystem()
    files.add(str(tmp_path / "outer" / "same"))
    files.add(str(tmp_path / "outer" / "data"), writable=True)
    files.add(str(tmp_path / "outer-not"))
    files.add(str(tmp_path / "outer"))
    bound = [place.path.removeprefix(f"{tmp_path}/") for place in files.bound()]
    assert sorted(bound) == ["outer", "outer-not", "outer/data"]
    assert bound.index("outer") < bound.index("outer/data")


# What a worker finds

PEEK: Final = """
from plughost_sdk import Plugin, tool

class Peek(Plugin):
    @tool
    def peek(self, code: str) -> object:
        found = {}
        exec("import os, socket\\n" + code, found)
        return found["answer"]
"""


@asynccontextmanager
async def running(folders: Path, state: Path, **settings: Any) -> AsyncIterator[Host]:
    config = trusting(state_folder=state, **settings)
    async with Host([folders], config) as host:
        assert host.problems == {}
        yield host


def plan_of(host: Host) -> SandboxPlan:
    """As its next worker will have it."""
    return host.plugin("peek")._edition.quarters.plan()


def is_there(path: str) -> bool:
    return Path(path).exists()


async def peek(host: Host, code: str, plugin: str = "peek") -> Any:
    return await host.call(f"{plugin}.peek", {"code": code})


def inner_pid(plugin: HostedPlugin) -> list[int]:
    """A worker's numbers: in our namespace, and in its own."""
    for line in Path(f"/proc/{plugin.pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return [int(number) for number in line.split()[1:]]
    raise AssertionError("this kernel has no process id namespaces")


@pytest.mark.anyio
async def test_a_worker_sees_its_view_and_nothing_else(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folders = make_plugin("peek", PEEK)
    (tmp_path / "secret").write_text("not for plugins")
    async with running(folders, tmp_path / "state") as host:
        # It may not even list it.
        names = os.listdir("/")  # noqa: PTH208
        code = f"answer = [name for name in {names!r} if os.path.lexists('/' + name)]"
        top = set(await peek(host, code))
        plan = plan_of(host)
        assert plan.view is not None
        wanted = [*plan.view.links, *(bind.path for bind in plan.view.binds), "/tmp"]
        assert top == {path.split("/")[1] for path in wanted}
        assert "proc" not in top
        code = f"answer = [os.path.exists(path) for path in {[str(tmp_path / 'secret')]!r}]"
        assert await peek(host, code) == [False]
        assert await peek(host, "answer = [os.getpid() < 10, os.getppid() < 10]") == [True, True]


@pytest.mark.anyio
async def test_a_worker_has_the_plans_environment_user_and_host_name(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folders = make_plugin("peek", PEEK)
    async with running(folders, tmp_path / "state") as host:
        plan = plan_of(host)
        assert await peek(host, "answer = dict(os.environ)") == dict(plan.environment)
        ids = await peek(host, "answer = [*os.getresuid(), *os.getresgid()]")
        user = os.getuid() if plan.user is None else plan.user
        group = os.getgid() if plan.user is None else plan.user
        assert ids == [user] * 3 + [group] * 3
        assert await peek(host, "answer = socket.gethostname()") == "plugin"


@pytest.mark.anyio
async def test_tmp_goes_with_the_worker_and_data_stays(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folders = make_plugin("peek", PEEK)
    write = """
for folder in ("/tmp", os.environ["HOME"]):
    with open(folder + "/kept", "w") as file:
        file.write("here")
answer = None
"""
    read = "answer = [os.path.exists(f + '/kept') for f in ('/tmp', os.environ['HOME'])]"
    async with running(folders, tmp_path / "state") as host:
        await peek(host, write)
        assert await peek(host, read) == [True, True]
        await host.plugin("peek").stop()
        await host.plugin("peek").start()
        assert await peek(host, read) == [False, True]
    assert (tmp_path / "state" / "data" / "peek" / "kept").read_text() == "here"
    assert not is_there("/tmp/kept")


# Template processes


@pytest.mark.anyio
async def test_each_plugin_has_a_process_id_namespace_of_its_own(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("peek", PEEK)
    folders = make_plugin("other", PEEK)
    async with running(folders, tmp_path / "state") as host:
        numbers = [inner_pid(plugin) for plugin in host.plugins.values()]
        outer, inner = zip(*numbers, strict=True)
        assert len(set(outer)) == 2
        assert len(set(inner)) == 1  # the same number twice: not in one namespace


@pytest.mark.anyio
async def test_a_shared_template_has_one_namespace_for_all(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("peek", PEEK)
    folders = make_plugin("other", PEEK)
    async with running(folders, tmp_path / "state", shared_template=True) as host:
        numbers = [inner_pid(plugin) for plugin in host.plugins.values()]
        assert len({inner for _, inner in numbers}) == 2


def powers(pid: int) -> dict[str, int]:
    """The capability sets of a process, and its seccomp mode."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    sets = {name: int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    return sets | {"Seccomp": int(fields["Seccomp"])}


@pytest.mark.anyio
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's template has none to give up")
async def test_roots_template_keeps_what_it_needs_and_its_worker_nothing(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    async with running(make_plugin("peek", PEEK), tmp_path / "state") as host:
        plugin = host.plugin("peek")
        kept = template_confinement(Sandbox(), ROOT).keep_capabilities
        held = powers(plugin.template_pid or 0)
        assert all(held[name] & ~kept == 0 for name in ("CapPrm", "CapEff", "CapBnd"))
        assert (held["CapAmb"], held["Seccomp"]) == (0, 2)
        assert powers(plugin.pid or 0) == {
            **dict.fromkeys(("CapPrm", "CapEff", "CapBnd", "CapAmb"), 0),
            "Seccomp": 2,
        }


@pytest.mark.anyio
@pytest.mark.parametrize("shared", [False, True])
async def test_a_killed_template_takes_its_workers_along_and_is_replaced(
    shared: bool, make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folders = make_plugin("peek", PEEK)
    settings = {"shared_template": shared, "restart": Restart(backoff=0.01, jitter=0.0)}
    async with running(folders, tmp_path / "state", **settings) as host:
        plugin = host.plugin("peek")
        before, worker = plugin.pid, plugin.worker
        assert before is not None
        assert worker is not None
        template = worker_template(before)
        os.kill(template, signal.SIGKILL)
        await until(lambda: worker.exit is not None and plugin.active_worker is not None)
        assert plugin.pid != before
        assert not is_there(f"/proc/{before}")
        assert plugin.restarts == 1
        assert await peek(host, "answer = 1 + 1") == 2


def worker_template(pid: int) -> int:
    """The process that the worker was forked from."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    raise AssertionError(pid)


@pytest.mark.anyio
async def test_one_plugin_may_have_less_of_a_sandbox_than_the_others(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("peek", PEEK)
    folders = make_plugin("other", PEEK)
    trusted = PluginConfig(sandbox=without(Layer.SECCOMP))
    async with running(folders, tmp_path / "state", plugins={"peek": trusted}) as host:
        code = """
try:
    os.memfd_create("x")
    answer = True
except OSError:
    answer = False
"""
        assert await peek(host, code) is True
        assert await peek(host, code, "other") is False
        told = [entry.message for entry in host.plugin("peek").log.entries]
        assert "it starts without seccomp of the sandbox" in told


def test_a_sandbox_without_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PlughostError, match="there are uid, namespaces"):
        HostConfig(sandbox=Sandbox(frozenset({"moat"})))  # type: ignore[arg-type] # the point
    assert Sandbox(frozenset({Layer.NAMESPACES})).waived == (Layer.NAMESPACES, Layer.MOUNTS)
