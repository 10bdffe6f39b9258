"""Data folders: what is counted, what a hostile worker cannot hide, and what follows."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import anyio
import pytest

from plughost import Cause, Limits, Restart
from plughost.exits import WorkerExit
from plughost.supervision.disk import (
    BUSY_INTERVAL,
    REST_INTERVAL,
    DiskWatch,
    FolderUse,
    data_folder_problem,
    measure_folder,
)
from plughost.supervision.pipes import WorkerPipes
from plughost.supervision.process import Process
from plughost.supervision.restart import GiveUp, RestartTracker

MANY = 1_000_000
LIMITS = Limits(data_size=1_000_000, data_files=100)


def write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    with path.open("rb") as file:
        os.fsync(file.fileno())  # some file systems decide late which blocks it takes
    return path


def test_what_a_folder_holds_is_counted_with_all_below_it(tmp_path: Path) -> None:
    write(tmp_path / "one", 100_000)
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner" / "two", 200_000)
    use = measure_folder(tmp_path, MANY)
    assert use.files == 3
    assert 300_000 <= use.size < 350_000
    assert use.excess(Limits()) == ""


def test_holes_take_no_room_and_what_is_allocated_does(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10**12)
    before = measure_folder(tmp_path, MANY).size
    assert before < 100_000
    with (tmp_path / "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 5_000_000)
        os.truncate(file.fileno(), 5_000_000)
    assert measure_folder(tmp_path, MANY).size >= before + 5_000_000


def test_a_file_with_several_names_takes_room_once(tmp_path: Path) -> None:
    one = write(tmp_path / "one", 500_000)
    for name in ("two", "three"):
        (tmp_path / name).hardlink_to(one)
    use = measure_folder(tmp_path, MANY)
    assert use.files == 3
    assert use.size < 600_000


def test_symlinks_are_counted_and_not_followed(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    write(elsewhere / "large", 5_000_000)
    (data / "folder").symlink_to(elsewhere)
    (data / "file").symlink_to(elsewhere / "large")
    (data / "loop").symlink_to(data)
    use = measure_folder(data, MANY)
    assert use.files == 3
    assert use.size < 100_000
    (tmp_path / "itself").symlink_to(elsewhere)
    assert measure_folder(tmp_path / "itself", MANY).problem


def test_counting_stops_at_the_limit_of_files(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    use = measure_folder(tmp_path, 100)
    assert use.files == 101
    assert use.excess(LIMITS) == "data folder limit 100 files exceeded"


def test_folders_nested_without_end_are_refused_and_cost_few_descriptors(tmp_path: Path) -> None:
    inner = os.open(tmp_path, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    before = len(list(Path("/proc/self/fd").iterdir()))
    use = measure_folder(tmp_path, MANY)
    assert use.excess(LIMITS) == (
        "data folder cannot be measured: its folders are nested deeper than 64"
    )
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_hides_what_it_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir(mode=0)
    code = (
        "import pathlib, sys\n"
        "from plughost.supervision.disk import measure_folder\n"
        "print(measure_folder(pathlib.Path(sys.argv[1]), 100).problem)\n"
    )
    # Nothing hides from root, but for root without these.
    less = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    command = [*(less if os.geteuid() == 0 else []), sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    (tmp_path / "hidden").chmod(0o700)
    assert result.stdout == "it holds a folder that may not be read\n", result.stderr


def test_another_file_system_mounted_inside_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "mounted").mkdir()
    code = (
        "import pathlib, sys\n"
        "from plughost.supervision.disk import measure_folder\n"
        "use = measure_folder(pathlib.Path(sys.argv[1]), 100)\n"
        "print(use.files, use.size < 1_000_000, use.problem)\n"
    )
    script = (
        f'mount -t tmpfs none "{tmp_path}/mounted" && '
        f'head -c 5000000 /dev/zero > "{tmp_path}/mounted/large" && '
        f'exec "{sys.executable}" -c "$1" "{tmp_path}"'
    )
    others = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    result = subprocess.run(
        ["unshare", *others, "--mount", "sh", "-c", script, "sh", code],
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in result.stderr or "unshare" in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.stdout == "1 True \n", result.stderr


def test_a_deleted_file_counts_while_a_process_holds_it_open(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as file:
        file.write(b"x" * 3_000_000)
        file.flush()
        os.fsync(file.fileno())
        (tmp_path / "gone").unlink()
        assert measure_folder(tmp_path, MANY).size < 100_000
        assert measure_folder(tmp_path, MANY, [os.getpid()]).size >= 3_000_000


def test_a_folder_that_becomes_a_symlink_while_it_is_counted_leads_nowhere(
    tmp_path: Path,
) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    for folder in (data, outside):
        folder.mkdir()
    for number in range(50):
        (outside / str(number)).touch()
    over = threading.Event()

    def swap() -> None:
        target = data / "target"
        while not over.is_set():
            target.mkdir()
            target.rmdir()
            target.symlink_to(outside)
            target.unlink()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        found = [measure_folder(data, MANY).files for _ in range(2000)]
    finally:
        over.set()
        swapper.join()
    assert max(found) < 50  # the same name may show up twice; what it led to never does


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert measure_folder(tmp_path / "none", MANY) == FolderUse()
    assert data_folder_problem(tmp_path / "none", LIMITS) == ""


def test_a_full_folder_keeps_its_plugin_from_starting_and_the_remedy_is_named(
    tmp_path: Path,
) -> None:
    write(tmp_path / "large", 2_000_000)
    assert data_folder_problem(tmp_path, LIMITS) == (
        f"data folder limit 1.0 MB exceeded (2.0 MB): remove from {tmp_path} what the plugin does "
        "not need, or raise Limits.data_size or Limits.data_files"
    )
    assert data_folder_problem(tmp_path, replace(LIMITS, data_size=3_000_000)) == ""


def test_a_plugin_that_outgrew_its_folder_is_not_restarted() -> None:
    tracker = RestartTracker(Restart(), lambda: 0.0)
    decision = tracker.died(WorkerExit(Cause.DISK, "data folder limit 1.0 MB exceeded"), 100.0)
    assert decision == GiveUp("its data folder must be cleaned first")


@dataclass(eq=False)
class Writer:
    """A worker with a data folder, as the disk watch sees it."""

    process: Process
    data_folder: Path | None
    limits: Limits = LIMITS
    is_busy: bool = True
    ends: list[tuple[Cause, str]] = field(default_factory=list)

    def end(self, cause: Cause, detail: str = "") -> None:
        self.ends.append((cause, detail))


@pytest.fixture
def process() -> Process:
    """This one: a worker's process has a pid, and nothing else is asked of it."""
    pipes = WorkerPipes()
    pipes.close()
    running = Process(pipes, lambda: None, lambda number: None)
    running.pid = os.getpid()
    return running


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.anyio
async def test_a_worker_over_its_data_folder_is_ended_with_both_figures(
    tmp_path: Path, process: Process
) -> None:
    write(tmp_path / "large", 2_000_000)
    worker = Writer(process, tmp_path)
    watch = DiskWatch(Clock(), lambda: [worker])
    await watch.look()
    assert worker.ends == [(Cause.DISK, "data folder limit 1.0 MB exceeded (2.0 MB)")]
    assert watch.use(worker).files == 1


