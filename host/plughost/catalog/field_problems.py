"""What is wrong with the value of a manifest's field, with its place and what to write."""

from typing import Any, Final

import msgspec

from .schema_limits import shown

__all__ = ["REMEDIES", "problems_of"]

_MAX_ITEMS: Final = 200
_STRUCT: Final = type(msgspec.Struct)

# msgspec names the offending pattern; people want to know what to write.
REMEDIES: Final = {
    "id": "lower-case letters, digits and hyphens, beginning with a letter, such as 'my-plugin'",
    "version": "a semantic version, such as '1.0.0'",
    "min_host_version": "a semantic version, such as '1.0.0'",
    "main": "the name of a Python file in the plugin's folder",
    "type": "one word in lower case, such as 'tool'",
}


def problems_of(name: str, value: Any, type: Any) -> list[str]:
    """What is wrong with a value, item by item where only some items are."""
    try:
        msgspec.convert(value, type)
    except (msgspec.ValidationError, RecursionError) as exc:
        problem = _in_words(name, value, str(exc))
    else:
        return []
    if isinstance(value, list) and len(value) <= _MAX_ITEMS:
        items = [
            told.replace(f"{name}[0]", f"{name}[{number}]", 1)
            for number, item in enumerate(value)
            for told in _item_problem(name, item, type)
        ]
        return items or [problem]
    if isinstance(value, dict) and isinstance(type, _STRUCT):
        known = {field.name: field.type for field in msgspec.structs.fields(type)}
        inner = [
            told
            for key, item in value.items()
            if key in known
            for told in problems_of(f"{name}.{key}", item, known[key])
        ]
        inner += [
            f"{name}.{shown(key)}: unknown field; there are {', '.join(known)}"
            for key in value
            if key not in known
        ]
        return inner or [problem]
    return [problem]


def _item_problem(name: str, item: Any, type: Any) -> list[str]:
    try:
        msgspec.convert([item], type)
    except (msgspec.ValidationError, RecursionError) as exc:
        return [_in_words(name, [item], str(exc))]
    return []


def _in_words(name: str, value: Any, reason: str) -> str:
    """The decoder's words behind the place that they are about, with a remedy."""
    reason, _, inside = reason.partition(" - at `$")
    if "matching regex" in reason:
        reason = "has a form that it cannot have" if inside else f"'{shown(str(value))}' is none"
    remedy = f": write {REMEDIES[name]}" if name in REMEDIES else ""
    return f"{name}{inside.rstrip('`')}: {reason}{remedy}"
