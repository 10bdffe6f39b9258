"""The plugin text-tools: its functions on real documents, and its tools through a host."""

import codecs
import shutil
import subprocess
from collections.abc import AsyncIterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plughost import CallContext, CallTimeout, Host, InvalidParams, ToolError
from plughost_sdk import ToolError as ToolMistake

from .conftest import trusting

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parent.parent / "plugins" / "text_tools"

POEM = """\
Über allen Gipfeln
ist Ruh',
in allen Wipfeln
spürest du
kaum einen Hauch.
"""


def _load() -> Any:
    spec = spec_from_file_location("text_tools", PLUGIN / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


text_tools = _load()


def _found(pattern: str, text: str | bytes, **options: Any) -> list[str]:
    return [match.text for match in text_tools.search(pattern, text, **options).matches]


# count


def test_a_text_is_counted() -> None:
    counts = text_tools.count(POEM)

    assert (counts.characters, counts.words, counts.lines) == (75, 13, 5)
    assert counts.bytes == len(POEM.encode()) == 77
    assert counts.most_common == []


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_bytes_are_read_in_the_encoding_that_their_mark_tells(mark: bytes, encoding: str) -> None:
    data = mark + POEM.encode(encoding)
    from_text, from_bytes = text_tools.count(POEM, top=3), text_tools.count(data, top=3)

    assert from_bytes.bytes == len(data)
    from_bytes.bytes = from_text.bytes
    assert from_bytes == from_text


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("Größe".encode("latin-1"), "not utf-8 at byte 2 "),
        (codecs.BOM_UTF8 + "Größe".encode("latin-1"), "not utf-8 at byte 5 "),
        (codecs.BOM_UTF16_LE + b"a\0b", "not utf-16 at byte 4 "),
        (codecs.BOM_UTF32_LE + b"\xff\xff\xff\xff", "not utf-32 at byte 4 "),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_the_place(data: bytes, place: str) -> None:
    with pytest.raises(ToolMistake, match=place) as caught:
        text_tools.count(data)
    assert caught.value.code == "bad_encoding"


def test_an_empty_text_has_nothing_in_it() -> None:
    counts = text_tools.count("", top=10)

    assert (counts.characters, counts.words, counts.lines, counts.bytes) == (0, 0, 0, 0)
    assert counts.most_common == []


@pytest.mark.parametrize(("text", "lines"), [("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)])
def test_a_last_line_counts_with_or_without_its_end(text: str, lines: int) -> None:
    assert text_tools.count(text).lines == lines


def test_the_most_common_words_come_without_case_and_equals_by_alphabet() -> None:
    counts = text_tools.count("The cat and the hat: it's THE Cat's own, isn't it's?", top=3)

    assert counts.most_common == [("the", 3), ("it's", 2), ("and", 1)]


def test_a_document_of_megabytes_is_counted() -> None:
    text = "".join(f"line {number} of ünïcode 漢字 😀\n" for number in range(100_000))
    counts = text_tools.count(text.encode(), top=2)

    assert counts.bytes == len(text.encode()) > 3_000_000
    assert (counts.characters, counts.lines) == (len(text), 100_000)
    assert counts.words == 5 * 100_000
    assert counts.most_common == [("line", 100_000), ("of", 100_000)]


def test_more_different_words_than_memory_would_hold_are_refused() -> None:
    text = " ".join(map(str, range(250_001)))

    assert text_tools.count(text).words == 250_001
    with pytest.raises(ToolMistake, match="count the text in parts") as caught:
        text_tools.count(text, top=1)
    assert caught.value.code == "too_many_words"


# search


def test_a_match_comes_with_its_place_and_its_groups() -> None:
    found = text_tools.search(r"(?P<first>[ÜW])(\w*?)(x)?(?P<last>n)\b", POEM)

    assert not found.truncated
    (match,) = found.matches
    assert POEM[match.start : match.end] == match.text == "Wipfeln"
    assert (match.line, match.column) == (3, 10)
    assert match.groups == ["W", "ipfel", None, "n"]
    assert match.named == {"first": "W", "last": "n"}


def test_lines_and_columns_agree_with_the_text() -> None:
    lines = POEM.split("\n")

    for match in text_tools.search(r"\w+|\n", POEM, limit=1000).matches:
        assert f"{lines[match.line - 1]}\n"[match.column - 1 :].startswith(match.text)


def test_flags_are_those_of_re() -> None:
    assert _found("^ist.in", POEM) == []
    assert _found("^IST .*?IN", POEM, flags=["ignorecase", "multiline", "dotall"]) == [
        "ist Ruh',\nin"
    ]
    assert _found(r" \w+  # words", "für", flags=["verbose", "ascii"]) == ["f", "r"]


def test_more_matches_than_the_limit_are_said_to_be_there() -> None:
    found = text_tools.search("a", "a" * 11, limit=10)
    assert (len(found.matches), found.truncated) == (10, True)

    found = text_tools.search("a", "a" * 10, limit=10)
    assert (len(found.matches), found.truncated) == (10, False)


def test_a_long_match_is_cut_but_its_place_is_whole() -> None:
    (match,) = text_tools.search("((((.+))))", "x" * 5_000_000).matches

    assert (match.start, match.end) == (0, 5_000_000)
    assert [len(part) for part in (match.text, *match.groups)] == [1000] * 5


def test_the_answer_stays_small_whatever_the_groups_hold() -> None:
    found = text_tools.search("(" * 99 + ".{1000}" + ")" * 99, "x" * 100_000, limit=100)

    assert found.truncated
    assert 1 <= len(found.matches) < 100


def test_a_document_of_megabytes_is_searched() -> None:
    text = "".join(f"{number:06}: nothing here\n" for number in range(200_000))
    found = text_tools.search(r"^(\d*777): nothing", text, flags=["multiline"], limit=1000)

    assert [match.line - 1 for match in found.matches] == list(range(777, 200_000, 1000))


@pytest.mark.parametrize(
    "pattern", ["(", "a{99999999999}", "(?L)a", "(?<=a+)b", "(" * 5000 + ")" * 5000]
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ToolMistake, match="the pattern cannot be compiled") as caught:
        text_tools.search(pattern, POEM)
    assert caught.value.code == "bad_pattern"


# diff

_ODD = st.sampled_from(["a\n", "\n", "-a\n", "++ b\n", " \n", "ü\x0c\u2028\n", "c\r\n"])
_LINE = _ODD | st.integers(0, 30).map("{}\n".format)
_TEXT = st.builds(
    lambda lines, end: "".join(lines) + end, st.lists(_LINE), st.sampled_from(["", "e"])
)


@pytest.mark.skipif(shutil.which("patch") is None, reason="compares with the program patch")
@settings(max_examples=60, deadline=None, database=None)
@given(a=_TEXT, b=_TEXT, context=st.integers(0, 4))
def test_patch_makes_the_newer_text_from_the_older_and_the_diff(
    a: str, b: str, context: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = text_tools.diff(a, b, context)
    if a == b:
        assert found == text_tools.Difference("", 0, 0)
        return
    folder = tmp_path_factory.mktemp("patch")
    (folder / "a").write_bytes(a.encode())
    subprocess.run(
        ["patch", "--quiet", "--binary", "--output=b", "a"],
        cwd=folder,
        input=found.diff.encode(),
        check=True,
        capture_output=True,
        timeout=10,
    )
    assert (folder / "b").read_bytes().decode() == b


def test_added_and_removed_lines_are_counted() -> None:
    found = text_tools.diff("a\n--b\nc\n", "a\n++b\nc\n++d", context=0)

    assert (found.added, found.removed) == (2, 1)
    assert found.diff.endswith("+++d\n\\ No newline at end of file\n")


def test_documents_of_megabytes_are_compared_across_encodings() -> None:
    old = [f"line {number} of {number % 97}\n" for number in range(100_000)]
    new = [*old[:500], "one more\n", *old[500:70_000], *old[70_001:]]
    found = text_tools.diff("".join(old), "".join(new).encode("utf-16"))

    assert (found.added, found.removed) == (1, 1)
    assert found.diff.count("@@ -") == 2


# Through a host


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host([PLUGIN], trusting()) as host:
        assert not host.problems
        yield host


async def test_a_host_takes_text_and_bytes_alike(host: Host) -> None:
    from_text = await host.call("text-tools.count", {"text": POEM, "top": 1})
    from_bytes = await host.call("text-tools.count", {"text": POEM.encode(), "top": 1})

    assert from_text == from_bytes
    assert from_text["most_common"] == [["allen", 2]]


async def test_a_document_of_megabytes_goes_through_a_host(host: Host) -> None:
    text = POEM * 100_000
    counts = await host.call("text-tools.count", {"text": text})
    difference = await host.call("text-tools.diff", {"a": text, "b": f"{text}end\n".encode()})

    assert counts["bytes"] == 7_700_000
    assert (difference["added"], difference["removed"]) == (1, 0)


async def test_a_thousand_changes_in_a_hundred_thousand_lines_are_found_within_the_deadline(
    host: Host,
) -> None:
    old = "".join(f"line {number} of some length\n" for number in range(1, 100_001))
    new = old.replace("00 of", "00 for")
    difference = await host.call("text-tools.diff", {"a": old, "b": new})

    assert (difference["added"], difference["removed"]) == (1000, 1000)


async def test_a_host_tells_the_code_of_a_refusal(host: Host) -> None:
    outcomes = await host.call_many(
        [
            ("text-tools.search", {"pattern": "(", "text": POEM}),
            ("text-tools.count", {"text": b"\xff"}),
            ("text-tools.search", {"pattern": "Ruh", "text": POEM}),
        ]
    )
    errors = [outcome.error for outcome in outcomes[:2]]

    assert all(isinstance(error, ToolError) for error in errors)
    assert [error.code for error in errors if error] == ["bad_pattern", "bad_encoding"]
    assert outcomes[2].value["matches"][0]["line"] == 2


@pytest.mark.parametrize(
    ("tool", "params"),
    [
        ("count", {"text": 1}),
        ("count", {"text": "a", "top": -1}),
        ("search", {"text": "a", "pattern": ""}),
        ("search", {"text": "a", "pattern": "a", "flags": ["locale"]}),
        ("diff", {"a": "a"}),
    ],
)
async def test_parameters_that_do_not_fit_reach_no_worker(
    host: Host, tool: str, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidParams):
        await host.call(f"text-tools.{tool}", params)


async def test_a_pattern_that_never_ends_meets_the_deadline_and_the_next_call_an_answer(
    host: Host,
) -> None:
    endless = {"pattern": "(a+)+$", "text": "a" * 60 + "!"}
    first = host.plugins["text-tools"].pid

    with pytest.raises(CallTimeout):
        await host.call("text-tools.search", endless, context=CallContext(timeout=0.2))
    # Sent to the worker that still holds on; idempotent, and so once more to the next one.
    assert (await host.call("text-tools.count", {"text": "a b"}))["words"] == 2
    assert host.plugins["text-tools"].pid != first
    assert host.plugins["text-tools"].restarts == 1
