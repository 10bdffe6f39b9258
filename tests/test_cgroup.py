"""Groups that the kernel holds to their limits: real ones where they can be made."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import psutil
import pytest

from plughost import Cause, HostMisuse, Limits, Totals
from plughost.catalog.manifest import read_manifest
from plughost.errors import ManifestError
from plughost.exits import WorkerExit
from plughost.sandbox.cgroup import Cgroup, CgroupError, CgroupTree, NoCgroup, Tenancy
from plughost.sandbox.cgroup.places import Place, find_places
from plughost.sandbox.cgroup.v2 import CgroupV2
from plughost.supervision.pipes import WorkerPipes
from plughost.supervision.process import Process
from plughost.supervision.watch import ResourceWatch

LIMITS: Final = Limits(memory=64_000_000, cpu=0.5, processes=10)
PATIENCE: Final = 30.0

# A child waits for a line before it begins, so that it can be moved into its group first.
BEGIN: Final = "import mmap, os, sys, time\nprint('there', flush=True)\nsys.stdin.readline()\n"
HEAP_BOMB: Final = "kept = []\nwhile True: kept.append(b'x' * 1_000_000)"
SHARED_BOMB: Final = (
    "shared = mmap.mmap(-1, 500_000_000)\n"
    "for at in range(0, len(shared), 1_000_000): shared[at : at + 1_000_000] = b'x' * 1_000_000"
)
TMPFS_BOMB: Final = (
    "with open('/dev/shm/plughost-test', 'wb') as file:\n"
    "    os.unlink(file.name)\n"
    "    while True: file.write(b'x' * 1_000_000)"
)


@pytest.fixture
def tree() -> Generator[CgroupTree]:
    found = CgroupTree.find()
    if isinstance(found, NoCgroup):
        pytest.skip(str(found))
    yield found
    found.close()


@contextmanager
def child(code: str) -> Generator[subprocess.Popen[str]]:
    """A process that waits for a line, then runs the code."""
    command = [sys.executable, "-I", "-S", "-c", BEGIN + code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
            yield process
        finally:
            process.kill()


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# What the kernel does


@pytest.mark.parametrize("bomb", [HEAP_BOMB, SHARED_BOMB, TMPFS_BOMB])
def test_a_memory_bomb_dies_alone_and_its_end_is_told_as_the_limit(
    tree: CgroupTree, bomb: str
) -> None:
    group = tree.create("bomb", LIMITS)
    tenancy = Tenancy(group, LIMITS.memory)
    with child("time.sleep(60)") as neighbour, child(bomb) as victim:
        group.add(neighbour.pid)
        group.add(victim.pid)
        Path(f"/proc/{victim.pid}/oom_score_adj").write_text("1000")
        assert tenancy.memory_verdict() is None
        begin(victim)
        assert victim.wait(PATIENCE) == -signal.SIGKILL
        assert neighbour.poll() is None
        assert group.oom_kills() == 1
        assert group.memory_peak() <= LIMITS.memory
        verdict = tenancy.memory_verdict()
    assert verdict is not None
    end = WorkerExit(*verdict, code=victim.returncode)
    assert end.cause is Cause.MEMORY
    assert str(end) == "memory limit 64 MB exceeded (peak 64 MB)"


def test_a_file_larger_than_the_memory_limit_is_written_and_read(
    tree: CgroupTree, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    code = (
        f"with open({str(path)!r}, 'wb') as file:\n"
        "    for _ in range(128): file.write(b'x' * 1_000_000)\n"
        f"with open({str(path)!r}, 'rb') as file:\n"
        "    while file.read(1_000_000): pass\n"
        "print('done', flush=True)\n"
        "time.sleep(60)"
    )
    group = tree.create("reader", LIMITS)
    with child(code) as reader:
        group.add(reader.pid)
        begin(reader)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "done\n"
        assert group.oom_kills() == 0
        assert group.memory_peak() > group.memory()


def test_a_kill_by_somebody_else_is_not_told_as_the_memory_limit(tree: CgroupTree) -> None:
    group = tree.create("killed", LIMITS)
    tenancy = Tenancy(group, LIMITS.memory)
    with child("time.sleep(60)") as victim:
        group.add(victim.pid)
        victim.kill()
        assert victim.wait(PATIENCE) == -signal.SIGKILL
    assert tenancy.memory_verdict() is None


def test_the_next_worker_in_a_group_is_not_blamed_for_the_end_of_the_one_before(
    tree: CgroupTree,
) -> None:
    group = tree.create("bomb", LIMITS)
    first = Tenancy(group, LIMITS.memory)
    with child(HEAP_BOMB) as victim:
        group.add(victim.pid)
        begin(victim)
        victim.wait(PATIENCE)
    second = Tenancy(group, LIMITS.memory)
    assert first.memory_verdict() is not None
    assert second.memory_verdict() is None


def test_a_fork_bomb_stops_at_the_limit_of_processes(tree: CgroupTree) -> None:
    code = (
        "forked = 0\n"
        "try:\n"
        "    while os.fork(): forked += 1\n"
        "    time.sleep(60)\n"
        "except OSError as error: print(forked, error.strerror, flush=True)\n"
        "time.sleep(60)"
    )
    group = tree.create("forks", LIMITS)
    with child(code) as bomb:
        group.add(bomb.pid)
        begin(bomb)
        assert bomb.stdout is not None
        # With itself and the two that the template may have, as many as there may be.
        assert bomb.stdout.readline() == "11 Resource temporarily unavailable\n"
        assert group.processes() == 12
        group.kill()
        assert bomb.wait(PATIENCE) == -signal.SIGKILL


def test_a_loop_is_held_to_its_share_of_a_processor(tree: CgroupTree) -> None:
    code = (
        "begun, used = time.monotonic(), time.process_time()\n"
        "while time.process_time() < used + 0.3: pass\n"
        "print(time.monotonic() - begun, flush=True)"
    )
    group = tree.create("loop", replace(LIMITS, cpu=0.2))
    with child(code) as loop:
        group.add(loop.pid)
        begin(loop)
        assert loop.stdout is not None
        # 1.5 seconds' worth of its share; the first period's part comes at once.
        assert float(loop.stdout.readline()) > 1.0
        assert group.cpu_seconds() > 0.2


@pytest.mark.parametrize("share", [0.001, 0.005, 0.5, 1.5, 1000.0])
def test_any_share_of_the_processors_can_be_set(tree: CgroupTree, share: float) -> None:
    group = tree.create("share", LIMITS)
    group.limit_cpu(share)
    group.limit_cpu(0.3)
    assert "cpu" not in group.enforces or group.cpu_share == 0.3


def test_killing_a_group_ends_all_in_it_while_they_fork(tree: CgroupTree) -> None:
    group = tree.create("tree", replace(LIMITS, processes=64))
    with child("while True: os.fork() or os._exit(0)") as forks:
        group.add(forks.pid)
        begin(forks)
        group.kill()
        forks.wait(PATIENCE)
    assert group.remove(PATIENCE)
    assert not group.folder.exists()


def test_a_group_with_a_process_is_not_removed_and_one_that_is_gone_is(tree: CgroupTree) -> None:
    group = tree.create("busy", LIMITS)
    with child("") as process:
        group.add(process.pid)
        assert not group.remove(0)
    assert group.remove(PATIENCE)
    assert group.remove(0)


def test_moving_a_process_that_has_ended_is_no_error(tree: CgroupTree) -> None:
    group = tree.create("late", LIMITS)
    with child("") as process:
        pass
    group.add(process.pid)
    assert group.processes() == 0


def test_a_group_that_cannot_be_made_leaves_nothing_behind(tree: CgroupTree) -> None:
    with pytest.raises(CgroupError, match="making"):
        tree.create("no/such", LIMITS)
    for folder in tree.folders.values():
        assert list(folder.glob(f"plughost-{os.getpid()}-*")) == []


def test_groups_of_a_host_that_was_killed_are_swept_and_those_of_live_ones_stay(
    tree: CgroupTree,
) -> None:
    mine = tree.create("mine", LIMITS)
    code = (
        "from plughost import Limits\n"
        "from plughost.sandbox.cgroup import CgroupTree\n"
        "tree = CgroupTree.find()\n"
        "print(tree.create('theirs', Limits()).folder, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        theirs = Path(host.stdout.readline().strip())
        tree.sweep()
        assert theirs.exists()
        host.kill()
    assert tree.sweep() >= 1
    assert not theirs.exists()
    assert mine.folder.exists()


def test_groups_that_are_mounted_read_only_are_none_and_it_is_said_how_to_get_them() -> None:
    code = "from plughost.sandbox.cgroup import CgroupTree; print(CgroupTree.find())"
    script = (
        "awk '$0 ~ / - cgroup2? /{print $5}' /proc/self/mountinfo |"
        'while read -r mount; do mount -o remount,ro,bind "$mount" || exit; done &&'
        f"exec {sys.executable} -c '{code}'"
    )
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "mount" in result.stderr or "unshare" in result.stderr:
        pytest.skip(result.stderr.strip())
    assert "Read-only file system: " in result.stdout, result.stderr
    assert "in Docker with --security-opt writable-cgroups=true" in result.stdout


# What the watch does where the kernel keeps the limits


@dataclass(eq=False)
class Guest:
    """A process in a group, as the watch sees a worker."""

    process: Process
    limits: Limits
    tenancy: Tenancy | None
    held: bool = False
    is_busy: bool = True
    ends: list[tuple[Cause, str]] = field(default_factory=list)

    def end(self, cause: Cause, detail: str = "") -> None:
        self.ends.append((cause, detail))

    def check(self) -> None: ...
    def when_called(self, act: Callable[[], None], /) -> None: ...


@contextmanager
def guest(group: Cgroup, limits: Limits, process: subprocess.Popen[str]) -> Generator[Guest]:
    tenancy = Tenancy(group, limits.memory)
    tenancy.admit(process.pid)
    pipes = WorkerPipes()
    inner = Process(pipes, lambda: None, lambda number: None)
    inner.spawned(process.pid, os.pidfd_open(process.pid))
    try:
        yield Guest(inner, limits, tenancy)
    finally:
        inner.exited(0, 0, 0.0)
        pipes.close()


def test_the_watch_shows_the_memory_of_a_group_and_leaves_the_limit_to_the_kernel(
    tree: CgroupTree,
) -> None:
    code = (
        "kept = mmap.mmap(-1, 40_000_000)\nkept[:] = b'x' * len(kept)\n"
        "print('full', flush=True)\ntime.sleep(60)"
    )
    limits = replace(LIMITS, memory=100_000_000)
    group = tree.create("guest", limits)
    # The watch believes in less than the group has: by itself it would end the worker.
    with child(code) as process, guest(group, replace(limits, memory=32_000_000), process) as one:
        watch = ResourceWatch(Totals(), time.monotonic, lambda: [one])
        begin(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        watch.look()
        usage = watch.usage(one)
        assert usage.memory > 40_000_000
        assert usage.processes == 1
        assert one.ends == []


def test_a_worker_is_admitted_whether_it_was_born_in_the_group_or_not(tree: CgroupTree) -> None:
    group = tree.create("template", LIMITS)
    tenancy = Tenancy(group, LIMITS.memory)
    code = "print(os.fork(), flush=True)\ntime.sleep(60)"
    with child(code) as template, child("") as stranger:
        group.add(template.pid)
        begin(template)
        assert template.stdout is not None
        born = {int(template.stdout.readline()) for _ in range(2)} - {0}
        tenancy.admit(born.pop())
        assert tenancy.residents == 1
        tenancy.admit(stranger.pid)
        assert stranger.pid in group.pids()
        assert tenancy.residents == 2
        group.kill()


def test_a_worker_whose_child_process_the_kernel_has_killed_is_ended_for_its_memory(
    tree: CgroupTree,
) -> None:
    code = (
        "if os.fork() == 0:\n"
        "    kept = []\n"
        "    while True: kept.append(b'x' * 1_000_000)\n"
        "os.wait()\nprint('alone', flush=True)\ntime.sleep(60)"
    )
    group = tree.create("parent", LIMITS)
    with child(code) as process, guest(group, LIMITS, process) as one:
        watch = ResourceWatch(Totals(), time.monotonic, lambda: [one])
        begin(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "alone\n"
        watch.look()
        assert one.ends == [(Cause.MEMORY, "memory limit 64 MB exceeded (peak 64 MB)")]


def test_where_the_kernel_holds_the_cpu_the_watch_stops_nobody(tree: CgroupTree) -> None:
    group = tree.create("loop", LIMITS)
    with child("while True: pass") as process, guest(group, LIMITS, process) as one:
        watch = ResourceWatch(Totals(cpu=0.25), time.monotonic, lambda: [one])
        begin(process)
        while watch.usage(one).cpu < 0.2:
            watch.look()
        watch.look()
        assert not one.held
        assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
        assert "cpu" not in group.enforces or group.cpu_share == 0.25


# Where groups stand


MOUNTS_V1: Final = """\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /proc rw,relatime - proc proc rw
"""


def test_places_are_the_own_group_in_each_mounted_hierarchy() -> None:
    places = find_places(MOUNTS_V1, "4:memory:/jobs/7\n3:cpu,cpuacct:/\n0::/jobs\n")
    assert places == [
        Place(Path("/sys/fs/cgroup/cpu,cpuacct"), frozenset({"cpu", "cpuacct"}), False),
        Place(Path("/sys/fs/cgroup/memory/jobs/7"), frozenset({"memory"}), False),
        Place(Path("/sys/fs/cgroup/unified/jobs"), frozenset(), True),
    ]


def test_a_mount_that_shows_part_of_a_hierarchy_is_entered_from_there() -> None:
    mounts = "41 31 0:38 /docker/a /mnt/my\\040groups ro - cgroup2 cgroup rw\n"
    assert find_places(mounts, "0::/docker/a/b\n") == [
        Place(Path("/mnt/my groups/b"), frozenset(), True)
    ]
    assert find_places(mounts, "0::/elsewhere\n") == []
    assert find_places("41 31 0:38 / /mnt rw - cgroup2 cgroup rw\n", "0::/../up\n") == []


def test_without_a_memory_controller_there_are_no_groups_and_it_is_said_how_to_get_them(
    tmp_path: Path,
) -> None:
    found = CgroupTree.locate([unified(tmp_path, controllers="cpu pids")])
    assert isinstance(found, NoCgroup)
    assert "memory controller" in str(found)
    assert "systemd-run --user --scope -p Delegate=yes" in str(found)
    assert isinstance(CgroupTree.locate([]), NoCgroup)


# Version 2: a folder stands for the unified mount


def unified(
    folder: Path,
    controllers: str = "cpuset cpu memory pids",
    enabled: str = "",
    processes: Iterable[int] = (),
) -> Place:
    """A folder with the files that the kernel puts into a group."""
    folder.mkdir(exist_ok=True)
    (folder / "cgroup.controllers").write_text(controllers + "\n")
    (folder / "cgroup.subtree_control").write_text(enabled)
    (folder / "cgroup.type").write_text("domain\n")
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in processes))
    return Place(folder, frozenset(), True)


def test_a_delegated_group_is_prepared_and_the_host_moves_out_of_the_way(tmp_path: Path) -> None:
    leaf = tmp_path / "plughost-host"
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text("")
    found = CgroupTree.locate([unified(tmp_path, processes=[os.getpid()])])
    assert isinstance(found, CgroupTree)
    assert found.folders == dict.fromkeys(("memory", "cpu", "pids"), tmp_path)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    assert (leaf / "cgroup.procs").read_text() == str(os.getpid())


def test_a_second_host_in_the_same_delegated_group_uses_it_too(tmp_path: Path) -> None:
    unified(tmp_path, enabled="memory pids cpu")
    place = unified(tmp_path / "plughost-host", processes=[1, os.getpid()])
    found = CgroupTree.locate([place])
    assert isinstance(found, CgroupTree)
    assert found.folders["memory"] == tmp_path


def test_a_group_that_holds_somebody_elses_processes_is_left_alone(tmp_path: Path) -> None:
    found = CgroupTree.locate([unified(tmp_path, processes=[1, os.getpid()])])
    assert isinstance(found, NoCgroup)
    assert "holds 1 processes that are not the host's" in found.reason
    assert (tmp_path / "cgroup.subtree_control").read_text() == ""
    assert not (tmp_path / "plughost-host").exists()


def prepared_group(tmp_path: Path, **values: object) -> CgroupV2:
    names = ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cgroup.kill")
    contents = dict.fromkeys(names, "") | {key: str(value) for key, value in values.items()}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return CgroupV2(tmp_path, ("memory", "cpu", "processes"))


def contents(group: Cgroup, *names: str) -> list[str]:
    return [(group.folder / name).read_text() for name in names]


def test_the_limits_of_version_2_are_written_as_the_kernel_wants_them(tmp_path: Path) -> None:
    group = prepared_group(tmp_path)
    group.set_limits(replace(LIMITS, cpu=1.5))
    assert contents(group, "memory.max", "memory.swap.max") == ["64000000", "0"]
    assert contents(group, "cpu.max", "pids.max") == ["150000 100000", "12"]
    group.limit_cpu(0.005)
    assert contents(group, "cpu.max") == ["5000 1000000"]
    group.kill()
    assert contents(group, "cgroup.kill") == ["1"]


def test_a_delegation_without_cpu_leaves_the_cpu_to_the_watch(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("")
    group = CgroupV2(tmp_path, ("memory",))
    group.set_limits(LIMITS)
    group.limit_cpu(0.1)
    assert group.enforces == {"memory"}
    assert [path.name for path in tmp_path.iterdir()] == ["memory.max"]


def test_the_counters_of_version_2_are_read(tmp_path: Path) -> None:
    values = {
        "memory.stat": "anon 3000\nfile 9000\nkernel 500\nshmem 2000\ninactive_anon 7\n",
        "memory.peak": "64000000\n",
        "memory.events": "low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\noom_group_kill 0\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        "cgroup.procs": "11\n12\n",
    }
    group = prepared_group(tmp_path, **values)
    assert group.memory() == 5500
    assert group.cpu_seconds() == 2.5
    assert group.processes() == 2
    tenancy = Tenancy(group, LIMITS.memory)
    events = tmp_path / "memory.events"
    events.write_text("max 7\noom 0\noom_kill 1\n")
    verdict = tenancy.memory_verdict()
    assert verdict is not None
    assert verdict[0] is Cause.SIGNALLED
    assert "the machine was out of memory" in verdict[1]
    events.write_text("max 9\noom 1\noom_kill 1\n")
    assert tenancy.memory_verdict() == (
        Cause.MEMORY,
        "memory limit 64 MB exceeded (peak 64 MB)",
    )
    events.unlink()
    assert tenancy.memory_verdict() is None


def test_a_real_group_of_version_2_is_entered_measured_killed_and_removed() -> None:
    mounts, own = (Path(f"/proc/self/{name}").read_text() for name in ("mountinfo", "cgroup"))
    place = next((place for place in find_places(mounts, own) if place.is_unified), None)
    if place is None:
        pytest.skip("no unified hierarchy is mounted")
    group = CgroupV2(place.folder / f"plughost-{os.getpid()}-0-test", ())
    try:
        group.make(LIMITS)
    except OSError as exc:
        pytest.skip(f"{place.folder}: {exc.strerror}")
    try:
        with child("os.fork()\nprint('begun', flush=True)\nwhile True: pass") as loop:
            group.add(loop.pid)
            begin(loop)
            assert loop.stdout is not None
            assert [loop.stdout.readline() for _ in range(2)] == ["begun\n", "begun\n"]
            assert group.processes() == 2
            while group.cpu_seconds() < 0.01:
                pass
            group.kill()
            assert loop.wait(PATIENCE) == -signal.SIGKILL
    finally:
        assert group.remove(PATIENCE)


# Too little


def test_a_memory_limit_that_no_worker_can_live_with_is_refused_and_the_least_is_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(HostMisuse, match=r"Limits\.memory is 1\.0 MB, .* needs 32 MB"):
        Limits(memory=1_000_000)
    (tmp_path / "plugin.py").write_text("")
    (tmp_path / "manifest.json").write_text(
        '{"id": "tiny", "name": "tiny", "version": "1.0.0", "limits": {"memory": "1MB"}}'
    )
    with pytest.raises(ManifestError, match=r"limits\.memory: '1MB' is too little: .* 32 MB"):
        read_manifest(tmp_path)


def test_a_group_that_is_gone_takes_nobody(tree: CgroupTree) -> None:
    group = tree.create("gone", LIMITS)
    assert group.remove()
    group.hold(os.getpid())
    assert not group.folder.exists()
