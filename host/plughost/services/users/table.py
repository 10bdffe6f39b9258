"""The embedded table of users, which `plughost users` fills while a host runs, or none does."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from plughost.errors import HostMisuse
from plughost.services.lazy_sqlite import LazySqlite
from plughost.services.sqlite import Connection, Schema, SqliteThread
from plughost.services.store_errors import StoreDamaged
from plughost.user_directory import User

__all__ = ["MAX_PREFERENCES", "MAX_USER_ID", "UserExists", "UserTable", "check_user_id"]

MAX_USER_ID: Final = 256  # characters
MAX_PREFERENCES: Final = 64 * 1024  # bytes of JSON
_MAX_NAME: Final = 1000  # characters, and those of an address
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_SCHEMA: Final = Schema(
    0x706C6855,  # "plhU"
    [
        [
            """CREATE TABLE users (
                id TEXT PRIMARY KEY,
                name TEXT NOT NULL,
                email TEXT NOT NULL,
                preferences TEXT NOT NULL
            ) STRICT, WITHOUT ROWID"""
        ]
    ],
)
_COLUMNS: Final = "id, name, email, preferences"


class UserExists(HostMisuse):
    """Raised when a user is added whose id is taken."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is a user {user_id!r} already")
        self.user_id = user_id


def check_user_id(user_id: str) -> None:
    """Raise `HostMisuse` for what is no user id."""
    if not 0 < len(user_id) <= MAX_USER_ID:
        raise HostMisuse(f"a user id has 1 to {MAX_USER_ID} characters, not {len(user_id)}")
    if _CONTROL.search(user_id):
        raise HostMisuse(f"a user id has no control characters: {user_id!r}")


class UserTable:
    """Users by their ids. `service` is the name under which trouble with the file is logged."""

    def __init__(self, path: Path, service: str | None = None) -> None:
        self._path = path
        self._database = LazySqlite(SqliteThread(path, _SCHEMA), service)

    async def aclose(self) -> None:
        """Close the file once what was asked before is done."""
        await self._database.aclose()

    async def get(self, user_id: str) -> User | None:
        """The user with this id, or None where there is none. Raises `StoreError`."""
        return await self._database.read(lambda connection: self._get(connection, user_id))

    async def is_empty(self) -> bool:
        """Whether there are no users at all. Raises `StoreError`."""
        return await self._database.read(
            lambda c: c.execute("SELECT 1 FROM users LIMIT 1").fetchone() is None
        )

    async def list(self) -> Sequence[User]:
        """All users, by id. Raises `StoreError`."""

        def rows(connection: Connection) -> list[User]:
            found = connection.execute(f"SELECT {_COLUMNS} FROM users ORDER BY id")  # noqa: S608
            return [self._user(row) for row in found.fetchall()]

        return await self._database.read(rows)

    async def add(self, user: User) -> None:
        """Raises `UserExists`, `HostMisuse` for a user that cannot be, `StoreError`."""
        row = _row(user)

        def insert(connection: Connection) -> None:
            if self._get(connection, user.id) is not None:
                raise UserExists(user.id)
            connection.execute(f"INSERT INTO users ({_COLUMNS}) VALUES (?, ?, ?, ?)", row)  # noqa: S608

        await self._database.write(insert)

    async def change(
        self,
        user_id: str,
        *,
        name: str | None = None,
        email: str | None = None,
        preferences: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
    ) -> User | None:
        """Change what is given; `preferences` are added to those that there are, less `remove`.

        The user as it then is, or None where there is none. Raises `HostMisuse`, `StoreError`.
        """

        def update(connection: Connection) -> User | None:
            user = self._get(connection, user_id)
            if user is None:
                return None
            kept = {key: value for key, value in user.preferences.items() if key not in remove}
            changed = User(
                user.id,
                user.name if name is None else name,
                user.email if email is None else email,
                kept | dict(preferences or {}),
            )
            connection.execute(
                "UPDATE users SET name = ?2, email = ?3, preferences = ?4 WHERE id = ?1",
                _row(changed),
            )
            return changed

        return await self._database.write(update)

    async def remove(self, user_id: str) -> bool:
        """Whether there was such a user. Raises `StoreError`."""

        def delete(connection: Connection) -> bool:
            known = self._get(connection, user_id) is not None
            connection.execute("DELETE FROM users WHERE id = ?", (user_id,))
            return known

        return await self._database.write(delete)

    def _get(self, connection: Connection, user_id: str) -> User | None:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM users WHERE id = ?",  # noqa: S608 - our column names
            (user_id,),
        ).fetchone()
        return None if row is None else self._user(row)

    def _user(self, row: tuple[str, str, str, str]) -> User:
        user_id, name, email, text = row
        try:
            preferences = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError as exc:  # another program's doing
            problem = f"the preferences of {user_id!r} are no JSON object"
            raise StoreDamaged(self._path, problem) from exc
        return User(user_id, name, email, preferences)


def _row(user: User) -> tuple[str, str, str, str]:
    check_user_id(user.id)
    for what, text in (("name", user.name), ("email address", user.email)):
        if len(text) > _MAX_NAME or _CONTROL.search(text):
            raise HostMisuse(
                f"the {what} of a user has at most {_MAX_NAME} characters, none of them control "
                f"characters"
            )
    return user.id, user.name, user.email, _json(user.preferences)


def _json(preferences: Mapping[str, Any]) -> str:
    if not all(isinstance(key, str) for key in preferences):
        raise HostMisuse("the names of preferences are texts")
    try:
        text = msgspec.json.encode(dict(preferences))
    except (TypeError, ValueError, RecursionError) as exc:
        raise HostMisuse(f"preferences are what JSON can hold: {exc}") from exc
    if len(text) > MAX_PREFERENCES:
        raise HostMisuse(
            f"the preferences of a user take at most {MAX_PREFERENCES:,} bytes as JSON, "
            f"not {len(text):,}"
        )
    return text.decode()
