"""Reading JSON and TOML that anybody wrote: bounded, and with the place of what is wrong."""

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from plughost.errors import ManifestError

from .marks import NO_MARK, Mark, mark_at

__all__ = ["decode_json", "decode_toml", "read_text", "repeats_a_key"]

_MAX_SIZE: Final = 1_000_000  # bytes; a file is read whole


def read_text(path: Path, most: int = 0) -> str | None:
    """The text of a file, or of its first `most` bytes; None where there is no file."""
    try:
        # Not blocking: a FIFO of that name would keep us here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ManifestError(path, ["is no regular file"])
            data = file.read(most or _MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise ManifestError(path, ["is a symbolic link that leads nowhere"]) from None
        return None
    except OSError as exc:
        raise ManifestError(path, [f"cannot be read: {exc.strerror}"]) from exc
    if len(data) > _MAX_SIZE:
        raise ManifestError(path, [f"is longer than {_MAX_SIZE} bytes"])
    if most:  # a header's own bytes are looked at again; other comments may be anything
        return data.decode(errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        mark = mark_at(data[: exc.start].decode(), exc.start)
        raise ManifestError(path, [f"is not UTF-8: byte {exc.start} is no text"], [mark]) from exc


def decode_json(path: Path, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        reason, mark = _json_fault(text, str(exc))
        raise ManifestError(path, [f"is not JSON: {reason}"], [mark]) from exc


def _check_keys(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is repeated")


_KEY_CHECKER: Final = json.JSONDecoder(object_pairs_hook=_check_keys)


def repeats_a_key(text: str) -> bool:
    """Whether an object in a document that is JSON may have a key twice."""
    try:
        _KEY_CHECKER.decode(text)
    except (ValueError, RecursionError):  # or it is past this decoder's bounds, not the other's
        return True
    return False


def _json_fault(text: str, reason: str) -> tuple[str, Mark]:
    """The decoder's words, and the place for which they have a byte."""
    match = re.search(r"(.*) \(byte (\d+)\)", reason)
    if match is not None:
        before = text.encode()[: int(match[2])].decode(errors="replace")
        return match[1], mark_at(text, len(before))
    if "truncated" in reason:
        return "it ends too early", mark_at(text, len(text))
    return reason, NO_MARK


_TOML_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


def decode_toml(path: Path, text: str, shift: Mark = NO_MARK) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # a ValueError: an integer of 5000 digits
        match = _TOML_PLACE.fullmatch(str(exc))
        reason = match[1] if match else str(exc)
        mark = mark_at(text, len(text))
        if match and match[2]:
            mark = Mark(int(match[2]), int(match[3]))
        mark = Mark(mark.line + shift.line, mark.column + shift.column)
        raise ManifestError(path, [f"is not TOML: {reason}"], [mark]) from exc
