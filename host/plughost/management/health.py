"""`plughost health`: how well the plugins of a running host do."""

from pathlib import Path
from typing import Final

from msgspec import structs

from .control_client import ControlClient
from .exit_codes import ExitCode
from .output import Cell, Column, Output
from .socket_path import control_path

__all__ = ["show_health"]

_COLUMNS: Final = (
    Column("id"),
    Column("health"),
    Column("errors", right=True),
    Column("memory", right=True),
    Column("reasons", fold=True),
)
_STYLES: Final = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}


async def show_health(output: Output, socket: Path | None, plugin_id: str) -> ExitCode:
    """Of all plugins, or of one. 0 where all is well, 3 where one is unhealthy, else 1."""
    async with ControlClient.connect(control_path(socket)) as host:
        found = await host.health(plugin_id)
    if output.as_json:
        output.json([structs.asdict(health) for health in found])
    else:
        rows: list[list[str | Cell]] = [
            [
                Cell(health.plugin, "bold"),
                Cell(health.status, _STYLES.get(health.status, "dim")),
                f"{health.error_rate:.0%}",
                f"{health.memory:.0%}",
                "; ".join(health.reasons),
            ]
            for health in found
        ]
        output.table(_COLUMNS, rows)
    statuses = {health.status for health in found}
    if "unhealthy" in statuses:
        return ExitCode.NOT_RUNNING
    return ExitCode.GENERAL if "degraded" in statuses else ExitCode.OK
