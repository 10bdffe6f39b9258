"""`plughost show`: what a plugin could touch if it were started."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from plughost.catalog.granted_paths import protected_paths
from plughost.config import HostConfig, Layer, Limits
from plughost.errors import PlughostError
from plughost.lifecycle.edition import limits_for
from plughost.lifecycle.quarters import plan_for
from plughost.policy.policy import Policy
from plughost.sandbox.machine import this_machine
from plughost.sandbox.plan import PlanRefused, SandboxPlan
from plughost.sandbox.seccomp import allowed_syscalls
from plughost.sandbox.view import DEVICES, TEMPORARY
from plughost.units import format_bytes
from plughost_protocol import ErrorCode

from .configuration import Configuration, Options
from .exit_codes import ExitCode
from .folders import find_plugin, look_in
from .output import Cell, Output
from .problems import CommandFailed, Problem

__all__ = ["ShowOptions", "show_plan"]

_INDENT: Final = 14  # characters; the longest name, and a gap


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """What `plughost show` is told."""

    plugin: str
    configuration: Options
    syscalls: bool


def show_plan(output: Output, options: ShowOptions) -> ExitCode:
    """Compute the plan as a host would, and show it. 7 if a grant that it needs is missing."""
    configuration = Configuration.read(output, options.configuration)
    config = configuration.host()
    found, refused = look_in(configuration.folders)
    plugins = {each.manifest.id: each for each in found}
    for broken in refused:
        if broken.name == options.plugin and options.plugin not in plugins:
            raise broken.error
    plugin = find_plugin(options.plugin, configuration.folders, plugins)
    policy = Policy(options.plugin, plugin.manifest.asks(), config.grants)
    refusal = policy.refusal(
        lambda: protected_paths((each.code for each in found), config.state_folder)
    )
    limits = limits_for(plugin, config)
    try:
        plan = plan_for(plugin, policy, limits, config, this_machine())
    except PlanRefused as exc:
        raise CommandFailed(_no_plan(exc)) from exc
    told = _as_json(plan, limits, config) | {"refusal": refusal}
    if not (options.syscalls or output.as_json):
        told["system_calls"] = []
    if output.as_json:
        output.json(told)
    else:
        _show(output, told, len(allowed_syscalls(plan.system_calls)))
    return ExitCode.PERMISSION if refusal else ExitCode.OK


def _no_plan(error: PlughostError) -> Problem:
    layer = error.layer if isinstance(error, PlanRefused) else None
    then = f"--without {layer}, or: plughost doctor" if layer else "plughost doctor"
    return Problem("it cannot be started here", str(error), then, code=ErrorCode.LOAD_FAILED)


def _as_json(plan: SandboxPlan, limits: Limits, config: HostConfig) -> dict[str, Any]:
    has_view = plan.view is not None
    writable = [place.path for place in plan.places if place.writable]
    sees = has_view or Layer.LANDLOCK in plan.layers
    return {
        "plugin": plan.plugin_id,
        "user": plan.user,
        "layers": [layer for layer in Layer if layer in plan.layers],
        "waived": list(config.sandbox.waived),
        "template": "shared" if config.shared_template else "own",
        "reads": [place.path for place in plan.places if not place.writable] if sees else ["/"],
        "writes": [*writable, *([TEMPORARY] if has_view else [])] if sees else ["/"],
        "executes": [place.path for place in plan.places if place.programs],
        "devices": list(DEVICES),
        "data_folder": plan.data_folder,
        "environment": sorted(plan.environment),
        "network": list(plan.network.hosts) if plan.network else [],
        "starts_programs": plan.system_calls.process,
        "limits": {
            "memory": limits.memory,
            "cpu": limits.cpu,
            "processes": limits.processes,
            "temporary_size": limits.temporary_size,
            "data_size": limits.data_size,
            "data_files": limits.data_files,
        },
        "rlimits": {_RLIMITS.get(kind, str(kind)): limit for kind, limit in plan.rlimits},
        "system_calls": list(allowed_syscalls(plan.system_calls)),
    }


_RLIMITS: Final = {
    getattr(resource, name): name.removeprefix("RLIMIT_").lower()
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"  # the old name of NOFILE
}


def _show(output: Output, told: dict[str, Any], calls: int) -> None:
    if told["refusal"]:
        output.line(Cell("not started: ", "bold red"), told["refusal"])
        output.line("")
    user = told["user"]
    waived = told["waived"]
    limits = told["limits"]
    seccomp = Layer.SECCOMP in told["layers"]
    lines: list[tuple[str, Sequence[str]]] = [
        ("user", [f"{user}, an id of its own" if user else "the id of who starts the host"]),
        ("layers", [", ".join(told["layers"]) or "none"]),
        ("waived", [", ".join(waived)] if waived else []),
        ("template", [_TEMPLATES[told["template"]]]),
        ("reads", told["reads"]),
        ("writes", told["writes"]),
        ("executes", told["executes"] or ["nothing"]),
        ("environment", [" ".join(told["environment"])]),
        ("network", told["network"] or [_network(told["layers"])]),
        ("processes", [_processes(told["starts_programs"], limits["processes"])]),
        (
            "limits",
            [
                f"{format_bytes(limits['memory'])} of memory, {limits['cpu']:.0%} of a processor",
                (
                    f"{format_bytes(limits['temporary_size'])} in /tmp, "
                    f"{format_bytes(limits['data_size'])} in {limits['data_files']} files of data"
                ),
            ],
        ),
        ("rlimits", [" ".join(f"{name}={limit}" for name, limit in told["rlimits"].items())]),
        ("system calls", [f"{calls} allowed" if seccomp else "all", *told["system_calls"]]),
    ]
    output.line(Cell(told["plugin"], "bold"))
    for name, texts in lines:
        for position, text in enumerate(texts):
            label = name if position == 0 else ""
            style = "yellow" if name == "waived" else ""
            output.line(Cell(label.ljust(_INDENT), "dim"), Cell(text, style))


_TEMPLATES: Final = {
    "own": "its own: no other plugin shares its address-space layout or hash seed",
    "shared": "shared with the other plugins",
}


def _network(layers: Sequence[str]) -> str:
    refuses = [layer for layer in (Layer.NAMESPACES, Layer.SECCOMP) if layer in layers]
    return "nothing" if refuses else "whatever the machine reaches: no layer refuses it"


def _processes(starts: object, limit: int) -> str:
    return f"it may start programs, {limit} with its threads" if starts else f"threads, {limit}"
