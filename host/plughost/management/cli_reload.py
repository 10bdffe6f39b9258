"""`plughost reload` and `plughost canary`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .cli_app import Json, Socket, app, finish
from .cli_running import All, Deadline, Plugins, check_deadline, on_plugins


@app.command()
def reload(
    plugins: Plugins = None,
    everything: All = False,
    share: Annotated[
        str | None,
        typer.Option(
            "--canary",
            metavar="SHARE",
            help="First try the new version out with this share of the calls: 10%.",
        ),
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(
            "--canary-calls", metavar="NUMBER", help="After so many it is judged. Default: 100"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--canary-for", metavar="SECONDS", help="At the latest then. Default: 600"),
    ] = None,
    max_errors: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Of its calls, no more may fail. Default: 5%"),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Where the new version is, if not in the same folder."
        ),
    ] = None,
    deadline: Deadline = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Swap plugins for what is in their folders by now. No call is lost."""
    from .canary import TrialOptions, read_terms

    try:
        terms = read_terms(TrialOptions(share, calls, seconds, max_errors, path))
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    on_plugins("reload", plugins, everything, deadline, socket, json, canary=terms)


@app.command()
def canary(
    plugin: Annotated[str, typer.Argument(metavar="ID", help="A plugin of the running host.")],
    promote: Annotated[
        bool, typer.Option("--promote", help="Put the new version in the old one's place now.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Let the old version go on without it.")
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long that may take. Default: 60"),
    ] = None,
    socket: Socket = None,
    json: Json = False,
) -> None:
    """Show a version that is on trial; promote it or roll it back."""
    from .canary import CanaryOptions, act_on_canary

    if promote and roll_back:
        raise typer.BadParameter("--promote or --roll-back, not both")
    check_deadline(deadline)
    act: Literal["show", "promote", "roll_back"] = "show"
    if promote or roll_back:
        act = "promote" if promote else "roll_back"
    options = CanaryOptions(plugin, act, deadline, socket)
    finish(json, lambda output: act_on_canary(output, options))
