"""Attacks on the operator's terminal."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from .attack import Aim, Attempt, Group, NotPossible, Section
from .proofs import holds, shows
from .range import Range

__all__ = ["TERMINAL"]

TERMINAL: Final = Section(Group.PROCESSES)


@TERMINAL.attack("types a command into the operator's terminal (TIOCSTI)", "mounts landlock")
def type_into_the_terminal(at: Range) -> Aim:
    if Path("/proc/sys/dev/tty/legacy_tiocsti").read_text().strip() != "1":
        raise NotPossible("this kernel types for nobody")
    word = secrets.token_hex(8)
    _, slave = at.terminal()

    def proof(_: Attempt) -> str:
        with suppress(BlockingIOError):
            typed = os.read(slave, 4096).decode()
            return f"the terminal was typed {typed.strip()!r}" if word in typed else ""
        return ""

    return Aim({"path": os.ttyname(slave), "word": word}, proof)


@TERMINAL.attack("writes to the operator's terminal", "mounts landlock")
def write_to_the_terminal(at: Range) -> Aim:
    word = secrets.token_hex(8)
    master, slave = at.terminal()

    def proof(_: Attempt) -> str:
        with suppress(BlockingIOError):
            shown = os.read(master, 65536).decode()
            return f"the terminal shows {word!r}" if word in shown else ""
        return ""

    return Aim({"path": os.ttyname(slave), "word": word}, proof)


@TERMINAL.attack("reads what the operator types", "mounts landlock")
def read_from_the_terminal(at: Range) -> Aim:
    word = secrets.token_hex(8)
    master, slave = at.terminal()
    os.write(master, word.encode() + b"\n")
    return Aim({"path": os.ttyname(slave)}, shows(word, "it"))


@TERMINAL.attack("opens a new terminal", "mounts landlock")
def open_a_new_terminal(_: Range) -> Aim:
    return Aim({}, holds("ptmx"))
