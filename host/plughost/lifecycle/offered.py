"""What a plugin offers once it is loaded, kept so that nobody has to start it to know.

Kept in the state folder, one file for each plugin, and believed only as long as nothing has changed
that it may depend on: the plugin's files, its manifest, its configuration, its permissions, and
plughost itself. What is believed passes the same checks as what a worker says.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from plughost.catalog.discovery import Found
from plughost.catalog.fingerprint import file_marks
from plughost.config import SecretText
from plughost.services.registrations import Registration
from plughost_protocol import Description, __version__, encode

__all__ = ["NOTHING_KNOWN", "Offered", "OfferedStore", "offered_key"]

_log: Final = logging.getLogger("plughost")

_FORM: Final = 1  # of the file
_MAX_FILES: Final = 20_000


class Offered(Struct, frozen=True):
    """What a worker of a plugin has offered when it was loaded."""

    key: str
    """What it depended on; see `offered_key`. Empty where that could not be said."""
    description: Description
    registrations: tuple[Registration, ...] = ()


NOTHING_KNOWN: Final = Offered("", Description([]))
"""Of a plugin that no worker has loaded yet."""


class _Kept(Struct, frozen=True):
    form: int
    offered: Offered


def offered_key(found: Found, config: Mapping[str, Any], granted: Sequence[str]) -> str:
    """A digest of all that decides what a plugin offers; empty where there is too much of it.

    Files go by name, size and the times of their last change.
    """
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode())

    add(_FORM, __version__, str(found.code))
    add(encode(msgspec.to_builtins(found.manifest)), _plain(config), sorted(granted))
    for number, entry in enumerate(file_marks(found.code)):
        if number >= _MAX_FILES:
            return ""
        add(*entry)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A configuration in one form. Of a secret, that there is one: it is not to be guessed."""
    if isinstance(value, SecretText):
        return ("secret",)
    if isinstance(value, Mapping):
        return sorted((str(name), _plain(inner)) for name, inner in value.items())
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else repr(value)


class OfferedStore:
    """The files. Its methods read and write, and belong into a thread."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "offered"

    def read(self, plugin_id: str, key: str) -> Offered | None:
        """What a plugin offers, if it is known for this key."""
        if not key:
            return None
        try:
            data = self._path(plugin_id).read_bytes()
            kept = msgspec.msgpack.decode(data, type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
            _log.warning("what plugin %s offers is read anew: %s", plugin_id, exc)
            return None
        fits = kept.form == _FORM and kept.offered.key == key
        return kept.offered if fits else None

    def write(self, plugin_id: str, offered: Offered) -> None:
        """Keep it; where that cannot be, the next host starts the plugin to know."""
        path = self._path(plugin_id)
        draft = path.with_suffix(f".{os.getpid()}.new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(msgspec.msgpack.encode(_Kept(_FORM, offered)))
            draft.replace(path)
        except OSError as exc:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            _log.warning("what plugin %s offers is not kept: %s", plugin_id, exc)

    def _path(self, plugin_id: str) -> Path:
        return self._folder / f"{plugin_id}.msgpack"
