"""Text that a plugin chose, made fit for a log line or a terminal."""

import re
from typing import Final

__all__ = ["clean", "clean_line"]

# Control characters move cursors and forge lines; so do the bidirectional overrides.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_UNSAFE_IN_LINE: Final = re.compile(f"{_UNSAFE.pattern[:-1]}\n]")


def clean(text: str) -> str:
    """The text with control characters escaped; tabs and line ends stay."""
    return _UNSAFE.sub(_escape, text)


def clean_line(text: str) -> str:
    """The text as one line: line ends are escaped too."""
    return _UNSAFE_IN_LINE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
