"""Counts, searches and compares texts.

A text is given as str, or as bytes: UTF-8, or UTF-16 or UTF-32 with a byte order mark. A regular
expression that takes forever is not this plugin's worry: the host's deadline ends it.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from io import StringIO
from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from plughost_sdk import Plugin, ToolError

plugin = Plugin()

# msgspec has no union of str and bytes, so the annotation says it in JSON Schema.
_SCHEMA: Final = {"anyOf": [{"type": "string"}, {"type": "string", "contentEncoding": "base64"}]}
Document: TypeAlias = Annotated[Any, Meta(extra_json_schema=_SCHEMA)]
Flag: TypeAlias = Literal["ignorecase", "multiline", "dotall", "verbose", "ascii"]

_Change: TypeAlias = tuple[int, int, int, int]  # a[i:i_end] became b[j:j_end]

_WORD: Final = re.compile(r"\w+(?:['\u2019-]\w+)*")
_MARKS: Final = {
    # The order counts: a mark of UTF-32 begins with one of UTF-16.
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-8-sig": (b"",),  # takes UTF-8 with and without a mark
}
_MAX_DISTINCT: Final = 250_000  # words; a count of more would outgrow the memory limit
_MAX_SHOWN: Final = 1_000  # characters of one match or group; start and end tell the rest
_MAX_FOUND: Final = 1_000_000  # characters of all of them, each value counted as 50 more


class Counts(Struct):
    """What a text consists of. `bytes` is its size as given, or in UTF-8 if given as str.

    `most_common` holds words in lower case with their numbers, the most frequent first.
    """

    characters: int
    words: int
    lines: int
    bytes: int
    most_common: list[tuple[str, int]]


class Match(Struct):
    """One place. `line` and `column` begin at 1, `start` and `end` at 0; all in characters.

    `text` and groups are cut after 1,000 characters; a group without a part in it is null.
    """

    line: int
    column: int
    start: int
    end: int
    text: str
    groups: list[str | None]
    named: dict[str, str | None]


class Found(Struct):
    """The matches in order; `truncated` tells that there may be more."""

    matches: list[Match]
    truncated: bool


class Difference(Struct):
    """`diff` is a unified diff as `patch` takes it, empty where nothing differs."""

    diff: str
    added: int
    removed: int


@plugin.tool(idempotent=True)
def count(text: Document, top: Annotated[int, Meta(ge=0, le=1000)] = 0) -> Counts:
    """Count the characters, words, lines and bytes of a text.

    Args:
        text: The text, or its bytes.
        top: So many of the most common words are listed, with upper and lower case as one.
    """
    content = _decoded(text)
    words = 0
    seen: Counter[str] = Counter()
    for word in _WORD.finditer(content):
        words += 1
        if top:
            seen[word[0].casefold()] += 1
            if len(seen) > _MAX_DISTINCT:
                problem = f"over {_MAX_DISTINCT:,} different words: count the text in parts"
                raise ToolError(problem, code="too_many_words")
    # The more frequent first; equals by alphabet, so that the answer does not vary.
    ranking = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    return Counts(
        characters=len(content),
        words=words,
        lines=content.count("\n") + (content[-1:] not in ("", "\n")),  # the last may lack its end
        bytes=len(text) if isinstance(text, bytes) else len(content.encode()),
        most_common=ranking[:top],
    )


@plugin.tool(idempotent=True)
def search(
    pattern: Annotated[str, Meta(min_length=1, max_length=10_000)],
    text: Document,
    flags: Sequence[Flag] = (),
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100,
) -> Found:
    """Find a Python regular expression in a text.

    Args:
        pattern: The regular expression, in the syntax of Python's `re`.
        text: The text, or its bytes.
        flags: How to read the pattern: the flags of Python's `re`.
        limit: At most so many matches are returned.
    """
    content = _decoded(text)
    matches: list[Match] = []
    room = _MAX_FOUND
    line, line_start, passed = 1, 0, 0
    for match in _compiled(pattern, flags).finditer(content):
        start, end = match.span()
        # From match to match: a search from the top each time would be quadratic.
        line += content.count("\n", passed, start)
        line_start = content.rfind("\n", passed, start) + 1 or line_start
        passed = start
        found = Match(
            line=line,
            column=start - line_start + 1,
            start=start,
            end=end,
            text=_shown(match, 0) or "",
            groups=[_shown(match, number + 1) for number in range(match.re.groups)],
            named={name: _shown(match, name) for name in match.re.groupindex},
        )
        room -= sum(50 + len(part or "") for part in (found.text, *found.groups))
        if len(matches) == limit or room < 0:
            return Found(matches, truncated=True)
        matches.append(found)
    return Found(matches, truncated=False)


@plugin.tool(idempotent=True)
def diff(a: Document, b: Document, context: Annotated[int, Meta(ge=0, le=1000)] = 3) -> Difference:
    """Compare two texts line by line.

    Args:
        a: The older text, or its bytes.
        b: The newer text, or its bytes.
        context: So many unchanged lines are shown around each change.
    """
    # Not splitlines(): it also breaks at form feeds and other characters that `patch` does not.
    older, newer = (list(StringIO(_decoded(text))) for text in (a, b))
    changes = list(_changes(older, newer))
    lines = ["--- a\n", "+++ b\n", *_hunks(older, newer, changes, context)] if changes else []
    return Difference(
        "".join(x if x[-1] == "\n" else f"{x}\n\\ No newline at end of file\n" for x in lines),
        added=sum(j_end - j for _, _, j, j_end in changes),
        removed=sum(i_end - i for i, i_end, _, _ in changes),
    )


def _changes(a: list[str], b: list[str]) -> Iterator[_Change]:
    # difflib takes time by lines times changes, so it compares only between the lines that both
    # texts have once. These may have moved, but where hardly anything differs it is quick.
    once = {line for line, n in (Counter(a) | Counter(b)).items() if n == 1} & set(a) & set(b)
    in_a, in_b = ([at for at, line in enumerate(text) if line in once] for text in (a, b))
    rare = SequenceMatcher(None, [a[i] for i in in_a], [b[j] for j in in_b], autojunk=False)
    blocks = rare.get_matching_blocks()
    anchors = [(in_a[i + k], in_b[j + k]) for i, j, size in blocks for k in range(size)]
    i = j = 0
    for x, y in [*anchors, (len(a), len(b))]:
        if i < x or j < y:
            for tag, *(i1, i2, j1, j2) in SequenceMatcher(None, a[i:x], b[j:y]).get_opcodes():
                if tag != "equal":
                    yield i + i1, i + i2, j + j1, j + j2
        i, j = x + 1, y + 1


def _hunks(a: list[str], b: list[str], changes: list[_Change], context: int) -> Iterator[str]:
    hunks: list[list[_Change]] = []
    for change in changes:
        if hunks and change[0] - hunks[-1][-1][1] <= 2 * context:
            hunks[-1].append(change)
        else:
            hunks.append([change])
    for hunk in hunks:
        before, after = min(context, hunk[0][0]), min(context, len(a) - hunk[-1][1])
        at, end = hunk[0][0] - before, hunk[-1][1] + after
        ranges = _range(at, end), _range(hunk[0][2] - before, hunk[-1][3] + after)
        yield "@@ -{} +{} @@\n".format(*ranges)
        for i, i_end, j, j_end in hunk:
            yield from (f" {line}" for line in a[at:i])
            yield from (f"-{line}" for line in a[i:i_end])
            yield from (f"+{line}" for line in b[j:j_end])
            at = i_end
        yield from (f" {line}" for line in a[at:end])


def _range(start: int, end: int) -> str:
    return f"{start + (start < end)},{end - start}"  # the line before names an empty one


def _decoded(document: str | bytes) -> str:
    if isinstance(document, str):
        return document
    encoding = next(key for key, marks in _MARKS.items() if document.startswith(marks))
    try:
        return document.decode(encoding)
    except UnicodeDecodeError as exc:
        # Of UTF-8 the codec sees only what follows the mark.
        place = len(document) - len(exc.object) + exc.start
        raise ToolError(
            f"the text is not {encoding.removesuffix('-sig')} at byte {place} ({exc.reason}): "
            "give it as str, as UTF-8, or as UTF-16 that begins with a byte order mark",
            code="bad_encoding",
        ) from exc


def _compiled(pattern: str, flags: Sequence[Flag]) -> re.Pattern[str]:
    chosen = re.NOFLAG
    for flag in flags:
        chosen |= re.RegexFlag[flag.upper()]
    try:
        return re.compile(pattern, chosen)
    except (re.error, ValueError, OverflowError, RecursionError) as exc:
        raise ToolError(f"the pattern cannot be compiled: {exc}", code="bad_pattern") from exc


def _shown(match: re.Match[str], group: int | str) -> str | None:
    # By its place: a hundred nested groups of a large text would be a hundred copies of it.
    start, end = match.span(group)
    return None if start < 0 else match.string[start : min(end, start + _MAX_SHOWN)]
