"""When a task is due: intervals and cron expressions, without a clock."""

import os
import subprocess
import sys
from datetime import UTC, datetime, tzinfo
from importlib.util import find_spec

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from plughost.services.scheduler.schedule import (
    BadSchedule,
    Cron,
    Every,
    due_runs,
    parse_cron,
    time_zone,
)

DAY = 24 * 3600


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=time_zone(zone), fold=fold).timestamp()


def shown(moment: float | None, zone: str = "UTC") -> str:
    assert moment is not None
    return datetime.fromtimestamp(moment, time_zone(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def runs(expression: str, start: str, count: int, zone: str = "UTC") -> list[str]:
    cron = parse_cron(expression, zone, 0.0)
    moment: float | None = at(start, zone)
    found = []
    for _ in range(count):
        assert moment is not None
        moment = cron.after(moment)
        found.append(shown(moment, zone))
    return found


# Cron


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * *", ["2026-01-01 09:00:00 UTC", "2026-01-02 09:00:00 UTC"]),
        ("*/20 * * * *", ["2026-01-01 00:20:00 UTC", "2026-01-01 00:40:00 UTC"]),
        ("  0   9 * * mon-fri ", ["2026-01-01 09:00:00 UTC", "2026-01-02 09:00:00 UTC"]),
        ("*/30 * * * * *", ["2026-01-01 00:00:30 UTC", "2026-01-01 00:01:00 UTC"]),
        ("0 0 L * *", ["2026-01-31 00:00:00 UTC", "2026-02-28 00:00:00 UTC"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00 UTC", "2032-02-29 00:00:00 UTC"]),
        ("0 0 * 2 MON#5", ["2044-02-29 00:00:00 UTC", "2072-02-29 00:00:00 UTC"]),
    ],
)
def test_a_cron_expression_fires_when_it_says(expression: str, expected: list[str]) -> None:
    assert runs(expression, "2026-01-01", 2) == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("0 0 30 2 *", "day-of-month cannot be"),
        ("0 0 31 4,6 *", "day-of-month cannot be"),
        ("0 0 */31 * MON#5", "never fires"),
        ("61 * * * *", "minute cannot be"),
        ("* * * * SUNDAY", "day-of-week cannot be"),
        ("*/0 * * * *", "minute cannot be"),
        ("9-5 * * * *", "minute cannot be"),
        ("@daily", "1 field, not five or six"),
        ("", "0 fields"),
        ("* * * * * * *", "7 fields"),
        ("٣ * * * *", "minute cannot be"),
    ],
)
def test_an_expression_that_never_fires_is_refused_with_the_reason(
    expression: str, reason: str
) -> None:
    with pytest.raises(BadSchedule, match=reason):
        parse_cron(expression, "UTC", at("2026-01-01"))


@given(st.text("0123456789*/,-#LW MONSUNJAN?@", max_size=60))
@settings(deadline=None)
def test_no_text_does_more_than_fire_or_be_refused(text: str) -> None:
    try:
        cron = parse_cron(text, "UTC", at("2026-01-01"))
    except BadSchedule:
        return
    assert cron.after(at("2026-01-01")) is not None


def test_a_time_that_the_clocks_skip_runs_right_after_the_gap() -> None:
    # In Oslo, 02:00 to 03:00 on 2026-03-29 is not there.
    assert runs("30 2 * * *", "2026-03-28 12:00", 2, "Europe/Oslo") == [
        "2026-03-29 03:00:00 CEST",
        "2026-03-30 02:30:00 CEST",
    ]


def test_a_time_that_comes_twice_runs_the_first_time() -> None:
    assert runs("30 2 * * *", "2026-10-24 12:00", 2, "Europe/Oslo") == [
        "2026-10-25 02:30:00 CEST",
        "2026-10-26 02:30:00 CET",
    ]


def test_within_a_repeated_hour_the_next_run_is_never_in_the_past() -> None:
    now = at("2026-10-25 02:15", "Europe/Oslo", fold=1)
    following = parse_cron("30 2 * * *", "Europe/Oslo", now).after(now)
    assert shown(following, "Europe/Oslo") == "2026-10-26 02:30:00 CET"


def test_what_runs_each_hour_keeps_to_real_time_when_the_clocks_change() -> None:
    cron = parse_cron("0 * * * *", "Europe/Oslo", 0.0)
    for day in ("2026-03-29", "2026-10-25"):
        moment: float | None = at(f"{day} 00:00", "Europe/Oslo")
        for _ in range(5):
            assert moment is not None
            following = cron.after(moment)
            assert following == moment + 3600
            moment = following


# Clocks change by an hour, by half an hour, at midnight, or not at all.
CHANGES = {
    "Europe/Oslo": ("2026-03-28", "2026-10-24"),
    "Australia/Lord_Howe": ("2026-04-04", "2026-10-03"),
    "America/Havana": ("2026-03-07", "2026-10-31"),
    "America/Santiago": ("2026-04-04", "2026-09-05"),
    "Asia/Kathmandu": ("2026-01-01",),
    "UTC": ("2026-01-01",),
}


