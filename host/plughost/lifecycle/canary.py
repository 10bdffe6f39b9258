"""When a new version that takes a share of the calls is good enough, and when it is not.

The verdict is that of a single sampling plan (MIL-STD-105E, 4.10.1.1), curtailed: so many calls
are looked at, so many of them may fail, and as soon as more have failed, the rest cannot change
that and is not waited for. No other verdict rests on fewer calls than `least_calls`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike

from plughost.errors import HostMisuse
from plughost.exchange.split import Tally
from plughost.units import format_seconds

__all__ = ["Canary", "CanaryStatus", "Decision", "judge"]


@dataclass(frozen=True, slots=True)
class Canary:
    """How a new version is tried out beside the one that runs."""

    share: float = 0.1
    """Of the calls of tools that both versions have."""
    calls: int = 100
    """After so many calls of the new version it is judged."""
    seconds: float = 600.0
    """After so long it is judged, too, if it had `least_calls`."""
    max_error_rate: float = 0.05
    """Of its calls, no more may fail; with 1, it is only held against the one that runs."""
    tolerance: float = 0.02
    """By so much its error rate may be over that of the version that runs, in the same time."""
    least_calls: int = 20
    """With fewer calls of a version, its errors say nothing."""
    path: str | PathLike[str] | None = None
    """Where the new version is; if not given, in the plugin's own folder."""

    def __post_init__(self) -> None:
        _check("share", self.share, "more than 0 and at most 1", lambda x: 0 < x <= 1)
        _check("seconds", self.seconds, "more than 0", lambda x: 0 < x < math.inf)
        rate, tolerance = self.max_error_rate, self.tolerance
        _check("max_error_rate", rate, "from 0 to 1", lambda x: 0 <= x <= 1)
        _check("tolerance", tolerance, "from 0 to 1", lambda x: 0 <= x <= 1)
        _check_whole("calls", self.calls)
        _check_whole("least_calls", self.least_calls)
        if self.least_calls > self.calls:
            raise HostMisuse(
                f"Canary.least_calls is {self.least_calls}, and it is judged after {self.calls} "
                "calls: set least_calls to that at most"
            )

    @property
    def most_errors(self) -> int:
        """So many of `calls` may fail."""
        return int(exactly(self.max_error_rate) * self.calls)


def _check(field: str, value: object, allowed: str, fits: Callable[[float], bool]) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not fits(value):
        raise HostMisuse(f"Canary.{field} must be a number {allowed}, not {value!r}")


def _check_whole(field: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise HostMisuse(f"Canary.{field} must be a whole number from 1 on, not {value!r}")


def exactly(share: float) -> Fraction:
    """The number as one writes it: a tenth, where the float is a little more."""
    return Fraction(str(share))


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a version that is on trial."""

    promoted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """A trial that is under way."""

    version: str
    """The one that is tried out."""
    terms: Canary
    elapsed: float
    """Seconds since it began."""
    new: Tally
    """Its calls so far: `calls`, `errors`, and `invalid`, which are in neither."""
    old: Tally
    """The same of the version that runs, of the tools that both have, since the trial began."""


def judge(terms: Canary, new: Tally, old: Tally, elapsed: float) -> Decision | None:
    """The verdict, once there is one. `elapsed` is in seconds."""
    failed = f"{new.errors} of its {new.calls} calls failed"
    if new.errors > terms.most_errors:
        return Decision(
            promoted=False,
            reason=f"{failed}, and of {terms.calls} no more than {terms.most_errors} may",
        )
    if new.calls < terms.calls and elapsed < terms.seconds:
        return None
    if new.calls < terms.least_calls:
        return Decision(
            promoted=False,
            reason=f"too few calls to judge it by: {new.calls} in {format_seconds(elapsed)}, and "
            f"it takes {terms.least_calls}",
        )
    rate = Fraction(new.errors, new.calls)
    if rate > exactly(terms.max_error_rate):
        most = f"{terms.max_error_rate:.1%}"
        return Decision(promoted=False, reason=f"{failed} ({float(rate):.1%}), over {most}")
    if old.calls < terms.least_calls:
        return Decision(promoted=True, reason=failed)
    former = Fraction(old.errors, old.calls)
    compared = f"{failed}, and {old.errors} of {old.calls} of the version before it"
    fits = rate <= former + exactly(terms.tolerance)
    return Decision(promoted=fits, reason=compared)
