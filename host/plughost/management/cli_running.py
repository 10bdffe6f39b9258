"""The commands that run a host, or ask one that runs."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .cli_app import (
    Grants,
    Json,
    RequireCgroup,
    Settings,
    SharedTemplate,
    Socket,
    Without,
    app,
    finish,
)
from .exit_codes import ExitCode
from .output import Output

if TYPE_CHECKING:  # the help waits for nothing that it does not need
    from .configuration import Options
    from .control import CanaryTerms


class ModelApi(StrEnum):
    """Whose form the tool definitions have."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"


Places = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DIR", help="Plugins, or where they are. Default: the search path."),
]
Memory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="The most memory of a plugin: 100MB.")
]
Cpu = Annotated[
    str | None, typer.Option(metavar="SHARE", help="The most CPU of a plugin: 50% of a core.")
]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="The longest that any call may take.")
]
State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="What plugins keep goes there. Default: as configured."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only what fails, and warnings and errors.")
]


@app.command()
def run(
    folders: Places = None,
    memory: Memory = None,
    cpu: Cpu = None,
    timeout: Timeout = None,
    shared_template: SharedTemplate = False,
    without: Without = None,
    require_cgroup: RequireCgroup = False,
    state: State = None,
    file: Grants = None,
    socket: Socket = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run plugins until Ctrl-C or SIGTERM."""
    from .configuration import Options

    given = Options(
        folders or [],
        file,
        memory,
        cpu,
        timeout,
        without or [],
        require_cgroup=require_cgroup,
        shared_template=shared_template,
        state=state,
    )
    _run(given, socket, quiet=quiet, json=json, dev=False)


@app.command()
def dev(
    folders: Places = None,
    memory: Memory = None,
    cpu: Cpu = None,
    timeout: Timeout = None,
    shared_template: SharedTemplate = False,
    without: Without = None,
    state: State = None,
    file: Grants = None,
    socket: Socket = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run plugins while you write them: what changes is loaded anew.

    Needs `pip install 'plughost[dev]'`.
    """
    from .configuration import Options

    given = Options(
        folders or [],
        file,
        memory,
        cpu,
        timeout,
        without or [],
        shared_template=shared_template,
        state=state,
        dev=True,
    )
    _run(given, socket, quiet=quiet, json=json, dev=True)


def _run(given: "Options", socket: Path | None, *, quiet: bool, json: bool, dev: bool) -> None:
    from .asking import settle_grants
    from .configuration import Configuration
    from .run import RunOptions, run_host
    from .waivers import warn_of_waived

    # Before there is an event loop: Ctrl-C at the question must end the command.
    output = Output(json=json, debug=Settings.debug)
    configuration = Configuration.read(output, given)
    config = configuration.host()
    settled = settle_grants(output, configuration.folders, given.file, config.state_folder)
    if settled is None:
        raise typer.Exit(ExitCode.PERMISSION)
    warn_of_waived(output, config.sandbox)
    options = RunOptions(
        configuration.folders,
        replace(config, grants=settled.grants),
        settled.there,
        socket or configuration.command.socket,
        quiet,
        given.file,
        dev=dev,
    )
    finish(json, lambda output: run_host(output, options))


@app.command("list")
def list_command(socket: Socket = None, json: Json = False) -> None:
    """Show the plugins, and why some do not run."""
    from .listing import list_plugins

    finish(json, lambda output: list_plugins(output, socket))


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
    """Start plugins that do not run, and those in new folders."""
    on_plugins("load", plugins, everything, deadline, socket, json)


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
    on_plugins("unload", plugins, everything, deadline, socket, json, cascade)


@app.command()
def enable(
    plugins: Plugins = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Have plugins called again that were disabled."""
    on_plugins("enable", plugins, everything, deadline, socket, json)


@app.command()
def disable(
    plugins: Plugins = None,
    everything: All = False,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Have plugins not called; their workers live on."""
    on_plugins("disable", plugins, everything, deadline, socket, json)


def check_deadline(deadline: float | None) -> None:
    """Raises `typer.BadParameter` for what is no time."""
    if deadline is not None and not 0 < deadline <= 86_400:
        raise typer.BadParameter("--deadline is more than 0 and at most 86400 seconds")


def on_plugins(
    command: Literal["load", "unload", "reload", "enable", "disable"],
    plugins: list[str] | None,
    everything: bool,
    deadline: float | None,
    socket: Path | None,
    json: bool,
    cascade: bool = False,
    canary: "CanaryTerms | None" = None,
) -> None:
    """Have it done to these plugins, or to all. Raises `typer.BadParameter`."""
    if bool(plugins) == everything:
        raise typer.BadParameter(f"name the plugins to {command}, or give --all")
    check_deadline(deadline)
    from .commands import CommandOptions, run_command

    options = CommandOptions(command, plugins or None, cascade, deadline, socket, canary)
    finish(json, lambda output: run_command(output, options))


@app.command()
def activate(
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="What plugins have in `activation`.")
    ],
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Start the plugins that sleep until this command comes."""
    check_deadline(deadline)
    from .commands import activate_plugins

    finish(json, lambda output: activate_plugins(output, command, deadline, socket))


@app.command()
def health(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show how well the plugins do, and why some do not."""
    from .health import show_health

    finish(json, lambda output: show_health(output, socket, plugin))


@app.command()
def tools(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    model_api: Annotated[
        ModelApi | None, typer.Option("--for", help="Tool definitions for a model API.")
    ] = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show the tools and their parameters."""
    from .listing import list_tools

    form = "" if model_api is None else model_api.value
    finish(json, lambda output: list_tools(output, socket, plugin, form))


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
    finish(json, lambda output: call_tool(output, options))


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
    save: Annotated[
        bool, typer.Option("--save", help="And write them into plughost.toml, for the next host.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="With --save: into this file.")
    ] = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Give plugins new values: all of them, or none."""
    from .configure import ConfigureOptions, configure_plugins

    if file is not None and not save:
        raise typer.BadParameter("--file is the file that --save writes: give --save, too")
    options = ConfigureOptions(plugin, arguments or [], values, replace_all, socket, save, file)
    finish(json, lambda output: configure_plugins(output, options))


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
    """Show the events, and their way through the plugins."""
    from .events import EventsOptions, show_events

    if limit is not None and not 1 <= limit <= 10_000:
        raise typer.BadParameter("--limit is from 1 to 10000")
    options = EventsOptions(wanted, pattern, limit, follow, trace, socket)
    finish(json, lambda output: show_events(output, options))
