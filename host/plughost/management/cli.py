"""The command `plughost`: its commands and options. What they do is imported when they run."""

import os
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from plughost.config import Layer
from plughost_protocol import __version__

from .config_commands import config
from .exit_codes import ExitCode
from .output import Output
from .problems import CommandFailed, Problem, problem_of
from .users_commands import users

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
Grants = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="The grants. Default: ./plughost.toml and your own."
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
Permissions = Annotated[
    list[str] | None, typer.Argument(metavar="PERMISSION", help="resource:action[:scope]")
]


class ModelApi(StrEnum):
    """Whose form the tool definitions have."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"


class SchemaName(StrEnum):
    """What there is a schema of."""

    MANIFEST = "manifest"


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
        typer.Argument(metavar="DIR", help="Plugins, or where they are. Default: the search path."),
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
    shared_template: SharedTemplate = False,
    without: Without = None,
    require_cgroup: RequireCgroup = False,
    file: Grants = None,
    socket: Socket = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only what fails, and warnings and errors.")
    ] = False,
    json: Json = False,
) -> None:
    """Run plugins until Ctrl-C or SIGTERM, which let open calls end."""
    from .asking import settle_grants
    from .configuration import Configuration, Options
    from .run import RunOptions, run_host
    from .waivers import warn_of_waived

    # Before there is an event loop: Ctrl-C at the question must end the command.
    output = Output(json=json, debug=_Settings.debug)
    given = Options(
        folders or [],
        file,
        memory,
        cpu,
        timeout,
        without or [],
        require_cgroup=require_cgroup,
        shared_template=shared_template,
    )
    configuration = Configuration.read(output, given)
    config = configuration.host()
    grants = settle_grants(output, configuration.folders, file)
    if grants is None:
        raise typer.Exit(ExitCode.PERMISSION)
    warn_of_waived(output, config.sandbox)
    options = RunOptions(
        configuration.folders,
        replace(config, grants=grants),
        socket or configuration.command.socket,
        quiet,
        file,
    )
    _finish(json, lambda output: run_host(output, options))


@app.command("list")
def list_command(socket: Socket = None, json: Json = False) -> None:
    """Show the plugins of the running host, and why some do not run."""
    from .listing import list_plugins

    _finish(json, lambda output: list_plugins(output, socket))


Plugins = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Plugins of the running host.")
]
All = Annotated[bool, typer.Option("--all", help="All plugins that it can be done to.")]
Deadline = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How long it may take for each plugin. Default: 60"),
]


@app.command()
def load(
    plugins: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Plugins; or folders, which have a / in them."),
    ] = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Start plugins of the running host that do not run, and those in new folders."""
    _command("load", plugins, everything, deadline, socket, json)


@app.command()
def unload(
    plugins: Plugins = None,
    everything: All = False,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="And first those that need them.")
    ] = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Stop plugins once their calls have ended."""
    _command("unload", plugins, everything, deadline, socket, json, cascade)


@app.command()
def reload(
    plugins: Plugins = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Put what is in their folders by now in the place of plugins that run. No call is lost."""
    _command("reload", plugins, everything, deadline, socket, json)


@app.command()
def enable(
    plugins: Plugins = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Have plugins called again that were disabled."""
    _command("enable", plugins, everything, deadline, socket, json)


@app.command()
def disable(
    plugins: Plugins = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Have plugins not called; their workers live on."""
    _command("disable", plugins, everything, deadline, socket, json)


def _command(
    command: Literal["load", "unload", "reload", "enable", "disable"],
    plugins: list[str] | None,
    everything: bool,
    deadline: float | None,
    socket: Path | None,
    json: bool,
    cascade: bool = False,
) -> None:
    if bool(plugins) == everything:
        raise typer.BadParameter(f"name the plugins to {command}, or give --all")
    if deadline is not None and not 0 < deadline <= 86_400:
        raise typer.BadParameter("--deadline is more than 0 and at most 86400 seconds")
    from .commands import CommandOptions, run_command

    options = CommandOptions(command, plugins or None, cascade, deadline, socket)
    _finish(json, lambda output: run_command(output, options))


@app.command()
def health(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show how well the plugins of the running host do, and why some do not."""
    from .health import show_health

    _finish(json, lambda output: show_health(output, socket, plugin))


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
    grants: Grants = None,
    without: Without = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Call a tool. Ctrl-C cancels it."""
    from .calls import CallOptions, call_tool
    from .configuration import Options

    if timeout is not None and not 0 < timeout <= 86_400:
        raise typer.BadParameter("--timeout is more than 0 and at most 86400 seconds")
    if without and not folders:
        raise typer.BadParameter("--without is for a host of one's own: give --dir, too")
    own_host = Options(folders, grants, without=without or []) if folders else None
    options = CallOptions(tool, arguments or [], args, timeout, file, own_host, socket)
    _finish(json, lambda output: call_tool(output, options))


@app.command("configure")
def configure_command(
    plugin: Annotated[
        str, typer.Argument(metavar="ID", help="One plugin; none where --values names several.")
    ] = "",
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="key=value, key:=JSON or key@FILE"),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Values as an object; @FILE, or - for stdin."),
    ] = None,
    replace_all: Annotated[
        bool, typer.Option("--replace", help="Drop the values that are not named.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Give plugins of the running host new values: all of them, or none."""
    from .configure import ConfigureOptions, configure_plugins

    options = ConfigureOptions(plugin, arguments or [], values, replace_all, socket)
    _finish(json, lambda output: configure_plugins(output, options))


@app.command()
def events(
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="What came of this event, or correlation id.")
    ] = "",
    pattern: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only these events: session.*, *")
    ] = "*",
    limit: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="How many. Default: 100, of traces 20.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with those that come.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Who got each, how it ended, and what it caused.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show the events of the running host, and their way through its plugins."""
    from .events import EventsOptions, show_events

    if limit is not None and not 1 <= limit <= 10_000:
        raise typer.BadParameter("--limit is from 1 to 10000")
    options = EventsOptions(wanted, pattern, limit, follow, trace, socket)
    _finish(json, lambda output: show_events(output, options))


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's id.")],
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The folder to make it in.")
    ] = Path(),
    example: Annotated[
        str,
        typer.Option(
            "--example",
            metavar="EXAMPLE",
            help="What it begins with: hello, one tool; services, which uses storage, events "
            "and a scheduled task.",
        ),
    ] = "hello",
    json: Json = False,
) -> None:
    """Make a new plugin that works, with a test."""
    from .new import new_plugin

    raise typer.Exit(new_plugin(Output(json=json, debug=_Settings.debug), name, folder, example))


