"""The commands `plughost config ...` and their options. What they do is imported when they run."""

from pathlib import Path
from typing import Annotated, Final

import typer

from .cli_app import Json, leave

__all__ = ["config"]

config: Final = typer.Typer(
    help="Show, check and change what is configured.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

_Key = Annotated[str, typer.Argument(metavar="KEY", help="limits.memory, plugins.ID.enabled")]
_File = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="This file, in place of those that are found."),
]


@config.command()
def show(
    prefix: Annotated[
        str, typer.Argument(metavar="KEY", help="Only this setting, or what is below it.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Defaults too.")] = False,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value comes from.")] = False,
    file: _File = None,
    json: Json = False,
) -> None:
    """Show every setting that is not a default."""
    from . import config as commands

    options = commands.ShowOptions(prefix, everything, origin, file)
    leave(json, lambda output: commands.show(output, options))


@config.command()
def check(file: _File = None, json: Json = False) -> None:
    """Name every mistake, with file, line and column."""
    from . import config as commands

    leave(json, lambda output: commands.check(output, file))


@config.command()
def get(key: _Key, file: _File = None, json: Json = False) -> None:
    """Show one value as it holds."""
    from . import config as commands

    leave(json, lambda output: commands.get(output, key, file))


@config.command("set")
def set_command(
    key: _Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As in an environment variable.")],
    file: _File = None,
    json: Json = False,
) -> None:
    """Write a value into the file; comments stay.

    That is ./plughost.toml if it is there, else your own.
    """
    from . import config as commands

    leave(json, lambda output: commands.set_value(output, key, value, file))


@config.command()
def unset(key: _Key, file: _File = None, json: Json = False) -> None:
    """Take a value out of that file."""
    from . import config as commands

    leave(json, lambda output: commands.unset(output, key, file))
