"""Sizes, shares and durations as people write them; text that a plugin chose."""

import pytest

from plughost import HostConfig, HostMisuse, Limits, Restart, Totals
from plughost.text import clean, clean_line
from plughost.units import format_bytes, format_seconds, parse_bytes, parse_seconds, parse_share


@pytest.mark.parametrize(
    ("text", "size"),
    [("100MB", 100_000_000), ("64 MiB", 64 * 2**20), ("1.5GB", 1_500_000_000), ("4096", 4096)],
)
def test_a_size_is_read_as_it_is_written(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "0", "1e9", "100 apples", "1" * 30])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="'100MB'"):
        parse_bytes(text)


def test_a_share_is_of_one_core() -> None:
    assert parse_share("50%") == 0.5
    assert parse_share("150 %") == 1.5
    with pytest.raises(ValueError, match="'50%'"):
        parse_share("half")


def test_limits_read_text_and_refuse_nonsense() -> None:
    assert Limits(memory="100MB", cpu="50%").memory == 100_000_000
    assert Totals(memory="1GB").memory == 10**9
    with pytest.raises(HostMisuse, match=r"Limits\.memory"):
        Limits(memory="much")
    with pytest.raises(HostMisuse, match=r"Limits\.threads must be more than 0, not 0"):
        Limits(threads=0)
    with pytest.raises(HostMisuse, match=r"Totals\.workers must be more than 0"):
        Totals(workers=0)
    with pytest.raises(HostMisuse, match=r"Restart\.jitter must be 0 or more"):
        Restart(jitter=-1)
    with pytest.raises(HostMisuse, match=r"HostConfig\.call_depth"):
        HostConfig(call_depth=0)


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5 B"), (1500, "1.5 kB"), (100e6, "100 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_shown_short(value: float, text: str) -> None:
    assert format_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "250 ms"), (3.5, "3.5 s"), (600, "10 min"), (18_000, "5 h"), (260_000, "3 d")],
)
def test_durations_are_shown_short(value: float, text: str) -> None:
    assert format_seconds(value) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0", 0), ("250 ms", 0.25), ("1.5s", 1.5), ("5 min", 300), ("1 d", 86_400)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "5 m", "1e3", "1 hour", "1" * 400])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_seconds(text)


def test_control_characters_cannot_reach_a_terminal() -> None:
    assert clean("a\x1b[31mb\tc\nd") == "a\\x1b[31mb\tc\nd"
    assert clean_line("a\nb\u202ec") == "a\\nb\\u202ec"
