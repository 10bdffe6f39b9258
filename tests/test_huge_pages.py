"""Memory that is moved into huge pages before a fork."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

HUGE = Path("/sys/kernel/mm/transparent_hugepage")
RELEASE = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))

MOVE = """
import mmap
from pathlib import Path
from plughost_worker.huge_pages import use_huge_pages

SIZE = int(Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())

def in_huge_pages() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")) * 1024

def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

full, sparse = (mmap.mmap(-1, 4 * SIZE, flags=mmap.MAP_PRIVATE) for _ in range(2))
for memory in (full, sparse):
    memory.madvise(mmap.MADV_NOHUGEPAGE)  # a machine may give them unasked
text = bytes(range(256)) * (4 * SIZE // 256)
full[:] = text
for offset in range(0, 4 * SIZE, SIZE // 16):
    sparse[offset] = 1
for memory in (full, sparse):
    memory.madvise(mmap.MADV_HUGEPAGE)
before = in_huge_pages(), resident()
use_huge_pages()
print(in_huge_pages() - before[0], resident() - before[1], SIZE, full[:] == text)
"""


@pytest.mark.skipif(
    RELEASE < (6, 1) or not HUGE.exists() or "[never]" in (HUGE / "enabled").read_text(),
    reason="this kernel moves nothing into huge pages",
)
def test_what_is_in_use_is_moved_and_what_is_not_takes_no_memory() -> None:
    moved = subprocess.run(
        [sys.executable, "-c", MOVE], capture_output=True, check=True, text=True, timeout=30
    )
    gained, grown, size, same = moved.stdout.split()
    assert int(gained) >= 3 * int(size)
    assert int(grown) < 4 * int(size)
    assert same == "True"


def test_where_there_are_none_nothing_happens() -> None:
    code = (
        "from plughost_worker import huge_pages as h; h._SIZE_FILE = '/nowhere'; h.use_huge_pages()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
