"""When a task runs: at an interval, or by a cron expression in a time zone. No clock is read here.

An interval counts in seconds of a monotonic clock, cron in seconds since the epoch.
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol
from zoneinfo import TZPATH, ZoneInfo

from cronsim import CronSim, CronSimError

from plughost.errors import PlughostError
from plughost.units import format_seconds
from plughost_protocol import ErrorCode

__all__ = ["BadSchedule", "Cron", "Due", "Every", "Schedule", "due_runs", "parse_cron", "time_zone"]

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,3}")


class BadSchedule(PlughostError):
    """Raised when a schedule is none: it cannot be read, never fires, or fires too often."""

    code = ErrorCode.INVALID_PARAMS


class Schedule(Protocol):
    """The moments at which a task is due."""

    text: str
    """For people: `every 60 s`, `0 9 * * * (Europe/Oslo)`."""
    smallest_gap: float
    """Seconds; no two moments are nearer, but on a day on which the clocks change."""

    def after(self, moment: float) -> float | None:
        """The next moment after one that was due; None if there will be none."""


class Every:
    """Every so many seconds, without drift: a late run does not delay those after it."""

    def __init__(self, seconds: float) -> None:
        self.text = f"every {format_seconds(seconds)}"
        self.smallest_gap = seconds

    def after(self, moment: float) -> float:
        return moment + self.smallest_gap


class Cron:
    """A cron expression in a time zone. Make one with `parse_cron`.

    As Debian's cron does: a time of the day that the clocks skip runs right after the gap, one
    that comes twice runs the first time; what runs at each hour or minute keeps to real time.
    """

    def __init__(self, expression: str, zone: datetime.tzinfo, zone_name: str) -> None:
        self.text = f"{expression} ({zone_name})"
        self._expression = expression
        self._zone = zone
        self.smallest_gap = _smallest_gap(self._begin(0.0))

    def after(self, moment: float) -> float | None:
        # From within a repeated hour cronsim begins with the first time round, which is over.
        for found in self._begin(moment):
            if (seconds := found.timestamp()) > moment:
                return seconds
        return None

    def _begin(self, moment: float) -> "_CronSim":
        return _CronSim(self._expression, datetime.datetime.fromtimestamp(moment, self._zone))


class _CronSim(CronSim):
    """cronsim, where a day has no midnight and where clocks change by half an hour."""

    def advance_month(self) -> None:
        before = self.dt
        super().advance_month()
        if self.dt is not before:
            self._land()

    def advance_day(self) -> bool:
        rolled = super().advance_day()
        if rolled:
            self._land()
        return rolled

    def advance_hour(self) -> bool:
        rolled = super().advance_hour()
        if rolled and self.dt.hour in self.hours:  # an hour after 01:00 it may be 02:30
            self.dt = self.dt.replace(minute=0, second=0)
            self._land()
        return rolled

    def _land(self) -> None:
        """Go on from a time that there is: the first after the gap, if it fell in one."""
        if self.dt.tzinfo is not None:
            self.dt = self.dt.astimezone(datetime.UTC).astimezone(self.dt.tzinfo)


def parse_cron(expression: str, zone_name: str, now: float) -> Cron:
    """The schedule of an expression of five fields, or six with seconds before them.

    Takes some milliseconds for one that never fires: not for the loop. Raises `BadSchedule`.
    """
    expression = " ".join(expression.split())
    zone = time_zone(zone_name)
    try:
        cron = Cron(expression, zone, zone_name)
    except (CronSimError, ValueError, AssertionError) as exc:
        raise BadSchedule(
            f"{expression!r} is no cron expression that fires: {_reason(expression, exc)}. Write "
            "minute, hour, day of month, month and day of week, such as '0 9 * * MON-FRI'"
        ) from exc
    if cron.after(now) is None:
        raise BadSchedule(
            f"{expression!r} never fires: no day of the next 50 years fits both its day of month "
            "and its day of week"
        )
    return cron


def _reason(expression: str, exc: Exception) -> str:
    fields = len(expression.split())
    if fields not in (5, 6):
        return f"it has {fields} field{'' if fields == 1 else 's'}, not five or six"
    text = str(exc)
    if not text.startswith("Bad "):
        return "it cannot be read"
    return f"its {text.removeprefix('Bad ')} cannot be"


def time_zone(name: str) -> datetime.tzinfo:
    """The zone of this name in the IANA database. Raises `BadSchedule`."""
    if name == "UTC":  # needs no data
        return datetime.UTC
    # Some names in the database's folder are no zones, and lead to errors of all kinds.
    if _ZONE.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, LookupError):
            pass
    if not _has_zone_data():
        raise BadSchedule(
            f"time zone {name!r} cannot be looked up: this machine has no time zone data. Install "
            "the system's tzdata package, or run: pip install tzdata. 'UTC' works without"
        )
    raise BadSchedule(
        f"there is no time zone {name[:100]!r}: take a name of the IANA database, such as "
        "'Europe/Oslo' or 'UTC'"
    )


def _has_zone_data() -> bool:
    return find_spec("tzdata") is not None or any(
        (Path(folder) / "Europe").is_dir() for folder in TZPATH
    )


def _smallest_gap(cron: CronSim) -> float:
    """Seconds; never more than the smallest gap between two moments, seldom less."""
    times = sorted(minute * 60 + second for minute in cron.minutes for second in cron.seconds)
    hours = sorted(cron.hours)
    if len(times) > 1:
        return float(min(_gaps(times, _HOUR)))
    if len(hours) > 1:
        return float(min(_gaps(hours, 24)) * _HOUR)
    return float(_DAY - _HOUR)  # the day on which the clocks go forward


def _gaps(values: list[int], around: int) -> Iterator[int]:
    yield from (later - earlier for earlier, later in pairwise(values))
    yield values[0] + around - values[-1]


@dataclass(frozen=True, slots=True)
class Due:
    """What has become due up to a moment."""

    runs: int
    """Counted up to the bound that was asked for."""
    last: float
    """The latest moment among them."""
    next: float | None
    """The first moment that is still to come."""


def due_runs(schedule: Schedule, due: float, now: float, most: int) -> Due:
    """The moments from `due` to `now`; of more than `most`, the rest are left out of the count."""
    if isinstance(schedule, Every):
        past = max(int((now - due) // schedule.smallest_gap), 0)
        last = due + past * schedule.smallest_gap
        return Due(min(past + 1, most), last, schedule.after(last))
    runs, last = 1, due
    while (following := schedule.after(last)) is not None and following <= now:
        if runs == most:  # a clock that was years behind: the moments between are not stepped over
            return Due(runs, last, schedule.after(now))
        runs, last = runs + 1, following
    return Due(runs, last, following)
