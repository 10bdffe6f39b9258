"""Before `plughost run`: a person is asked for the grants that are missing, a program is told."""

import select
import signal
import socket
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from plughost.catalog.asks import Ask
from plughost.catalog.discovery import Discovered, Found
from plughost.catalog.granted_paths import path_problem, protected_paths
from plughost.policy.policy import Policy
from plughost.settings.files import GrantFiles, find_grant_files
from plughost.text import clean_line
from plughost_protocol import ErrorCode

from .folders import look_in
from .grant_edit import add_grants
from .output import Cell, Output
from .problems import Problem
from .ungranted import Ungranted

__all__ = ["Settled", "settle_grants"]

_ANSWERS: Final = ("y", "yes", "v", "view", "view all")


class Settled(NamedTuple):
    """What may run."""

    grants: dict[str, tuple[str, ...]]
    """Those that a person has just given included."""
    there: Discovered | None
    """What is in the folders; None if that is to be looked for again, since time has passed."""


def settle_grants(
    output: Output, folders: Sequence[Path], file: Path | None, state: Path | None
) -> Settled | None:
    """The grants to run these plugins with.

    `state` is where plugins' data will be, if that is configured: none is granted that folder.
    None if something is not granted and nobody is there to ask: that has been told.
    """
    files = find_grant_files(folders, file)
    grants = files.merged()
    waiting: dict[str, Ungranted] = {}
    there = look_in(folders)
    plugins = {plugin.manifest.id: plugin for plugin in there.found}
    for plugin_id, plugin in plugins.items():
        missing = Policy(plugin_id, plugin.manifest.asks(), grants).missing
        item = Ungranted(plugin_id, missing, folders, file)
        if item.needed:
            waiting[plugin_id] = item
    if not waiting:
        return Settled(grants, there)
    if output.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        _refuse(output, list(waiting.values()))
        return None
    roots = [plugin.code for plugin in plugins.values()]
    protected = protected_paths(roots, state, files.target)
    for plugin_id, item in waiting.items():
        _ask(output, plugins[plugin_id], item, files, protected)
    return Settled(find_grant_files(folders, file).merged(), None)


def _refuse(output: Output, waiting: Sequence[Ungranted]) -> None:
    if output.as_json:
        what = "plugins ask for what is not granted"
        facts = {"plugins": [item.as_json() for item in waiting]}
        output.problem(Problem(what, code=ErrorCode.PERMISSION_DENIED, facts=facts))
        return
    for item in waiting:
        output.problem(item.problem("; nobody is at a terminal to be asked"))


def _ask(
    output: Output,
    plugin: Found,
    item: Ungranted,
    files: GrantFiles,
    protected: Sequence[Path],
) -> None:
    """Show what is missing, and grant it if the answer is yes."""
    manifest = plugin.manifest
    for ask in item.needed:
        if why := path_problem(ask.permission, protected):
            output.problem(
                Problem(
                    f"plugin {manifest.id} asks for {ask.permission}, which cannot be granted",
                    why,
                    "nothing: it will not run until its manifest asks for something else",
                    code=ErrorCode.PERMISSION_DENIED,
                )
            )
            return
    given = [ask for ask in item.missing if not path_problem(ask.permission, protected)]
    known = len(manifest.asks()) > len(item.missing)
    _tell(output, Cell(manifest.id, "bold"), f" asks for {'more' if known else 'these'}:")
    for ask in given:
        _show(output, ask)
    while True:
        answer = _answer("Grant? [y/N/v(iew all)] ")
        if answer != "v":
            break
        _view(output, plugin, files)
    if answer != "y":
        _tell(output, f"not granted: {manifest.id} will not run")
        return
    add_grants(files.target, manifest.id, [ask.permission for ask in given])
    _tell(output, Cell("granted", "green"), f", in {files.target}")


def _answer(question: str) -> str:
    """The first letter of what is typed from now on; n at the end of the input."""
    # What was typed before the question stood there is no answer to it.
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    sys.stderr.write(question)
    sys.stderr.flush()
    typed = _typed()
    if not typed.endswith("\n"):
        sys.stderr.write("\n")
    word = typed.strip().lower()
    return word[0] if word in _ANSWERS else "n"


def _typed() -> str:
    """The next line."""
    seen, wake = socket.socketpair()
    with seen, wake:
        wake.setblocking(False)
        before = signal.set_wakeup_fd(wake.fileno())
        try:
            # Ctrl-C just before a read that blocks would be heard of when the line is there.
            select.select([sys.stdin, seen], [], [])
        finally:
            signal.set_wakeup_fd(before)
        return sys.stdin.readline()


def _show(output: Output, ask: Ask, note: str = "") -> None:
    kind = " (optional)" if ask.optional else ""
    _tell(output, f"  {ask.permission.in_words()}", Cell(f"  {ask.permission}{kind}{note}", "dim"))
    if ask.reason:
        _tell(output, f'    it says: "{clean_line(ask.reason)}"')


def _view(output: Output, plugin: Found, files: GrantFiles) -> None:
    """All that there is to know of the plugin, what is granted already included."""
    manifest = plugin.manifest
    for name, text in (
        ("name", f"{manifest.name} {manifest.version}"),
        ("author", manifest.author),
        ("homepage", manifest.homepage),
        ("what it is", manifest.description),
        ("where it is", str(plugin.code)),
    ):
        if text:
            _tell(output, Cell(f"  {name}: ", "dim"), clean_line(text))
    for ask in manifest.asks():
        source = files.source_of(manifest.id, ask.permission)
        _show(output, ask, "" if source is None else f", granted in {source}")


def _tell(output: Output, *parts: str | Cell) -> None:
    output.line(*parts, stream=sys.stderr)
