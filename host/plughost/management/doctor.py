"""`plughost doctor`: what this machine gives of the sandbox, and how to get the rest."""

import platform
from typing import Any, Final

import msgspec

from .exit_codes import ExitCode
from .output import Cell, Column, Output

__all__ = ["examine", "print_apparmor_profile"]

_COLUMNS: Final = (
    Column("layer"),
    Column("state"),
    Column("here", fold=True),
    Column("buys", fold=True),
)
_STYLES: Final = {"ok": "green", "partial": "yellow", "missing": "bold red"}


def examine(output: Output) -> ExitCode:
    """Try every layer. 0 if plugins start with all of them, else 1."""
    system = platform.system()
    if system != "Linux":
        return _elsewhere(output, system)
    from plughost.sandbox.doctor import diagnose
    from plughost.sandbox.interpreter import find_interpreter
    from plughost.sandbox.machine import this_machine

    found = msgspec.to_builtins(diagnose(find_interpreter(), this_machine()))
    if output.as_json:
        output.json({"system": system, **found})
    else:
        _show(output, found)
    return ExitCode.OK if found["verdict"]["default_plan"] else ExitCode.GENERAL


def print_apparmor_profile(output: Output) -> ExitCode:
    """The profile that Ubuntu's AppArmor wants, for /etc/apparmor.d."""
    import os

    from plughost.sandbox.interpreter import find_interpreter
    from plughost.sandbox.remedies import apparmor_profile

    output.line(apparmor_profile(os.path.realpath(find_interpreter().executable)).rstrip())
    return ExitCode.OK


def _elsewhere(output: Output, system: str) -> ExitCode:
    told = (
        "the sandbox is made of parts of Linux: no file, no connection, no process and no memory "
        "can be kept from a plugin here, so none is started"
    )
    if output.as_json:
        nothing = {"default_plan": False, "without": None, "untrusted": False, "network": False}
        output.json({"system": system, "rows": [], "verdict": nothing, "lacks": told})
        return ExitCode.GENERAL
    output.line(Cell(f"{system}: ", "bold red"), told)
    output.line("  use Linux: a virtual machine, or a container in one")
    return ExitCode.GENERAL


def _show(output: Output, found: dict[str, Any]) -> None:
    facts, verdict = found["facts"], found["verdict"]
    place = f", in a container ({facts['container']})" if facts["container"] else ""
    who = "root" if facts["user"] == 0 else f"user {facts['user']}"
    output.line(f"Linux {facts['kernel']} {facts['architecture']}, {who}{place}")
    output.line("")
    output.table(
        _COLUMNS,
        [
            [
                Cell(row["layer"], "bold"),
                Cell(row["state"], _STYLES[row["state"]]),
                row["here"],
                row["buys"],
            ]
            for row in found["rows"]
        ],
    )
    for row in found["rows"]:
        if row["lacks"]:
            output.line("")
            output.line(Cell(f"{row['layer']}: ", _STYLES[row["state"]]), row["lacks"])
            for remedy in row["remedies"]:
                output.line(Cell("  to get it: ", "dim"), remedy)
    output.line("")
    for name, good, words in _verdict_lines(verdict):
        style = "green" if good else "bold red"
        output.line(Cell(f"{name}: ", "bold"), Cell(words, style))


def _verdict_lines(verdict: dict[str, Any]) -> list[tuple[str, bool, str]]:
    without = verdict["without"]
    waived = "" if not without else "".join(f" --without {layer}" for layer in without)
    if verdict["default_plan"]:
        start = "with every layer that is asked for"
    elif waived:
        start = f"only with less: plughost run{waived}"
    else:
        start = "not at all, and no --without helps"
    started = verdict["untrusted"], verdict["network"]
    untrusted, network = (
        ("yes" if not waived else f"yes, with{waived}") if good else "no" for good in started
    )
    held = verdict["limits_by_kernel"]
    limits = f"held by the kernel: {', '.join(held)}" if held else "by the watch, as well as it can"
    return [
        ("plugins start", verdict["default_plan"], start),
        ("plugins that you do not trust", verdict["untrusted"], untrusted),
        ("net:connect can be granted", verdict["network"], network),
        ("limits", bool(held), limits),
    ]
