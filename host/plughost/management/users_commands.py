"""The commands `plughost users ...` and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated, Final

import typer

from .cli_app import Json, finish

__all__ = ["users"]

users: Final = typer.Typer(
    help="Fill the table of users that plugins ask.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The user's id.")]
_Preferences = Annotated[
    list[str] | None,
    typer.Argument(metavar="PREFERENCE", help="key=value, key:=JSON or key@FILE"),
]
_Name = Annotated[str | None, typer.Option(metavar="NAME", help="The user's name.")]
_Email = Annotated[str | None, typer.Option(metavar="ADDRESS", help="The user's address.")]
_Whole = Annotated[
    str | None,
    typer.Option("--preferences", metavar="JSON", help="Preferences as one object."),
]
_State = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="The host's state folder. Default: as configured."),
]


@users.command()
def add(
    user: _Id,
    preferences: _Preferences = None,
    name: _Name = None,
    email: _Email = None,
    whole: _Whole = None,
    state: _State = None,
    json: Json = False,
) -> None:
    """Add a user. From the first one on, memories are kept of users in the table only."""
    from . import users as commands

    options = commands.UserOptions(state, user, name, email, preferences or [], whole)
    finish(json, lambda output: commands.add(output, options))


@users.command("list")
def list_command(state: _State = None, json: Json = False) -> None:
    """Show all users."""
    from . import users as commands

    finish(json, lambda output: commands.list_users(output, state))


@users.command()
def show(user: _Id, state: _State = None, json: Json = False) -> None:
    """Show one user, preferences and all."""
    from . import users as commands

    finish(json, lambda output: commands.show(output, state, user))


@users.command("set")
def set_command(
    user: _Id,
    preferences: _Preferences = None,
    name: _Name = None,
    email: _Email = None,
    whole: _Whole = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="KEY", help="Drop a preference. Repeatable."),
    ] = None,
    state: _State = None,
    json: Json = False,
) -> None:
    """Change what is given of a user; other preferences stay."""
    from . import users as commands

    options = commands.UserOptions(state, user, name, email, preferences or [], whole, unset or [])
    finish(json, lambda output: commands.change(output, options))


@users.command()
def remove(user: _Id, state: _State = None, json: Json = False) -> None:
    """Remove a user from the table. What is remembered of them stays."""
    from . import users as commands

    finish(json, lambda output: commands.remove(output, state, user))
