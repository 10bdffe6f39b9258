"""`plughost canary`."""

from typing import Annotated, Literal

import typer

from .cli_app import Json, Socket, app, finish
from .cli_running import check_deadline


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
    """Show how a plugin's version stands that is on trial; promote it, or roll it back."""
    from .canary import CanaryOptions, act_on_canary

    if promote and roll_back:
        raise typer.BadParameter("--promote or --roll-back, not both")
    check_deadline(deadline)
    act: Literal["show", "promote", "roll_back"] = "show"
    if promote or roll_back:
        act = "promote" if promote else "roll_back"
    options = CanaryOptions(plugin, act, deadline, socket)
    finish(json, lambda output: act_on_canary(output, options))
