"""Descriptions out of docstrings: the text, and a line for each parameter."""

import inspect
import re
from collections.abc import Callable
from typing import Any, Final

__all__ = ["describe"]

_SECTION: Final = re.compile(r"^(Args|Arguments|Parameters|Returns|Yields|Raises|Examples?):\s*$")
_PARAMETER_SECTIONS: Final = {"Args", "Arguments", "Parameters"}
_PARAMETER: Final = re.compile(r"^ {1,8}\*{0,2}(\w+)(?: *\([^)]*\))?: *(.*)$")
_FIELD: Final = re.compile(r"^:param (?:\w+ )?(\w+): *(.*)$")


def describe(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The description of a function, and that of each parameter that its docstring names.

    Reads the styles `Args:` with an indented block, and `:param name:`.
    """
    text: list[str] = []
    parameters: dict[str, list[str]] = {}
    section = ""
    current: list[str] | None = None
    for line in (inspect.getdoc(function) or "").splitlines():
        if header := _SECTION.match(line):
            section, current = header[1], None
        elif field := _FIELD.match(line):
            section, current = "Args", parameters.setdefault(field[1], [field[2]])
        elif section in _PARAMETER_SECTIONS and (entry := _PARAMETER.match(line)):
            current = parameters.setdefault(entry[1], [entry[2]])
        elif section and (line.startswith(" ") or not line):
            if current is not None:
                current.append(line.strip())
        elif not section:
            text.append(line)
        else:  # back at the margin: the section is over
            section = ""
            text.append(line)
    return (
        "\n".join(text).strip(),
        {name: " ".join(filter(None, lines)) for name, lines in parameters.items()},
    )
