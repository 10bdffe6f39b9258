"""The command `plughost`: its commands and options. What they do is imported when they run."""

import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from plughost_protocol import __version__

from .exit_codes import ExitCode
from .output import Output
from .problems import CommandFailed, Problem, problem_of

__all__ = ["app", "main"]

# Without rich markup the help costs 0.1 s, with it 0.3 s.
app: Final = typer.Typer(
    name="plughost",
    help="Run plugins that you do not trust, one worker process each.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not running, 4 unknown or unreachable, "
    "5 the tool's error, 6 timeout, 7 permission, 8 signature, 9 worker died, 130 interrupted.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The parent of typer.BadParameter: typer shows no other name for wrong usage of any kind.
_UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]

Socket = Annotated[
    Path | None,
    typer.Option(envvar="PLUGHOST_SOCKET", help="The control socket of the host.", metavar="PATH"),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, errors too.")]


class ModelApi(StrEnum):
    """Whose form the tool definitions have."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"


class _Settings:
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
    _Settings.debug = debug


@app.command()
def run(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Plugins, or folders of them. Default: ./plugins"),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The most memory of a plugin: 100MB.")
    ] = None,
    cpu: Annotated[
        str | None, typer.Option(metavar="SHARE", help="The most CPU of a plugin: 50% of a core.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="The longest that any call may take.")
    ] = None,
    fork: Annotated[
        bool, typer.Option("--fork/--no-fork", help="Fork workers, or start fresh interpreters.")
    ] = True,
    socket: Socket = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only what fails, and warnings and errors.")
    ] = False,
    json: Json = False,
) -> None:
    """Run plugins until Ctrl-C or SIGTERM, which let open calls end."""
    from .run import RunOptions, run_host

    options = RunOptions(folders or [], socket, memory, cpu, timeout, fork, quiet)
    _finish(json, lambda output: run_host(output, options))


@app.command("list")
def list_command(socket: Socket = None, json: Json = False) -> None:
    """Show the plugins of the running host, and why some do not run."""
    from .listing import list_plugins

    _finish(json, lambda output: list_plugins(output, socket))


@app.command()
def tools(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    model_api: Annotated[
        ModelApi | None, typer.Option("--for", help="Tool definitions for a model API.")
    ] = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show the tools of the running host and their parameters."""
    from .listing import list_tools

    form = "" if model_api is None else model_api.value
    _finish(json, lambda output: list_tools(output, socket, plugin, form))


@app.command()
def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="PLUGIN.TOOL")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGUMENT",
            help="key=value, key:=JSON, or key@FILE for what a file holds",
        ),
    ] = None,
    args: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="All arguments as an object; @FILE, or - for stdin."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long the call may take.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the result there, bytes raw."),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--dir", metavar="DIR", help="Start these plugins for this one call."),
    ] = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Call a tool. Ctrl-C cancels it."""
    from .calls import CallOptions, call_tool

    if timeout is not None and not 0 < timeout <= 86_400:
        raise typer.BadParameter("--timeout is more than 0 and at most 86400 seconds")
    options = CallOptions(tool, arguments or [], args, timeout, file, folders or [], socket)
    _finish(json, lambda output: call_tool(output, options))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's id.")],
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The folder to make it in.")
    ] = Path(),
    json: Json = False,
) -> None:
    """Make a new plugin that works, with a test."""
    from .new import new_plugin

    raise typer.Exit(new_plugin(Output(json=json, debug=_Settings.debug), name, folder))


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR")],
    json: Json = False,
) -> None:
    """Check manifests, and start the plugins to see whether they load."""
    from .check import check_plugins

    _finish(json, lambda output: check_plugins(output, folders))


def _finish(json: bool, command: Callable[[Output], Coroutine[Any, Any, ExitCode]]) -> None:
    """Run a command's coroutine, and exit with its code."""
    import anyio

    raise typer.Exit(anyio.run(command, Output(json=json, debug=_Settings.debug)))


def main() -> int:
    """Run the command and return its exit code. Errors are told, not thrown."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    _Settings.debug = False
    try:
        code = app(standalone_mode=False)
    except BrokenPipeError:
        # Who read our output has gone. What is left in its buffer must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.GENERAL
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except Exception as exc:  # noqa: BLE001 - the outermost place: all errors become sentences
        return _tell(exc)
    return int(code or 0)


def _tell(exc: Exception) -> int:
    from plughost.errors import PlughostError

    if isinstance(exc, _UsageError):
        context = getattr(exc, "ctx", None)
        command = context.command_path if context is not None else "plughost"
        problem = Problem(exc.format_message(), then=f"{command} --help")
    elif isinstance(exc, PlughostError | CommandFailed):
        problem = problem_of(exc)
    else:
        problem = Problem(
            f"{type(exc).__name__}: {exc}",
            "this is a bug in plughost, or the machine is out of something",
            "plughost --debug ..., for the traceback",
            code="internal",
        )
    if _Settings.debug and not problem.details:
        problem.details = "".join(traceback.format_exception(exc))
    return Output(json="--json" in sys.argv, debug=_Settings.debug).problem(problem)
