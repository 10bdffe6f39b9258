"""Arguments as people type them: `key=value`, `key:=json`, `key@FILE`, and `--args`."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from plughost_protocol import MAX_FRAME, ErrorCode

from .problems import CommandFailed, Problem

__all__ = ["parse_arguments"]

# The first sign counts, so that a value may hold any of them.
_ARGUMENT: Final = re.compile(r"(.+?)(:=|=|@)(.*)", re.DOTALL)
_BOOLEANS: Final = {"true": True, "false": False}
_MAX_DEPTH: Final = 8  # references followed in a schema, which may go round


def parse_arguments(
    pairs: Sequence[str], whole: str | None, schema: Mapping[str, Any], tool: str
) -> dict[str, Any]:
    """The parameters of a call; single arguments stand over those in `--args`.

    Raises `CommandFailed`, a usage error, for what cannot be read or converted.
    """
    arguments = _whole(whole) if whole is not None else {}
    for pair in pairs:
        match = _ARGUMENT.fullmatch(pair)
        if match is None:
            raise _misuse(
                f"{pair!r} is no argument",
                "an argument has a name and a value",
                "name=value, name:=JSON or name@FILE",
            )
        name, sign, text = match.groups()
        kind = _property(schema, name)
        if sign == ":=":
            arguments[name] = _json(text, name)
        elif sign == "@":
            arguments[name] = _file(text, name, kind)
        else:
            arguments[name] = _converted(text, name, _types(kind, schema), tool)
    return arguments


def _whole(text: str) -> dict[str, Any]:
    if text.startswith("@") or text == "-":
        text = _text(_read(text.removeprefix("@"), "--args"), "--args")
    value = _json(text, "--args")
    if not isinstance(value, dict):
        raise _misuse(
            "--args is no JSON object",
            "the arguments of a tool have names",
            """--args '{"name": "value"}'""",
        )
    return value


def _json(text: str, name: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
        then = f"""{name}='{text}' for a text, {name}:='"{text}"' for a JSON string"""
        if name == "--args":
            then = """--args '{"name": "value"}', --args @FILE, or --args - for standard input"""
        raise _misuse(f"{name} is not JSON", str(exc), then) from exc


def _file(path: str, name: str, schema: Mapping[str, Any]) -> str | bytes:
    data = _read(path, name)
    return data if schema.get("contentEncoding") == "base64" else _text(data, name)


def _read(path: str, name: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_FRAME + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FRAME + 1)
    except OSError as exc:
        raise _misuse(
            f"{name}: {path!r} cannot be read", exc.strerror or str(exc), f"{name}@FILE"
        ) from exc
    if len(data) > MAX_FRAME:
        raise _misuse(
            f"{name}: {path!r} is too large",
            f"a call carries at most {MAX_FRAME} bytes",
            "give the tool a part of it at a time",
        )
    return data


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise _misuse(
            f"{name}: the file is not UTF-8 text",
            f"{exc.reason} at byte {exc.start}, and the tool takes no bytes here",
            "plughost tools --json, for the schema",
        ) from exc


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return _resolved(found, schema)


def _resolved(part: object, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part itself, or what it refers to in the same schema."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(part, Mapping):
            return {}
        reference = part.get("$ref")
        if not isinstance(reference, str):
            return part
        definitions = schema.get("$defs")
        if not isinstance(definitions, Mapping):
            return {}
        part = definitions.get(reference.removeprefix("#/$defs/"))
    return {}


def _types(part: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a property declares; none where it leaves that open."""
    declared = part.get("type")
    if isinstance(declared, str):
        return {declared}
    if isinstance(declared, list):
        return {kind for kind in declared if isinstance(kind, str)}
    options = part.get("anyOf", part.get("oneOf"))
    if not isinstance(options, list):
        return {_NAMES[type(v)] for v in part.get("enum", ()) if type(v) in _NAMES}
    found = [_types(_resolved(option, schema), schema) for option in options[:_MAX_DEPTH]]
    return set().union(*found)


_NAMES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _converted(text: str, name: str, types: set[str], tool: str) -> Any:
    if not types or "string" in types:
        return text
    for kind, convert in _CONVERSIONS.items():
        if kind in types:
            try:
                return convert(text)
            except (ValueError, KeyError):
                continue
    names = " or ".join(sorted(types))
    what = f"{name} must be {_article(names)} {names}, not {text!r}"
    if types & {"array", "object"}:
        raise _misuse(what, f"{tool} declares it so", f"{name}:=JSON")
    raise _misuse(what, f"{tool} declares it so", f"plughost tools {tool.partition('.')[0]}")


def _integer(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**64:  # what msgpack can hold
        raise ValueError(text)
    return value


def _number(text: str) -> int | float:
    try:
        return _integer(text)
    except ValueError:
        value = float(text)
        if value - value != 0:  # infinite, or not a number: JSON has neither
            raise
        return value


def _null(text: str) -> None:
    if text != "null":
        raise ValueError(text)


_CONVERSIONS: Final[dict[str, Callable[[str], object]]] = {
    "null": _null,
    "boolean": lambda text: _BOOLEANS[text.lower()],
    "integer": _integer,
    "number": _number,
}


def _article(noun: str) -> str:
    return "an" if noun[0] in "aio" else "a"


def _misuse(what: str, why: str, then: str) -> CommandFailed:
    return CommandFailed(Problem(what, why, then, code=ErrorCode.INVALID_PARAMS))
