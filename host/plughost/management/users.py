"""`plughost users`: the embedded table of users, filled while a host runs or none does."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from plughost.config import HostConfig
from plughost.errors import HostMisuse
from plughost.services.users.service import UnknownUser, users_file
from plughost.services.users.table import UserExists, UserTable
from plughost.user_directory import User

from .arguments import parse_arguments
from .configuration import configured_state
from .exit_codes import USAGE, ExitCode
from .output import Cell, Column, Output, to_json
from .problems import CommandFailed, Problem

__all__ = ["UserOptions", "add", "change", "list_users", "remove", "show"]

_COLUMNS: Final = (
    Column("id"),
    Column("name"),
    Column("email"),
    Column("preferences", right=True),
)


@dataclass(frozen=True, slots=True)
class UserOptions:
    """One user, and what is said of it; None leaves it as it is."""

    state: Path | None
    user_id: str
    name: str | None = None
    email: str | None = None
    preferences: Sequence[str] = ()
    """`key=value`, `key:=JSON` or `key@FILE`."""
    whole: str | None = None
    """A JSON object of preferences."""
    unset: Sequence[str] = ()


async def add(output: Output, options: UserOptions) -> ExitCode:
    """Add a user."""
    user = User(options.user_id, options.name or "", options.email or "", _preferences(options))
    async with _table(options.state) as table:
        try:
            await table.add(user)
        except UserExists as exc:
            then = f"plughost users set {options.user_id}, to change what is there"
            raise CommandFailed(Problem(str(exc), then=then, code=USAGE)) from exc
    _tell(output, user, "added")
    return ExitCode.OK


async def change(output: Output, options: UserOptions) -> ExitCode:
    """Change what is given of a user, and leave the rest."""
    async with _table(options.state) as table:
        user = await table.change(
            options.user_id,
            name=options.name,
            email=options.email,
            preferences=_preferences(options),
            remove=options.unset,
        )
    if user is None:
        raise UnknownUser(options.user_id)
    _tell(output, user, "changed")
    return ExitCode.OK


async def show(output: Output, state: Path | None, user_id: str) -> ExitCode:
    """Show one user, preferences and all."""
    async with _table(state) as table:
        user = await table.get(user_id)
    if user is None:
        raise UnknownUser(user_id)
    if output.as_json:
        output.json(_as_json(user))
        return ExitCode.OK
    for title, text in (("id", user.id), ("name", user.name), ("email", user.email)):
        output.line(Cell(f"{title}: ", "dim"), text or "-")
    output.line(Cell("preferences: ", "dim"), to_json(user.preferences))
    return ExitCode.OK


async def list_users(output: Output, state: Path | None) -> ExitCode:
    """Show all users."""
    async with _table(state) as table:
        users = await table.list()
    if output.as_json:
        output.json([_as_json(user) for user in users])
    elif users:
        rows = [[user.id, user.name, user.email, str(len(user.preferences))] for user in users]
        output.table(_COLUMNS, rows)
    else:
        output.line("no users: plughost users add ID")
    return ExitCode.OK


async def remove(output: Output, state: Path | None, user_id: str) -> ExitCode:
    """Remove one user from the table. What is remembered of them stays."""
    async with _table(state) as table:
        if not await table.remove(user_id):
            raise UnknownUser(user_id)
    if output.as_json:
        output.json({"removed": user_id})
    else:
        output.line(f"{user_id} removed")
    return ExitCode.OK


@asynccontextmanager
async def _table(state: Path | None) -> AsyncIterator[UserTable]:
    table = UserTable(users_file(HostConfig(state_folder=state or configured_state()).state))
    try:
        yield table
    except HostMisuse as exc:  # an id or a value that cannot be
        raise CommandFailed(Problem(str(exc), code=USAGE)) from exc
    finally:
        await table.aclose()


def _preferences(options: UserOptions) -> Mapping[str, Any]:
    whole: Mapping[str, Any] = {}
    if options.whole is not None:
        try:
            whole = msgspec.json.decode(options.whole, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as exc:
            raise CommandFailed(
                Problem(
                    "--preferences is no JSON object",
                    str(exc),
                    """--preferences '{"theme": "dark"}', or theme=dark""",
                    code=USAGE,
                )
            ) from exc
    return {**whole, **parse_arguments(options.preferences, None, {}, "users")}


def _as_json(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "preferences": user.preferences,
    }


def _tell(output: Output, user: User, what: str) -> None:
    if output.as_json:
        output.json(_as_json(user))
    else:
        output.line(f"{user.id} {what}")