@pytest.mark.anyio
async def test_busy_workers_are_counted_often_and_those_at_rest_rarely(
    tmp_path: Path, process: Process
) -> None:
    busy, resting = tmp_path / "busy", tmp_path / "resting"
    busy.mkdir()
    resting.mkdir()
    workers = [Writer(process, busy), Writer(process, resting, is_busy=False)]
    clock = Clock()
    watch = DiskWatch(clock, lambda: workers)

    async def files() -> list[int]:
        await watch.look()
        return [watch.use(worker).files for worker in workers]

    assert await files() == [0, 0]
    for folder in (busy, resting):
        (folder / "file").touch()
    assert await files() == [0, 0]
    clock.now += BUSY_INTERVAL
    assert await files() == [1, 0]
    clock.now += REST_INTERVAL
    assert await files() == [1, 1]


@pytest.mark.anyio
async def test_a_folder_that_could_have_filled_is_counted_at_once(
    tmp_path: Path, process: Process
) -> None:
    worker = Writer(process, tmp_path, is_busy=False)
    clock = Clock()
    watch = DiskWatch(clock, lambda: [worker])
    await watch.look()
    for number in range(20):  # what others delete meanwhile hides some of it
        write(tmp_path / str(number), 50_000_000)
        clock.now += 0.01
        await watch.look()
        if worker.ends:
            break
    assert [cause for cause, _ in worker.ends] == [Cause.DISK]
    assert clock.now < 1000.0 + REST_INTERVAL


@pytest.mark.anyio
async def test_a_worker_without_a_data_folder_or_without_a_process_is_left_alone(
    tmp_path: Path, process: Process
) -> None:
    write(tmp_path / "large", 2_000_000)
    ended = Process(process.pipes, lambda: None, lambda number: None)
    workers = [Writer(process, None), Writer(ended, tmp_path)]
    await DiskWatch(Clock(), lambda: workers).look()
    assert [worker.ends for worker in workers] == [[], []]


@pytest.mark.anyio
async def test_the_watch_runs_until_it_is_cancelled_and_finds_what_is_written(
    tmp_path: Path, process: Process
) -> None:
    done = anyio.Event()

    @dataclass(eq=False)
    class Telling(Writer):
        def end(self, cause: Cause, detail: str = "") -> None:
            done.set()

    worker = Telling(process, tmp_path)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(DiskWatch(anyio.current_time, lambda: [worker]).run)
            for number in count():
                (tmp_path / str(number)).touch()
                if number > worker.limits.data_files:
                    break
            await done.wait()
            tasks.cancel_scope.cancel()
