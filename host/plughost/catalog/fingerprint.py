"""Whether a plugin's files are still those that they were."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .discovery import Found

__all__ = ["file_marks", "fingerprint"]

_NOT_CODE: Final = {"__pycache__", ".git"}


def fingerprint(found: Found) -> str:
    """The same as long as no file changes. Takes as long as to list the folder."""
    if found.text is not None:
        return found.text
    digest = hashlib.sha256()
    try:
        for mark in file_marks(found.code):
            digest.update(repr(mark).encode())
    except OSError as exc:
        return str(exc)
    return digest.hexdigest()


def file_marks(code: Path) -> Iterator[tuple[str, int, int, int]]:
    """Each file: its path, its size, and when it and its node were last changed.

    As make does it, and stricter, since nobody can set back the time of a change of a node.
    """
    if code.is_file():
        status = code.stat()
        yield "", status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return
    folders = [str(code)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _NOT_CODE:
                        folders.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
                yield entry.path, status.st_size, status.st_mtime_ns, status.st_ctime_ns
