"""What can go wrong with a place where a host service keeps things."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plughost.errors import PlughostError
from plughost_protocol import ErrorCode

__all__ = [
    "StoreDamaged",
    "StoreError",
    "StoreLocked",
    "StoreTooNew",
    "StoreUnavailable",
    "told_to_plugin",
]


class StoreError(PlughostError):
    """Raised when a store cannot be used. What it holds is left as it is.

    `summary` says it without the file's place, which is no plugin's business.
    """

    code = ErrorCode.STORE_FAILED
    summary = "its store cannot be used"


class StoreDamaged(StoreError):
    """Raised when a file is no store of plughost's, or no longer a sound one."""

    summary = "its store is damaged"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path}: {problem}. It is left as it is: put a copy of it back, or move it away "
            "(with its -wal and -shm files) to begin with an empty one"
        )
        self.path = path
        self.problem = problem


class StoreTooNew(StoreError):
    """Raised when a later plughost has written the file."""

    summary = "its store was written by a later version of plughost"

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"{path}: a later plughost has written it, in version {version}, and this one knows "
            f"versions up to {known}. It is left as it is: install that plughost again, or move "
            "the file away to begin with an empty one"
        )
        self.path = path
        self.version = version
        self.known = known


class StoreUnavailable(StoreError):
    """Raised when a sound store cannot be used now: a full disk, a lock, a server that is gone."""

    summary = "its store cannot be used now"

    def __init__(self, place: str | Path, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


class StoreLocked(StoreUnavailable):
    """Raised when somebody else held the file for longer than it was waited for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "another process has locked it: end what holds it")


class _StoreFailed(PlughostError):
    code = ErrorCode.STORE_FAILED

    def __init__(self, service: str, failure: StoreError) -> None:
        super().__init__(
            f"the host's {service} cannot answer: {failure.summary}; the host's log says more"
        )


@contextmanager
def told_to_plugin(service: str) -> Iterator[None]:
    """Raise a `StoreError` as one that says nothing of the operator's files."""
    try:
        yield
    except StoreError as exc:
        raise _StoreFailed(service, exc) from exc
