"""`plughost new`: a plugin that works, with a test that passes."""

import json
import re
import shlex
from pathlib import Path
from typing import Final

from plughost_protocol import ErrorCode

from .exit_codes import ExitCode
from .output import Cell, Output
from .problems import CommandFailed, Problem
from .starters import STARTERS

__all__ = ["new_plugin"]

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NOT_IN_ID: Final = re.compile(r"[^a-z0-9]+")


def new_plugin(output: Output, name: str, folder: Path, example: str = "hello") -> ExitCode:
    """Write the plugin `name` into `folder`. Raises `CommandFailed` for a bad or a taken name."""
    _check_id(name)
    starter = STARTERS.get(example)
    if starter is None:
        raise CommandFailed(
            Problem(f"there is no example {example!r}", then=f"--example {' or '.join(STARTERS)}")
        )
    root = folder / name
    manifest = {
        "id": name,
        "name": name.replace("-", " ").capitalize(),
        "version": "0.1.0",
        "description": starter.description,
        "main": "plugin.py",
        "permissions": list(starter.permissions),
    }
    files = {
        "manifest.json": json.dumps(manifest, indent=2).replace("$id", name) + "\n",
        "plugin.py": starter.plugin.substitute(id=name),
        "tests/test_plugin.py": starter.test.substitute(id=name),
    }
    try:
        root.mkdir(parents=True)
        for path, text in files.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    except FileExistsError as exc:
        raise CommandFailed(
            Problem(
                f"{root} exists already",
                "nothing that is there is overwritten",
                "plughost new with another name, or with --dir",
                code=ErrorCode.INTERNAL,
            )
        ) from exc
    except OSError as exc:
        raise CommandFailed(
            Problem(
                f"{root} cannot be written",
                exc.strerror or str(exc),
                "plughost new with another --dir",
                code=ErrorCode.INTERNAL,
            )
        ) from exc
    if output.as_json:
        output.json({"id": name, "path": str(root), "files": list(files)})
        return ExitCode.OK
    output.line(Cell("made ", "green"), f"{root}: {', '.join(files)}")
    output.line("next:")
    output.line(f"  {shlex.join(['plughost', 'grant', name, '--all', '--dir', str(root)])}")
    output.line(f"  plughost check {root}")
    tool, *arguments = starter.call
    call = ["plughost", "call", "--dir", str(root), f"{name}.{tool}", *arguments]
    output.line(f"  {shlex.join(call)}")
    output.line(f"  pytest {root}")
    return ExitCode.OK


def _check_id(name: str) -> None:
    if _ID.fullmatch(name):
        return
    better = _NOT_IN_ID.sub("-", name.lower()).strip("-0123456789")[:64] or "my-plugin"
    raise CommandFailed(
        Problem(
            f"{name!r} cannot be a plugin's id",
            "an id has lower-case letters, digits and hyphens, begins with a letter, "
            "and has at most 64 characters",
            f"plughost new {better}",
        )
    )
