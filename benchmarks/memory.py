"""Memory of process trees: PSS, where a page that n processes share counts 1/n in each."""

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

__all__ = ["helpers_pss", "tree_pss"]


def tree_pss(roots: Iterable[int]) -> int:
    """Bytes that these processes and all below them hold. Raises `ValueError` for none."""
    pids = _tree(roots)
    if not pids:
        raise ValueError("there is no worker to measure")
    return sum(map(_pss, pids))


def helpers_pss(workers: Iterable[int]) -> int:
    """Bytes of the other processes below this one: a template, a resource tracker, a proxy."""
    below = {child.pid for child in psutil.Process().children(recursive=True)}
    return sum(map(_pss, below - _tree(workers)))


def _tree(roots: Iterable[int]) -> set[int]:
    pids: set[int] = set()
    for root in roots:
        pids.add(root)
        pids.update(child.pid for child in psutil.Process(root).children(recursive=True))
    return pids


def _pss(pid: int) -> int:
    # smaps_rollup, not psutil's memory_full_info: that walks every mapping.
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"/proc/{pid}/smaps_rollup has no Pss line")
    return int(found[1]) * 1024
