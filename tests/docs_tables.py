"""The parts of the docs that come from the code. `python tests/docs_tables.py` writes them.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from plughost.catalog.permissions import PERMISSIONS, Scope
from plughost.lifecycle.states import TRANSITIONS

DOCS: Final = Path(__file__).parents[1] / "docs"

_PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

ENFORCED: Final = {"tools:register", "tools:execute"}
"""What a service of this version asks for; test_docs.py holds it against the services' tables."""

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
        effect = "checked" if name in ENFORCED else "accepted, no effect"
        lines.append(f"| `{name}` | {_SCOPES[kind.scope]} | {kind.means} | {effect} |")
    return "\n".join([*lines, ""])


PARTS: Final[dict[str, Callable[[], str]]] = {"permissions": permissions, "states": states}


def generated(page: str) -> str:
    """The page with its generated parts as the code has them now."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n{match[4]}", page)


if __name__ == "__main__":
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(generated(path.read_text()))
