"""The parts of the docs that come from the code. `python tests/docs_tables.py` writes them.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from plughost.attacks import ATTACKS, Group
from plughost.catalog.permissions import PERMISSIONS, Scope
from plughost.exchange.hooks.kinds import HOOKS
from plughost.lifecycle.states import TRANSITIONS

DOCS: Final = Path(__file__).parents[1] / "docs"

_PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

BY_THE_KERNEL: Final = {"fs:read", "fs:write", "net:connect", "process:spawn", "env:read"}
"""What the sandbox of a worker is made from."""

WITHOUT_EFFECT: Final = {"commands:register", "ui:panel"}
"""What nothing in this version asks for."""

ENFORCED: Final = PERMISSIONS.keys() - BY_THE_KERNEL - WITHOUT_EFFECT
"""What the host asks for; test_docs.py holds it against the tables of a host's services."""

_SCOPES: Final = {Scope.NONE: "none", Scope.OPTIONAL: "optional", Scope.REQUIRED: "required"}


def states() -> str:
    """The transition table as text: a state, what happens to it, and where that leads."""
    lines = []
    for state, ways in TRANSITIONS.items():
        name = state.value
        for event, target in ways.items():
            lines.append(f"{name:<12}── {f'{event.value} ':─<16}─> {target.value}")
            name = ""
        lines.append("")
    return "\n".join(["```text", *lines[:-1], "```", ""])


def permissions() -> str:
    """A row for each permission."""
    lines = ["| permission | scope | the plugin may | in this version |", "|---|---|---|---|"]
    for name, kind in PERMISSIONS.items():
        effect = "held by the sandbox" if name in BY_THE_KERNEL else "accepted, no effect"
        effect = "checked" if name in ENFORCED else effect
        lines.append(f"| `{name}` | {_SCOPES[kind.scope]} | {kind.means} | {effect} |")
    return "\n".join([*lines, ""])


def hooks() -> str:
    """A row for each hook."""
    lines = [
        "| hook | it is given | what is made of its answer | if it fails |",
        "|---|---|---|---|",
    ]
    for kind in HOOKS.values():
        policy = (
            f"`open` or `closed`; by default `{kind.on_failure}`" if kind.may_close else "`open`"
        )
        lines.append(f"| `{kind.name}` | {kind.given} | {kind.answer} | {policy} |")
    return "\n".join([*lines, ""])


def attacks() -> str:
    """A row for each attack, a table for each group."""
    parts = []
    for group in Group:
        rows = [attack for attack in ATTACKS if attack.group is group]
        if rows:
            lines = [f"### {group.value.capitalize()}", ""]
            lines += ["| attack | what it tries | each of these stops it | ends |"]
            lines += ["|---|---|---|---|"]
            lines += [
                f"| `{row.name}` | {row.tries} | {', '.join(row.stopped_by)} | {row.ends.value} |"
                for row in rows
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


PARTS: Final[dict[str, Callable[[], str]]] = {
    "attacks": attacks,
    "hooks": hooks,
    "permissions": permissions,
    "states": states,
}


def generated(page: str) -> str:
    """The page with its generated parts as the code has them now."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[4]}", page)


if __name__ == "__main__":
    for path in (*sorted(DOCS.glob("*.md")), DOCS.parent / "SECURITY.md"):
        path.write_text(generated(path.read_text()))