@given(
    place=st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days]),
    offset=st.floats(0, 2 * DAY),
    minute=st.sampled_from(["*", "*/7", "*/15", "*/30", "*/60"]),
    hour=st.sampled_from(["*", "*/2", "*/5", "0", "1", "2", "3", "23", "1-3", "0,2,23"]),
    day=st.sampled_from(["* * *", "*/2 * *", "1-31 * *", "* * 0-5", "* * */2", "1 * MON"]),
)
@settings(deadline=None, max_examples=60)
def test_it_agrees_with_a_look_at_every_minute(
    place: tuple[str, str], offset: float, minute: str, hour: str, day: str
) -> None:
    zone, start = place
    begin = at(start) + offset
    cron = parse_cron(f"{minute} {hour} {day}", zone, begin)
    found = []
    moment: float | None = begin
    while (moment := cron.after(moment or 0.0)) is not None and moment <= begin + 2 * DAY:
        found.append(moment)
    fields = CronSim(f"{minute} {hour} {day}", datetime.fromtimestamp(begin, UTC))
    expected = [
        float(then)
        for then in range((int(begin) // 60 + 1) * 60, int(begin + 2 * DAY) + 1, 60)
        if _fits(fields, datetime.fromtimestamp(then, time_zone(zone)))
    ]
    assert found == expected


def _fits(fields: CronSim, then: datetime) -> bool:
    return (
        then.minute in fields.minutes
        and then.hour in fields.hours
        and then.month in fields.months
        and fields.match_day(then.date())
    )


@given(
    second=st.sampled_from(["0", "*", "*/20", "5,7", "59"]),
    minute=st.sampled_from(["*", "0", "*/15", "3,50"]),
    hour=st.sampled_from(["*", "4", "*/6", "1,23"]),
)
@settings(deadline=None)
def test_no_two_runs_are_nearer_than_the_smallest_gap(second: str, minute: str, hour: str) -> None:
    cron = parse_cron(f"{second} {minute} {hour} * * *", "UTC", 0.0)
    moment = cron.after(at("2026-03-28 12:00"))
    for _ in range(50):
        assert moment is not None
        following = cron.after(moment)
        assert following is not None
        assert following - moment >= cron.smallest_gap
        moment = following


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("* * * * * *", 1),
        ("*/20 * * * * *", 20),
        ("* * * * *", 60),
        ("*/15 9 * * *", 900),
        ("0 9,17 * * *", 8 * 3600),
        ("0 9 * * *", 23 * 3600),
    ],
)
def test_the_smallest_gap_is_read_off_the_expression(expression: str, gap: float) -> None:
    assert parse_cron(expression, "UTC", 0.0).smallest_gap == gap


# Zones


@pytest.mark.parametrize(
    "name",
    [
        "Mars/Olympus",
        "europe oslo",
        "",
        "America",
        "tzdata.zi",
        "../../etc/passwd",
        "/etc/localtime",
        "a\0b",
        "x" * 10_000,
        "\ud800",
    ],
)
def test_a_zone_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(BadSchedule, match="there is no time zone"):
        time_zone(name)


@pytest.mark.skipif(find_spec("tzdata") is not None, reason="the package tzdata is installed")
def test_a_machine_without_zone_data_says_what_to_install() -> None:
    code = """
from plughost.services.scheduler.schedule import BadSchedule, time_zone
print(time_zone("UTC"))
try:
    time_zone("Europe/Oslo")
except BadSchedule as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    utc, refusal = done.stdout.splitlines()
    assert utc == "UTC"
    assert "pip install tzdata" in refusal


# What has become due


def test_an_interval_does_not_drift() -> None:
    every = Every(10.0)
    assert due_runs(every, 100.0, 103.0, 50).next == 110.0


def test_late_runs_are_counted_up_to_the_bound() -> None:
    due = due_runs(Every(10.0), 100.0, 135.0, 50)
    assert (due.runs, due.last, due.next) == (4, 130.0, 140.0)
    due = due_runs(Every(10.0), 100.0, 1e9, 50)
    assert due.runs == 50
    assert due.next is not None
    assert due.next > 1e9


def test_a_clock_that_was_years_behind_costs_no_step_for_each_minute() -> None:
    cron = parse_cron("* * * * *", "UTC", 0.0)
    calls = 0

    class Counted(Cron):
        def after(self, moment: float) -> float | None:
            nonlocal calls
            calls += 1
            return super().after(moment)

    zone: tzinfo = UTC
    now = at("2026-01-01")
    due = due_runs(Counted("* * * * *", zone, "UTC"), cron.after(0.0) or 0.0, now, 100)
    assert (due.runs, due.next) == (100, now + 60)
    assert calls < 110


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *"]),
    st.floats(0, 3600),
    st.floats(0, 7200),
)
@settings(deadline=None)
def test_what_was_due_and_what_comes_is_everything(
    expression: str, begin: float, late: float
) -> None:
    cron = parse_cron(expression, "UTC", 0.0)
    first = cron.after(begin) or 0.0
    due = due_runs(cron, first, first + late, 10_000)
    expected = [first]
    while (following := cron.after(expected[-1])) is not None and following <= first + late:
        expected.append(following)
    assert (due.runs, due.last, due.next) == (len(expected), expected[-1], following)
