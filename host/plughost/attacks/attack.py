"""What an attack is: data, what it aims at, and how one knows that it got through."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from plughost.config import Layer
from plughost.exits import WorkerExit

from .range import Range

__all__ = [
    "BASE",
    "Aim",
    "Answer",
    "Attack",
    "Attempt",
    "Control",
    "Ends",
    "Group",
    "Need",
    "NotPossible",
    "Proof",
    "Section",
]


class Group(StrEnum):
    """What an attack is after."""

    FILES = "files"
    NETWORK = "network"
    PROCESSES = "processes"
    KERNEL = "kernel"
    RESOURCES = "resources"
    PROXY = "proxy"


class Ends(StrEnum):
    """How one sees that it was stopped."""

    REFUSED = "refused"
    """The kernel answers with an error, or with nothing of what was wanted."""
    KILLED = "killed"
    """The worker dies of it."""
    BOUNDED = "bounded"
    """It goes as far as it was allowed to, and no further."""


class Control(StrEnum):
    """What the control run leaves out, so that the attack gets through."""

    WITHOUT_LAYERS = "without layers"
    """A worker that no layer of the sandbox holds, with limits out of reach."""
    BARE = "bare"
    """An ordinary child process: what stops it is no layer that can be left out."""


class Need(StrEnum):
    """What the control run takes."""

    ROOT = "root"
    IPV6 = "IPv6"
    RAISING_LIMITS = "the capability to raise limits"


BASE: Final = {
    "capabilities": "no capability and no way to new privileges",
    "descriptors": "no descriptor but its own pipes",
    "environment": "an environment of its own",
    "limits": "bounds of the process",
    "proxy": "the host's judgement of names and addresses",
    "session": "a session without a terminal",
    "watch": "the host's watch of its memory, processes and files",
}
"""What always stands, beside the layers of `Layer`, and what it is."""


class NotPossible(Exception):
    """Raised when there is nothing to aim at: this machine, or this user, does not have it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the attacker says."""

    got: bool
    detail: str
    here: bool = True
    """Whether the machine has what was attacked."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, as the host sees it when it is over."""

    answer: Answer
    pid: int
    """The attacker's process; 0 if it has died."""
    exit: WorkerExit | None = None
    """How it died."""
    log: int = 0
    """Lines that reached the host's log."""


Proof = Callable[[Attempt], str]
"""The evidence that the attack got through, or nothing. Never only because the plugin says so."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What one attack is pointed at."""

    target: dict[str, Any]
    """What the attacker is told."""
    proof: Proof


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack."""

    name: str
    group: Group
    tries: str
    """What it tries, in a sentence without its subject."""
    stopped_by: tuple[str, ...]
    """Each of these stops it alone: layers, or names of `BASE`."""
    aim: Callable[[Range], Aim]
    ends: Ends = Ends.REFUSED
    grants: tuple[str, ...] = ()
    """What the attacker is granted beside `tools:register`: names of `Range.grants`."""
    control: Control = Control.WITHOUT_LAYERS
    needs: tuple[Need, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Limits of its own, small ones, so that it need not go far to break them."""
    after_death: bool = False
    """Whether its proof is looked for when the worker has been ended."""
    spoils: bool = False
    """Whether the worker is of no use after it, however it ended."""


@dataclass(slots=True)
class Section:
    """The attacks of one group, in their order."""

    group: Group
    attacks: list[Attack] = field(default_factory=list)

    def attack(
        self, tries: str, by: str, **more: Any
    ) -> Callable[[Callable[[Range], Aim]], Attack]:
        """Make an attack of the function that aims it; its name is the function's."""
        stopped_by = tuple(by.split())
        unknown = set(stopped_by) - {*Layer, *BASE}
        if unknown:
            raise ValueError(f"neither layers nor bases: {unknown}")

        def make(aim: Callable[[Range], Aim]) -> Attack:
            name = aim.__name__.replace("_", "-")
            attack = Attack(name, self.group, tries, stopped_by, aim, **more)
            self.attacks.append(attack)
            return attack

        return make

    def __iter__(self) -> Iterator[Attack]:
        return iter(self.attacks)