@app.command()
def check(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR")],
    without: Without = None,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Check manifests, and start the plugins to see whether they load."""
    from .check import check_plugins
    from .configuration import Options

    options = Options(folders, file, without=without or [])
    _finish(json, lambda output: check_plugins(output, options))


@app.command("schema")
def schema_command(
    name: Annotated[SchemaName, typer.Argument(metavar="NAME", help="manifest")],
    json: Json = False,  # noqa: ARG001 - it is JSON in any case
) -> None:
    """Print the JSON Schema of what people write, for an editor that completes it."""
    from .schema import print_schema

    raise typer.Exit(print_schema(name.value))


@app.command()
def grant(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="The plugin.")],
    permissions: Permissions = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that its manifest asks for now.")
    ] = False,
    folders: Folders = None,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Let a plugin do what its manifest asks for."""
    from . import grants as commands

    options = commands.GrantOptions(plugin, permissions or [], everything, folders or [], file)
    output = Output(json=json, debug=_Settings.debug)
    raise typer.Exit(commands.grant(output, options))


@app.command()
def revoke(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="The plugin.")],
    permissions: Permissions = None,
    everything: Annotated[bool, typer.Option("--all", help="All that it is granted.")] = False,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Take back what a plugin is granted."""
    from . import grants as commands

    options = commands.GrantOptions(plugin, permissions or [], everything, [], file)
    output = Output(json=json, debug=_Settings.debug)
    raise typer.Exit(commands.revoke(output, options))


@app.command("grants")
def grants_command(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    folders: Folders = None,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Show what plugins ask for and what is granted."""
    from .grant_table import show_grants

    output = Output(json=json, debug=_Settings.debug)
    raise typer.Exit(show_grants(output, plugin, folders or [], file))


@app.command()
def doctor(
    apparmor_profile: Annotated[
        bool,
        typer.Option("--apparmor-profile", help="Print a profile for /etc/apparmor.d instead."),
    ] = False,
    json: Json = False,
) -> None:
    """Try each layer of the sandbox here, and say what is missing and how to get it."""
    from .doctor import examine, print_apparmor_profile

    command = print_apparmor_profile if apparmor_profile else examine
    raise typer.Exit(command(Output(json=json, debug=_Settings.debug)))


@app.command()
def show(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="The plugin.")],
    folders: Folders = None,
    file: Grants = None,
    without: Without = None,
    shared_template: SharedTemplate = False,
    syscalls: Annotated[
        bool, typer.Option("--syscalls", help="Name the system calls that it may make.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a plugin could touch if it were started. Reads the folders, asks no host."""
    from .configuration import Options
    from .show import ShowOptions, show_plan

    configuration = Options(
        folders or [], file, without=without or [], shared_template=shared_template
    )
    options = ShowOptions(plugin, configuration, syscalls)
    raise typer.Exit(show_plan(Output(json=json, debug=_Settings.debug), options))


@app.command("attack")
def attack_command(
    group: Annotated[
        str,
        typer.Option(
            "--group",
            metavar="GROUP",
            help="files, network, processes, kernel, resources or proxy.",
        ),
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="This attack. Repeatable.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="LAYER", help="Leave this layer out. Repeatable."),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="Hold nothing back: each attack must succeed.")
    ] = False,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Attack this machine's sandbox for real, and show what stops each attack."""
    from .attack import AttackOptions, attack

    groups = ("files", "network", "processes", "kernel", "resources", "proxy")
    if group and group not in groups:
        raise typer.BadParameter(f"--group is one of {', '.join(groups)}")
    options = AttackOptions(group, only or [], without or [], control, socket)
    _finish(json, lambda output: attack(output, options))


app.add_typer(config, name="config")
app.add_typer(users, name="users")


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
