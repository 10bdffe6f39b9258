"""The commands about plugins and the machine: they ask no host that runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .cli_app import Folders, Grants, Json, SharedTemplate, Socket, Without, app, finish, leave

Permissions = Annotated[
    list[str] | None, typer.Argument(metavar="PERMISSION", help="resource:action[:scope]")
]


class SchemaName(StrEnum):
    """What there is a schema of."""

    MANIFEST = "manifest"


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

    leave(json, lambda output: new_plugin(output, name, folder, example))


@app.command()
def check(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Plugins, or where they are. Default: the search path."),
    ] = None,
    without: Without = None,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Check manifests, and whether the plugins load."""
    from .check import check_plugins
    from .configuration import Options

    options = Options(folders or [], file, without=without or [])
    finish(json, lambda output: check_plugins(output, options))


@app.command("schema")
def schema_command(
    name: Annotated[SchemaName, typer.Argument(metavar="NAME", help="manifest")],
    json: Json = False,  # noqa: ARG001 - it is JSON in any case
) -> None:
    """Print the JSON Schema of manifests, for editors."""
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
    leave(json, lambda output: commands.grant(output, options))


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
    leave(json, lambda output: commands.revoke(output, options))


@app.command("grants")
def grants_command(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="One plugin only.")] = "",
    folders: Folders = None,
    file: Grants = None,
    json: Json = False,
) -> None:
    """Show what plugins ask for and what is granted."""
    from .grant_table import show_grants

    leave(json, lambda output: show_grants(output, plugin, folders or [], file))


@app.command()
def doctor(
    apparmor_profile: Annotated[
        bool,
        typer.Option("--apparmor-profile", help="Print a profile for /etc/apparmor.d instead."),
    ] = False,
    json: Json = False,
) -> None:
    """Try each layer of the sandbox here, and say what is missing."""
    from .doctor import examine, print_apparmor_profile

    command = print_apparmor_profile if apparmor_profile else examine
    leave(json, command)


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
    leave(json, lambda output: show_plan(output, options))


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
    """Attack this machine's sandbox, and show what stops each attack."""
    from .attack import AttackOptions, attack

    groups = ("files", "network", "processes", "kernel", "resources", "proxy")
    if group and group not in groups:
        raise typer.BadParameter(f"--group is one of {', '.join(groups)}")
    options = AttackOptions(group, only or [], without or [], control, socket)
    finish(json, lambda output: attack(output, options))
