"""`plughost grant` and `plughost revoke`: what the operator lets each plugin do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from plughost.catalog.asks import Ask
from plughost.catalog.discovery import Found
from plughost.catalog.granted_paths import path_problem, protected_paths
from plughost.catalog.permissions import Permission
from plughost.errors import UnknownPlugin
from plughost.policy.grants import EVERYTHING, grant_command
from plughost.policy.policy import Policy
from plughost.settings.files import GrantFiles, find_grant_files
from plughost_protocol import ErrorCode

from .configuration import configured_folders, configured_state, warn
from .exit_codes import ExitCode
from .folders import find_plugin, look_in
from .grant_edit import add_grants, remove_grants
from .output import Cell, Output
from .problems import CommandFailed, Problem

__all__ = ["GrantOptions", "grant", "revoke"]

_FROM_NEXT_START: Final = "a plugin that runs keeps what it has until it is started again"


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """What `plughost grant` and `plughost revoke` are told."""

    plugin: str
    permissions: Sequence[str]
    everything: bool
    """Whether `--all` stands in place of permissions."""
    folders: Sequence[Path]
    file: Path | None


def grant(output: Output, options: GrantOptions) -> ExitCode:
    """Grant what a plugin asks for, or nothing of it if any cannot be."""
    _check_usage("grant", options)
    folders = options.folders or configured_folders(options.file)
    plugins = {found.manifest.id: found for found in look_in(folders).found}
    plugin = find_plugin(options.plugin, folders, plugins)
    files = find_grant_files(folders, options.file, may_be_new=True)
    warn(output, files)
    asks = plugin.manifest.asks()
    if options.everything:
        wanted = [ask.permission for ask in asks]
    else:
        wanted = [_permission(plugin, asks, text) for text in options.permissions]
    roots = [found.code for found in plugins.values()]
    protected = protected_paths(roots, configured_state(options.file), files.target)
    for permission in wanted:
        if why := path_problem(permission, protected):
            raise CommandFailed(
                Problem(f"{permission} cannot be granted", why, "nothing was granted to the plugin")
            )
    new = [
        permission
        for permission in dict.fromkeys(wanted)
        if files.source_of(options.plugin, permission) is None
    ]
    if new:
        add_grants(files.target, options.plugin, new)
        files = find_grant_files(folders, options.file)
    policy = Policy(options.plugin, asks, files.merged())
    missing = [ask.permission for ask in policy.missing if not ask.optional]
    if output.as_json:
        told = {"plugin": options.plugin, "file": str(files.target)}
        output.json(told | {"granted": _texts(new), "missing": _texts(missing)})
        return ExitCode.OK
    if new:
        output.line(
            Cell("granted ", "green"), "to ", Cell(options.plugin, "bold"), f", in {files.target}:"
        )
        for permission in new:
            output.line(f"  {permission}  ", Cell(permission.in_words(), "dim"))
        output.line(Cell(_FROM_NEXT_START, "dim"))
    else:
        output.line(f"{options.plugin} is granted all of it already")
    if missing:
        output.line(f"it asks for more: {grant_command(options.plugin, missing, options.folders)}")
    return ExitCode.OK


def _check_usage(command: str, options: GrantOptions) -> None:
    if bool(options.permissions) == options.everything:
        raise CommandFailed(
            Problem(
                f"plughost {command} takes permissions, or --all",
                "it was given both" if options.everything else "it was given neither",
                "plughost grants, to see what plugins ask for",
            )
        )


def _permission(plugin: Found, asks: Sequence[Ask], text: str) -> Permission:
    """The permission that is to be granted. Raises `CommandFailed` if it would be of no use."""
    asked = [str(ask.permission) for ask in asks]
    if text == EVERYTHING:
        raise CommandFailed(
            Problem(
                "a command grants no '*'",
                "what the plugin will ask for one day is not known",
                f"plughost grant {plugin.manifest.id} --all, for what it asks for now",
            )
        )
    try:
        permission = Permission.parse(text)
    except ValueError as exc:
        raise CommandFailed(
            Problem(f"{text!r} cannot be granted", str(exc), _near(plugin, text, asked))
        ) from exc
    if any(permission.includes(ask.permission) for ask in asks):
        return permission
    why = f"it asks for {', '.join(asked)}" if asked else "it asks for nothing"
    for ask in asks:
        if ask.permission.includes(permission):
            why = f"it asks for more, {ask.permission}, and less than that would not do"
    raise CommandFailed(
        Problem(
            f"{plugin.manifest.id} does not ask for {permission}", why, _near(plugin, text, asked)
        )
    )


def _near(plugin: Found, text: str, asked: Sequence[str]) -> str:
    near = get_close_matches(text, asked, n=1) or asked[:1]
    if not near:
        return "nothing: it needs no grant"
    return grant_command(plugin.manifest.id, [Permission.parse(near[0])])


def revoke(output: Output, options: GrantOptions) -> ExitCode:
    """Take grants back, out of every file that is read."""
    _check_usage("revoke", options)
    files = find_grant_files((), options.file)
    warn(output, files)
    known = {plugin_id for file in files.read for plugin_id in file.grants}
    if options.plugin not in known:
        raise CommandFailed(
            Problem(
                f"nothing is granted to {options.plugin!r}",
                str(UnknownPlugin(options.plugin, known)),
                "plughost grants, for all grants",
                code=ErrorCode.UNKNOWN_METHOD,
            )
        )
    listed = {file.path: file.grants.get(options.plugin) for file in files.read}
    gone = {
        path: [text for text in texts if options.everything or _names(text, options.permissions)]
        for path, texts in listed.items()
        if texts is not None
    }
    revoked = list(dict.fromkeys(text for texts in gone.values() for text in texts))
    _check_all_were_granted(options, files, revoked)
    touched = [path for path, texts in gone.items() if texts or options.everything]
    for path in touched:
        remove_grants(path, options.plugin, gone[path])
    if output.as_json:
        told = {"plugin": options.plugin, "revoked": revoked, "files": list(map(str, touched))}
        output.json(told)
        return ExitCode.OK
    output.line(
        Cell("revoked ", "yellow"),
        "from ",
        Cell(options.plugin, "bold"),
        f", in {', '.join(map(str, touched))}:",
    )
    for text in revoked:
        output.line(f"  {text}")
    output.line(Cell(_FROM_NEXT_START, "dim"))
    if any(EVERYTHING in file.grants for file in files.read):
        output.line(f'the grants of "{EVERYTHING}" are those of every plugin: this one too')
    return ExitCode.OK


def _names(granted: str, written: Iterable[str]) -> bool:
    """Whether a grant is one of those written, in whatever form."""
    for text in written:
        if granted == text:
            return True
        try:
            if Permission.parse(granted) == Permission.parse(text):
                return True
        except ValueError:
            continue
    return False


def _check_all_were_granted(
    options: GrantOptions, files: GrantFiles, revoked: Sequence[str]
) -> None:
    for text in options.permissions:
        if not any(_names(gone, [text]) for gone in revoked):
            listed = files.merged().get(options.plugin, ())
            raise CommandFailed(
                Problem(
                    f"{text!r} is not granted to {options.plugin}; nothing was revoked",
                    f"it is granted {', '.join(listed)}",
                    "one of these, as it is written there; or --all",
                )
            )


def _texts(permissions: Iterable[Permission]) -> list[str]:
    return [str(permission) for permission in permissions]
