"""Plugins that print and log without end, or what they should not."""

import logging
from dataclasses import replace

import anyio
import pytest

from plughost import Host, ToolError

from .plugins.zoo import QUICK, until, zoo

pytestmark = pytest.mark.anyio

SPARING = replace(QUICK, log_lines_per_second=20, log_line_length=100)


def lines(host: Host, plugin: str, source: str) -> list[str]:
    return [entry.message for entry in host.plugin(plugin).log.entries if entry.source == source]


@pytest.mark.parametrize(
    ("tool", "source"), [("stdout", "stdout"), ("stderr", "stderr"), ("endless_line", "stdout")]
)
async def test_a_flood_of_output_is_cut_to_rate_and_length(tool: str, source: str) -> None:
    heard: list[str] = []
    async with zoo("floods_its_output", limits=SPARING) as host:
        plugin = host.plugin("floods-its-output")
        begun = anyio.current_time()
        await host.call(f"floods-its-output.{tool}")
        await until(lambda: plugin.log.dropped > 0 and anyio.current_time() > begun + 0.5)
        heard = lines(host, plugin.id, source)
        assert plugin.last_exit is None
        # Five seconds' worth may come at once; half of what follows are the host's own lines.
        assert 100 <= len(plugin.log.entries) <= 200
        assert max(map(len, heard)) <= 100 + len("... (100000 characters)")
        if tool != "stdout":
            assert heard[0].endswith(" characters)")
        said = lines(host, plugin.id, "host")
        await until(lambda: "lines were dropped: over 20 a second" in said.pop() if said else True)


async def test_empty_lines_without_end_are_no_lines() -> None:
    async with zoo("floods_its_output", limits=SPARING) as host:
        await host.call("floods-its-output.nothing_but_line_ends")
        assert await host.call("floods-its-output.close") is None
        assert lines(host, "floods-its-output", "stdout") == []


async def test_a_plugin_that_closes_its_output_lives_on_without() -> None:
    async with zoo("floods_its_output") as host:
        for _ in range(2):
            try:
                await host.call("floods-its-output.close")
            except ToolError as exc:
                assert "Bad file descriptor" in str(exc)  # noqa: PT017 - the second time
        assert host.plugin("floods-its-output").last_exit is None


@pytest.mark.parametrize("tool", ["short", "long", "fields"])
async def test_a_flood_of_log_records_is_cut_to_rate_and_length(tool: str) -> None:
    async with zoo("floods_its_log", limits=SPARING) as host:
        plugin = host.plugin("floods-its-log")
        await host.call(f"floods-its-log.{tool}")
        await until(lambda: len(lines(host, plugin.id, "log")) >= 50)
        kept = sum(
            len(entry.message) + sum(map(len, map(str, entry.fields.values())))
            for entry in plugin.log.entries
        )
        assert kept < 200 * 21_000
        assert max(map(len, lines(host, plugin.id, "log"))) <= 100 + 30
        assert plugin.last_exit is None


async def test_what_cannot_be_logged_as_it_is_is_logged_as_text() -> None:
    async with zoo("floods_its_log") as host:
        assert await host.call("floods-its-log.odd_fields") == "logged"
        plugin = host.plugin("floods-its-log")
        await until(lambda: len(lines(host, plugin.id, "log")) == 5)
        fields = {entry.message: entry.fields for entry in plugin.log.entries}
        assert str(fields["list"]["items"]).startswith("[1, {'a': <object")
        assert fields["key"] == {"1": 2}
        assert fields["none"] == {}
        assert fields[r"half a character \ud800"] == {"half": r"\ud800"}
        assert fields["huge"] == {"number": str(10**30)}


async def test_control_characters_are_escaped_wherever_a_person_reads_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with zoo("forges_log_lines") as host:
        plugin = host.plugin("forges-log-lines")
        await host.call("forges-log-lines.log")
        await host.call("forges-log-lines.write")
        with pytest.raises(ToolError) as caught:
            await host.call("forges-log-lines.fail")
        await until(lambda: len(plugin.log.entries) >= 5)
        seen = [str(caught.value), caught.value.code, caught.value.traceback]
        seen += [entry.message for entry in plugin.log.entries]
        for entry in plugin.log.entries:
            seen += [*entry.fields, *map(str, entry.fields.values())]
    seen += [record.getMessage() for record in caplog.records]
    for text in seen:
        assert not set("\x1b\r\x07\u202e\u2028") & set(text)
    assert any(r"\x1b[1;31mall plugins died\x1b[0m" in text for text in seen)
    assert all("\n" not in record.getMessage() for record in caplog.records)
