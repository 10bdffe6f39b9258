"""What the commands of `plughost` share: the application, common options, how a command runs."""

import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from plughost.config import Layer
from plughost_protocol import __version__

from .command_groups import CommandGroups
from .exit_codes import ExitCode
from .output import Output

__all__ = [
    "Folders",
    "Grants",
    "Json",
    "RequireCgroup",
    "Settings",
    "SharedTemplate",
    "Socket",
    "Without",
    "app",
    "finish",
    "leave",
]

# Without rich markup the help costs 0.1 s, with it 0.3 s.
app: Final = typer.Typer(
    name="plughost",
    cls=CommandGroups,
    help="Run plugins that you do not trust, one worker process each.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 4 unknown or unreachable, "
    "5 the tool's error, 6 timeout, 7 permission, 8 signature, 9 worker died, 130 interrupted.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Socket = Annotated[
    Path | None,
    typer.Option(envvar="PLUGHOST_SOCKET", help="The control socket of the host.", metavar="PATH"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, errors too.")]
Grants = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="The configuration, in place of the files that are found."
    ),
]
Folders = Annotated[
    list[Path] | None,
    typer.Option("--dir", metavar="DIR", help="Where the plugins are. Default: the search path."),
]
Without = Annotated[
    list[Layer] | None,
    typer.Option(
        "--without",
        metavar="LAYER",
        help=f"Do without a layer of the sandbox: {', '.join(Layer)}. Repeatable.",
    ),
]
SharedTemplate = Annotated[
    bool,
    typer.Option(
        "--shared-template", help="Fork all workers from one process: faster, smaller, less apart."
    ),
]
RequireCgroup = Annotated[
    bool,
    typer.Option("--require-cgroup", help="Start nothing unless the kernel holds the limits."),
]


class Settings:
    """The options of all commands."""

    debug = False


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"plughost {__version__}")
        raise typer.Exit


@app.callback()
def settings(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of all commands."""
    Settings.debug = debug


def finish(json: bool, command: Callable[[Output], Coroutine[Any, Any, ExitCode]]) -> NoReturn:
    """Run a command's coroutine, and exit with its code."""
    import anyio

    leave(json, lambda output: anyio.run(command, output))


def leave(json: bool, command: Callable[[Output], ExitCode]) -> NoReturn:
    """Run a command that waits for nothing, and exit with its code."""
    gc.freeze()
    gc.enable()
    raise typer.Exit(command(Output(json=json, debug=Settings.debug)))
