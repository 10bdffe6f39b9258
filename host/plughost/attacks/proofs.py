"""How the host knows that an attack got through: by what it sees for itself."""

import fcntl
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from .attack import Attempt, Proof
from .listeners import Listener
from .range import Victim

__all__ = [
    "appeared",
    "changed",
    "claims",
    "either",
    "exited_with",
    "holds",
    "locked",
    "reached",
    "shows",
    "status_of",
    "victim_died",
    "victim_memory_changed",
]


_ERROR: Final = re.compile(r"(^|: )E[A-Z0-9]+$")
_DEATH: Final = 0.05  # seconds; a signal was delivered when the call that sent it came back


def shows(secret: str, what: str = "the secret") -> Proof:
    """The answer holds what only the host could know."""
    return lambda attempt: f"it read {what}" if secret in attempt.answer.detail else ""


def claims(pattern: str = "") -> Proof:
    """The attacker's word, where nobody else can tell; with a pattern, where the kernel gave it
    something to show."""

    def proof(attempt: Attempt) -> str:
        if not attempt.answer.got:
            return ""
        ways = attempt.answer.detail.split("; ")
        said = [way for way in ways if not _ERROR.search(way) and re.search(pattern, way)]
        return ", ".join(said[:3])

    return proof


def either(*proofs: Proof) -> Proof:
    """Any of them."""
    return lambda attempt: next(filter(None, (proof(attempt) for proof in proofs)), "")


def changed(*paths: Path, look: Callable[[Path], object] | None = None) -> Proof:
    """A file is not what it was: gone, or other content, mode, owner, times, attributes."""
    view = look or _look
    before = {path: view(path) for path in paths}

    def proof(_: Attempt) -> str:
        for path, known in before.items():
            now = view(path)
            if now != known:
                return f"{path} was {known} and is {now}"
        return ""

    return proof


def _look(path: Path) -> object:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "missing"
    seen: list[object] = [oct(found.st_mode), found.st_uid, found.st_size, found.st_nlink]
    seen.append(found.st_mtime_ns)
    with suppress(OSError):
        seen.append(tuple(os.listxattr(path, follow_symlinks=False)))
    return tuple(seen)


def appeared(*paths: Path) -> Proof:
    """A path is there that was not, or a folder holds something new."""
    before = {path: _inside(path) for path in paths}

    def proof(_: Attempt) -> str:
        for path, known in before.items():
            new = _inside(path) - known
            if new:
                return (
                    f"{path} is there" if new == {""} else f"{path} holds {', '.join(sorted(new))}"
                )
        return ""

    return proof


def _inside(path: Path) -> set[str]:
    try:
        return set(os.listdir(path))  # noqa: PTH208 - a name may be no text
    except NotADirectoryError:
        return {""}
    except OSError:
        return set()


def locked(path: Path) -> Proof:
    """The host does not get the lock that it wants."""

    def proof(_: Attempt) -> str:
        with path.open("r+") as file:
            for take in (fcntl.flock, fcntl.lockf):
                try:
                    take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return f"{path} is locked by the attacker"
        return ""

    return proof


def reached(listener: Listener) -> Proof:
    """The server was sent something, or its secret came back."""
    secret = shows(listener.secret, "the server's answer")
    return lambda attempt: secret(attempt) or listener.reached()


def exited_with(code: int) -> Proof:
    """Another program ran: in a child that the attacker waited for, or in the worker's place."""

    def proof(attempt: Attempt) -> str:
        if attempt.exit is not None and attempt.exit.code == code:
            return f"the worker became a program that exited with {code}"
        return claims(f"exited with {code}|spawned")(attempt)

    return proof


def holds(pattern: str) -> Proof:
    """The attacker's process has such a thing open, as the host reads in /proc."""

    def proof(attempt: Attempt) -> str:
        if not attempt.answer.got:
            return ""
        links = _links(attempt.pid)
        if links is None:  # the host may not look, so its word must do
            return attempt.answer.detail
        return next((f"it holds {link}" for link in links if re.search(pattern, link)), "")

    return proof


def _links(pid: int) -> list[str] | None:
    folder = f"/proc/{pid}/fd"
    links = []
    try:
        for fd in os.listdir(folder):  # noqa: PTH208
            with suppress(FileNotFoundError):
                links.append(os.readlink(f"{folder}/{fd}"))  # noqa: PTH115
    except OSError:
        return None
    return links


def status_of(name: str) -> Callable[[int], str]:
    """Reads a file, or where a link leads, in a process's folder of /proc; empty if it cannot."""

    def read(pid: int) -> str:
        path = Path(f"/proc/{pid}", name)
        try:
            return os.readlink(path) if path.is_symlink() else path.read_text()  # noqa: PTH115
        except OSError:
            return ""

    return read


def victim_died(victim: Victim) -> Proof:
    """Only a signal ends it."""

    def proof(_: Attempt) -> str:
        with suppress(subprocess.TimeoutExpired):
            victim.process.wait(_DEATH)
        code = victim.process.poll()
        return "" if code is None else f"the victim died of signal {-code}"

    return proof


def victim_memory_changed(victim: Victim) -> Proof:
    """It finds something else where its secret was."""

    def proof(_: Attempt) -> str:
        found = victim.memory()
        return "" if found == victim.secret else f"the victim's memory holds {found!r}"

    return proof
