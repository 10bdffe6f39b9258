"""Attacks on a host's own sandbox, tried for real: `plughost attack`, and the tests of it."""

from .attack import Attack, Control, Ends, Group
from .catalogue import ATTACKS, attacks_of
from .runner import Outcome, Result, run_attacks

__all__ = [
    "ATTACKS",
    "Attack",
    "Control",
    "Ends",
    "Group",
    "Outcome",
    "Result",
    "attacks_of",
    "run_attacks",
]
