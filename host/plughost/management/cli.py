"""The command `plughost`. What its commands do is imported when they run."""

import gc
import os
import sys
import traceback
from typing import Any, Final

import typer

from . import cli_plugins, cli_reload, cli_running  # noqa: F401 - they add their commands
from .cli_app import Settings, app
from .config_commands import config
from .exit_codes import ExitCode
from .output import Output
from .problems import CommandFailed, Problem, problem_of
from .users_commands import users

__all__ = ["app", "main"]

# The parent of typer.BadParameter: typer shows no other name for wrong usage of any kind.
_UsageError: Final[type[Any]] = typer.BadParameter.__mro__[1]

app.add_typer(config, name="config")
app.add_typer(users, name="users")


def main() -> int:
    """Run the command and return its exit code. Errors are told, not thrown."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character is no reason to fail.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    Settings.debug = False
    gc.disable()  # until all is imported: it would look through that again and again
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
    if Settings.debug and not problem.details:
        problem.details = "".join(traceback.format_exception(exc))
    return Output(json="--json" in sys.argv, debug=Settings.debug).problem(problem)
