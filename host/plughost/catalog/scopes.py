"""What may stand behind a permission's action, and which scope includes which other."""

import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from .host_names import HostRule

__all__ = [
    "HOST",
    "PATH",
    "PATTERN",
    "VARIABLE",
    "ScopeGrammar",
    "is_reserved_variable",
    "path_of",
]

_MAX_LENGTH: Final = 1000  # characters; the longest path that makes sense is far shorter


class ScopeGrammar(Protocol):
    """One kind of scope."""

    def parse(self, text: str) -> str:
        """The scope in its one form. Raises `ValueError`, with the reason in words."""

    def matches(self, scope: str, value: str) -> bool:
        """Whether a permission for `scope` holds for the thing `value`."""

    def includes(self, wide: str, narrow: str) -> bool:
        """Whether everything that `narrow` stands for is in `wide` too."""


def _printable(text: str) -> str:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a scope has at most {_MAX_LENGTH} characters, not {len(text)}")
    # Control characters, line ends, bidirectional overrides and lone surrogates.
    if not text.isprintable():
        raise ValueError(f"{text!r} holds characters that cannot be shown")
    return text


class _Pattern:
    """Names, where `*` stands for any text."""

    def parse(self, text: str) -> str:
        if " " in _printable(text):
            raise ValueError(f"{text!r} holds a space")
        return text

    def matches(self, scope: str, value: str) -> bool:
        return fnmatchcase(value, scope)

    def includes(self, wide: str, narrow: str) -> bool:
        # The pattern `narrow` is matched as if it were a name. That is right for its `*` and `?`
        # where a `*` takes them, and wrong where a `?` or a `[...]` does.
        if "[" in narrow or (_has_wildcard(narrow) and _has_wildcard(wide, "?[")):
            return wide == narrow
        return fnmatchcase(narrow, wide)


def _has_wildcard(pattern: str, wildcards: str = "*?[") -> bool:
    return any(character in pattern for character in wildcards)


class _Path:
    """A file or a folder with all that is in it."""

    def parse(self, text: str) -> str:
        if not _printable(text).startswith(("/", "~/")):
            raise ValueError(f"{text!r} is no absolute path: begin it with / or ~/")
        if "*" in text:
            raise ValueError(f"{text!r} is a pattern: name a folder, for everything below it")
        path = text.rstrip("/")
        if any(part in ("", ".", "..") for part in path.split("/")[1:]):
            raise ValueError(f"{text!r} must be written without '//', '.' and '..'")
        return path if path not in ("", "~") else f"{path}/"

    def matches(self, scope: str, value: str) -> bool:
        return self.includes(scope, value)

    def includes(self, wide: str, narrow: str) -> bool:
        try:
            return path_of(self.parse(narrow)).is_relative_to(path_of(wide))
        except ValueError:
            return False


def path_of(scope: str) -> PurePosixPath:
    """The path that the scope of an `fs` permission names, with the home folder for its `~`."""
    if not scope.startswith("~/"):
        return PurePosixPath(scope)
    try:
        return PurePosixPath(Path.home().resolve(), scope[2:])
    except RuntimeError:
        raise ValueError(f"{scope!r} names a home folder, and there is none") from None


class _Host:
    """A host name with an optional port; see `plughost.catalog.host_names`."""

    def parse(self, text: str) -> str:
        return str(HostRule.parse(_printable(text)))

    def matches(self, scope: str, value: str) -> bool:
        return self.includes(scope, value)

    def includes(self, wide: str, narrow: str) -> bool:
        try:
            return HostRule.parse(wide).covers(HostRule.parse(narrow))
        except ValueError:  # a name of the local network, which no scope stands for
            return False


_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The loader, the C library (its own list of what a setuid program must not see), the interpreter
# and OpenSSL load code and find files at their word; plughost sets the last ones itself.
_OBEYED_PREFIXES: Final = ("LD_", "PYTHON", "MALLOC_", "GLIBC_", "OPENSSL_", "PLUGHOST_")
_OBEYED: Final = re.compile(
    "GCONV_PATH|GETCONF_DIR|HOSTALIASES|LOCALDOMAIN|LOCPATH|NIS_PATH|NLSPATH|RESOLV_HOST_CONF"
    "|RES_OPTIONS|TZDIR|SSLKEYLOGFILE|BASH_ENV|ENV|IFS|HOME|PATH|TEMP|TMP|TMPDIR"
)


def is_reserved_variable(name: str) -> bool:
    """Whether something obeys the variable, so that no plugin may have the host's."""
    return _OBEYED.fullmatch(name) is not None or name.startswith(_OBEYED_PREFIXES)


class _Variable:
    """The name of one environment variable."""

    def parse(self, text: str) -> str:
        if _NAME.fullmatch(text) is None:
            raise ValueError(f"{text!r} is no variable's name: letters, digits and _ only")
        if is_reserved_variable(text):
            raise ValueError(
                f"the variable {text} cannot be passed on: the loader, the interpreter or a "
                "library obeys it"
            )
        return text

    def matches(self, scope: str, value: str) -> bool:
        return scope == value

    def includes(self, wide: str, narrow: str) -> bool:
        return wide == narrow


PATTERN: Final[ScopeGrammar] = _Pattern()
PATH: Final[ScopeGrammar] = _Path()
HOST: Final[ScopeGrammar] = _Host()
VARIABLE: Final[ScopeGrammar] = _Variable()
