"""A tool: a typed function with the schema and the decoder that its annotations give."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar, get_type_hints, overload

import msgspec
from msgspec import Meta, Raw, Struct

from plughost_protocol import ToolSpec

from .declarations import mark
from .docstrings import describe
from .errors import PluginMistake
from .parameters import MISSING, named_parameters

__all__ = ["Handler", "Tool", "ToolOptions", "tool"]

Handler: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Handler)


class ToolOptions(Struct, frozen=True):
    """What a decorator says of a tool; None leaves it to the function."""

    name: str | None = None
    description: str | None = None
    input_schema: Mapping[str, Any] | None = None
    timeout: float | None = None
    idle_timeout: float | None = None
    idempotent: bool = False


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    idle_timeout: float | None = None,
    idempotent: bool = False,
) -> Callable[[F], F]: ...
def tool(function: Any = None, /, **options: Any) -> Any:
    """Mark a method of a `Plugin` subclass as a tool.

    An `async def` runs on the worker's loop, a plain `def` in a thread; a generator of either
    kind streams its items. Schema and conversion come from the annotations, descriptions from
    the docstring. With `input_schema` (a JSON Schema) the arguments arrive unconverted.
    `timeout` and `idle_timeout` are seconds; an `idempotent` tool may be called again when its
    worker died.
    """

    def decorate(target: F) -> F:
        return mark(target, "tool", ToolOptions(**options))

    return decorate if function is None else decorate(function)


class Tool:
    """A tool that can be called with msgpack bytes."""

    __slots__ = ("_decode", "_handler", "is_async", "name", "spec", "streams")

    def __init__(self, handler: Handler, options: ToolOptions) -> None:
        """Raises `PluginMistake` where the function cannot be a tool."""
        self._handler = handler
        self.name = options.name or handler.__name__
        self.is_async = _is_async(handler)
        self.streams = inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler)
        description, parameters = describe(handler)
        hints = _hints(handler, self.name)
        if options.input_schema is None:
            params_type = _params_type(handler, self.name, hints, parameters)
            input_schema = _schema(params_type, self.name)
            self._decode: Callable[[Raw], dict[str, Any]] = _typed(params_type)
        else:
            input_schema = dict(options.input_schema)
            self._decode = msgspec.msgpack.Decoder(dict[str, Any]).decode
        try:
            self.spec = msgspec.convert(
                {
                    "name": self.name,
                    "description": (options.description or description)[:10_000],
                    "input_schema": input_schema,
                    "output_schema": None if self.streams else _output_schema(hints),
                    "timeout": options.timeout,
                    "idle_timeout": options.idle_timeout,
                    "idempotent": options.idempotent,
                    "streams": self.streams,
                },
                ToolSpec,
            )
        except msgspec.ValidationError as exc:
            raise PluginMistake(f"tool {self.name!r}: {exc}") from exc

    def arguments(self, params: Raw) -> dict[str, Any]:
        """The handler's keyword arguments. Raises `msgspec.ValidationError` where they misfit."""
        return self._decode(params)

    def run(self, arguments: dict[str, Any]) -> Any:
        """Call the handler: what an async one gives is still to be awaited or iterated."""
        return self._handler(**arguments)

    def __repr__(self) -> str:
        kind = "async" if self.is_async else "blocking"
        return f"<Tool {self.name} {kind}{' stream' if self.streams else ''}>"


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)


def _hints(handler: Handler, name: str) -> dict[str, Any]:
    try:
        return get_type_hints(handler, include_extras=True)
    except (NameError, TypeError) as exc:
        raise PluginMistake(f"tool {name!r}: an annotation cannot be read: {exc}") from exc


def _params_type(
    handler: Handler, name: str, hints: dict[str, Any], descriptions: dict[str, str]
) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any, Any] | tuple[str, Any]] = []
    for parameter, default in named_parameters(handler, name).items():
        annotation = hints.get(parameter, Any)
        if parameter in descriptions:
            annotation = Annotated[annotation, Meta(description=descriptions[parameter])]
        if default is MISSING:
            fields.append((parameter, annotation))
        else:
            fields.append((parameter, annotation, _default(default)))
    try:
        return msgspec.defstruct(
            name, fields, kw_only=True, forbid_unknown_fields=True, module=handler.__module__
        )
    except (TypeError, ValueError) as exc:
        raise PluginMistake(f"tool {name!r}: {exc}") from exc


def _default(value: Any) -> Any:
    if isinstance(value, list | dict | set | bytearray):
        return msgspec.field(default_factory=lambda: copy.deepcopy(value))
    return value


def _typed(params_type: type[msgspec.Struct]) -> Callable[[Raw], dict[str, Any]]:
    decode = msgspec.msgpack.Decoder(params_type).decode
    asdict = msgspec.structs.asdict
    return lambda params: asdict(decode(params))


def _schema(kind: Any, name: str) -> dict[str, Any]:
    """The JSON Schema of a type, with a plain object rather than a reference on top."""
    try:
        (schema,), components = msgspec.json.schema_components(
            [kind], ref_template="#/$defs/{name}"
        )
    except (TypeError, ValueError) as exc:
        raise PluginMistake(f"tool {name!r}: no JSON Schema for its parameters: {exc}") from exc
    own = schema.get("$ref", "").removeprefix("#/$defs/")
    if own in components and not _mentions(components, f"#/$defs/{own}"):
        schema = components.pop(own)
    return {**schema, "$defs": components} if components else schema


def _mentions(schema: Any, reference: str) -> bool:
    if isinstance(schema, dict):
        return schema.get("$ref") == reference or any(
            _mentions(part, reference) for part in schema.values()
        )
    return isinstance(schema, list) and any(_mentions(part, reference) for part in schema)


def _output_schema(hints: dict[str, Any]) -> dict[str, Any] | None:
    returned = hints.get("return", Any)
    if returned is Any or returned is type(None):
        return None
    try:
        return _schema(returned, "return")
    except PluginMistake:  # a return annotation is a help, not a duty
        return None
