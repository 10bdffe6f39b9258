"""Where a secret comes from: the file says so, and never holds the value itself."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from plughost.config import SecretText
from plughost.service_config import Secret

__all__ = ["FROM", "SecretSource", "reveal", "secret_place"]

FROM: Final = ("env", "file", "keyring")
"""The places that a secret can come from, as keys of its table."""

_MAX_SIZE: Final = 64 * 1024  # bytes of a file with one secret


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where one secret comes from, and where it may go. It does not hold the value."""

    kind: str
    """One of `FROM`."""
    name: str
    """A variable's name, a path, or `SERVICE/NAME` in the keyring."""
    hosts: tuple[str, ...] = ()
    plain_http: bool = False

    @classmethod
    def read(cls, table: Any, folder: Path) -> Self:
        """From the table of a secret that is sent. Raises `ValueError`."""
        if not isinstance(table, Mapping):
            raise ValueError(  # noqa: TRY004 - a mistake in a file, not in a call
                'must be a table such as {env = "TOKEN", hosts = ["api.example.com"]}'
            )
        if "value" in table:
            raise ValueError("holds its value, which belongs elsewhere: write env, file or keyring")
        known = (*FROM, "hosts", "plain_http")
        for name in table:
            if name not in known:
                raise ValueError(f"{name} is not known; there are {', '.join(known)}")
        kind, name = _source(table, folder)
        hosts = table.get("hosts")
        if not isinstance(hosts, list) or not hosts or not all(isinstance(h, str) for h in hosts):
            raise ValueError('names no host that it is for: hosts = ["api.example.com"]')
        plain_http = table.get("plain_http", False)
        if not isinstance(plain_http, bool):
            raise ValueError("plain_http must be true or false")  # noqa: TRY004 - a file's mistake
        return cls(kind, name, tuple(hosts), plain_http)

    def value(self) -> str:
        """The secret itself. Raises `ValueError`, which does not tell it."""
        return _READERS[self.kind](self.name)

    def secret(self) -> Secret:
        """What the plugin sends and never sees. Raises `ValueError`."""
        return Secret(self.value(), self.hosts, self.plain_http)

    def __str__(self) -> str:
        """For people: where it comes from."""
        words = {"env": "the variable", "file": "the file", "keyring": "the keyring's"}
        return f"{words[self.kind]} {self.name}"


def secret_place(value: Any, folder: Path) -> SecretSource | None:
    """The source in a plugin's own value `{secret = {env = "NAME"}}`; None for any other."""
    if not isinstance(value, Mapping) or list(value) != ["secret"]:
        return None
    table = value["secret"]
    if not isinstance(table, Mapping) or set(table) - set(FROM):
        raise ValueError(f"secret must be a table with one of {', '.join(FROM)}")
    return SecretSource(*_source(table, folder))


def reveal(value: Any) -> Any:
    """A plugin's own value with its secrets read, wrapped so that nothing shows them.

    Raises `ValueError`.
    """
    if isinstance(value, SecretSource):
        return SecretText(value.value())
    if isinstance(value, Mapping):
        return {name: reveal(inner) for name, inner in value.items()}
    return [reveal(item) for item in value] if isinstance(value, list) else value


def _source(table: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    given = [name for name in FROM if name in table]
    if len(given) != 1:
        raise ValueError(f"must say where it comes from, with one of {', '.join(FROM)}")
    kind = given[0]
    name = table[kind]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{kind} must be a text")
    if kind == "file":
        name = str(folder / Path(name).expanduser())
    if kind == "keyring" and "/" not in name.strip("/"):
        raise ValueError(f"keyring must be SERVICE/NAME, not {name!r}")
    return kind, name


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ValueError(f"the variable {name} is not set")
    return value


def _from_file(name: str) -> str:
    try:
        # Not blocking: a FIFO of that name would keep us here.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"{name} is no regular file")
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
                mode = stat.S_IMODE(found.st_mode)
                raise ValueError(
                    f"{name} can be read by others (mode {mode:04o}): make it yours, and "
                    f"chmod 600 {name}"
                )
            data = file.read(_MAX_SIZE + 1)
    except OSError as exc:
        raise ValueError(f"{name} cannot be read: {exc.strerror}") from exc
    if len(data) > _MAX_SIZE:
        raise ValueError(f"{name} is longer than {_MAX_SIZE} bytes")
    try:
        value = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not UTF-8 text") from None
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _from_keyring(name: str) -> str:
    try:
        import keyring
    except ImportError as exc:
        raise ValueError("the keyring needs: pip install 'plughost[keyring]'") from exc
    service, _, user = name.rpartition("/")
    try:
        value = keyring.get_password(service, user)
    except Exception as exc:  # a keyring's backend is anybody's code
        raise ValueError(f"the keyring gives no {name}: {exc}") from exc
    if not value:
        raise ValueError(f"the keyring has no {name}: keyring set {service} {user}")
    return str(value)


_READERS: Final = {"env": _from_environment, "file": _from_file, "keyring": _from_keyring}
