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
from ctypes import addressof, c_char
from pathlib import Path
from plughost_worker import huge_pages, kernel

SIZE = int(Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").read_text())

def in_huge_pages() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")) * 1024

full, sparse = (mmap.mmap(-1, 4 * SIZE, flags=mmap.MAP_PRIVATE) for _ in range(2))
for memory in (full, sparse):
    memory.madvise(mmap.MADV_NOHUGEPAGE)  # a machine may give them unasked
text = bytes(range(256)) * (4 * SIZE // 256)
full[:] = text
for offset in range(0, 4 * SIZE, SIZE // 16):
    sparse[offset] = 1
full.madvise(mmap.MADV_HUGEPAGE)

in_sparse = 0
begin = addressof(c_char.from_buffer(sparse))

def collapse(address: int, size: int) -> None:
    global in_sparse
    in_sparse += begin - SIZE < address < begin + 4 * SIZE
    kernel.collapse(address, size)

huge_pages.collapse = collapse
before = in_huge_pages()
huge_pages.use_huge_pages()
print(in_huge_pages() - before, in_sparse, SIZE, full[:] == text)
"""


@pytest.mark.skipif(
    RELEASE < (6, 1) or not HUGE.exists() or "[never]" in (HUGE / "enabled").read_text(),
    reason="this kernel moves nothing into huge pages",
)
def test_what_is_in_use_is_moved_and_what_is_not_is_left_alone() -> None:
    moved = subprocess.run(
        [sys.executable, "-c", MOVE], capture_output=True, check=True, text=True, timeout=30
    )
    gained, in_sparse, size, same = moved.stdout.split()
    assert int(gained) >= 3 * int(size)
    assert int(in_sparse) == 0
    assert same == "True"


def test_where_there_are_none_nothing_happens() -> None:
    code = (
        "from plughost_worker import huge_pages as h; h._SIZE_FILE = '/nowhere'; h.use_huge_pages()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
