"""The manifest as a JSON Schema, from which an editor completes and checks it as it is written."""

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Final

import msgspec

from .manifest import Manifest
from .permissions import PERMISSIONS, Scope

__all__ = ["manifest_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ID: Final = "urn:plughost:manifest"


def manifest_schema() -> dict[str, Any]:
    """The schema of a `manifest.json`, and of the tables that other files have in its place.

    Those may leave out what their package says; so may no `manifest.json`.
    """
    schema = msgspec.json.schema(Manifest)
    definitions = schema.pop("$defs")
    name = schema.pop("$ref").rpartition("/")[2]
    made: dict[str, Any] = {"$schema": _DIALECT, "$id": _ID, **definitions.pop(name)}
    made["properties"] = {
        "$schema": {"type": "string", "description": "For editors: where this schema is."},
        **made["properties"],
    }
    made["$defs"] = definitions
    for title, definition in [(name, made), *definitions.items()]:
        for field, text in _field_docs(title).items():
            # A reference may have a description beside it in this dialect.
            definition["properties"][_as_written(title, field)]["description"] = text
    made["properties"]["plugin_type"] = made["properties"]["type"] | {"deprecated": True}
    _complete_permissions(made)
    return _for_editors(made)  # type: ignore[no-any-return] # an object, as it was


def _complete_permissions(schema: dict[str, Any]) -> None:
    """Let an editor offer the permissions that there are."""
    bare = [name for name, kind in PERMISSIONS.items() if kind.scope is not Scope.REQUIRED]
    scoped = [name for name, kind in PERMISSIONS.items() if kind.scope is not Scope.NONE]
    schema["$defs"]["Permission"] = {
        "title": "Permission",
        "description": "What a plugin may do: resource:action[:scope].",
        "anyOf": [
            {"enum": bare},
            {"type": "string", "pattern": f"^({'|'.join(scoped)}):.+$"},
        ],
    }
    reference = {"$ref": "#/$defs/Permission"}
    schema["$defs"]["PermissionEntry"]["properties"]["permission"] |= reference
    schema["$defs"]["PermissionEntry"]["properties"]["permission"].pop("type")
    lists = [
        *schema["properties"]["permissions"]["anyOf"],
        schema["$defs"]["PermissionGroups"]["properties"]["others"],
    ]
    for options in lists:
        for option in options.get("items", {}).get("anyOf", ()):
            if option == {"type": "string"}:
                option.clear()
                option |= reference


def _for_editors(value: Any) -> Any:
    """The same, with the end of a pattern as ECMA-262 writes it."""
    if isinstance(value, dict):
        return {
            key: item.replace(r"\Z", "$") if key == "pattern" else _for_editors(item)
            for key, item in value.items()
        }
    return [_for_editors(item) for item in value] if isinstance(value, list) else value


@cache
def _structs() -> dict[str, type[msgspec.Struct]]:
    return {kind.__name__: kind for kind in _reached(Manifest)}


def _reached(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    yield kind
    for field in msgspec.structs.fields(kind):
        for inner in _inside(field.type):
            yield from _reached(inner)


def _inside(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _inside(part)


def _as_written(title: str, field: str) -> str:
    fields = msgspec.structs.fields(_structs()[title])
    return next(each.encode_name for each in fields if each.name == field)


def _field_docs(title: str) -> dict[str, str]:
    """What stands below each field of a struct in its source."""
    kind = _structs()[title]
    module = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    for statement in module.body:
        if isinstance(statement, ast.ClassDef) and statement.name == title:
            return dict(_documented(statement.body))
    return {}


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.replace("`", "").split())
