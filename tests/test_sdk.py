"""The SDK by itself: schemas out of annotations, descriptions out of docstrings, mistakes."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Raw

from plughost_protocol import encode
from plughost_sdk import CallCancelled, CurrentCall, Plugin, PluginMistake, current_call, tool
from plughost_sdk.docstrings import describe
from plughost_sdk.tools import Tool, ToolOptions


@dataclass
class Point:
    x: int
    y: int = 0


class Node(msgspec.Struct):
    value: int
    next: "Node | None" = None


def make(function: Any, **options: Any) -> Tool:
    return Tool(function, ToolOptions(**options))


def test_the_annotations_give_a_schema_without_references_on_top() -> None:
    def plot(
        point: Point,
        how: Literal["line", "dot"] = "dot",
        size: Annotated[int, Meta(ge=1)] = 1,
        label: str | None = None,
        tags: list[str] = [],  # noqa: B006 - the SDK copies it
    ) -> None: ...

    schema = make(plot).spec.input_schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["point"]
    assert schema["properties"]["how"] == {"enum": ["dot", "line"], "default": "dot"}
    assert schema["properties"]["size"] == {"type": "integer", "minimum": 1, "default": 1}
    assert schema["$defs"]["Point"]["required"] == ["x"]


def test_arguments_arrive_as_their_types_and_defaults_are_never_shared() -> None:
    def plot(point: Point, tags: list[str] = []) -> None: ...  # noqa: B006

    plot_tool = make(plot)
    first = plot_tool.arguments(Raw(encode({"point": {"x": 1}})))
    assert first == {"point": Point(1, 0), "tags": []}
    first["tags"].append("x")
    assert plot_tool.arguments(Raw(encode({"point": {"x": 1}})))["tags"] == []
    with pytest.raises(msgspec.ValidationError, match=r"\$\.point\.x"):
        plot_tool.arguments(Raw(encode({"point": {"x": "1"}})))


def test_a_recursive_type_keeps_its_references() -> None:
    def walk(node: Node) -> None: ...

    schema = make(walk).spec.input_schema
    assert "Node" in schema["$defs"]


def test_the_docstring_describes_the_tool_and_its_parameters() -> None:
    def search(pattern: str, text: str) -> None:
        """Find a pattern.

        In every line.

        Args:
            pattern (str): What to look for,
                as a regular expression.
            text: Where.

        Returns:
            Nothing.
        """

    spec = make(search).spec
    assert spec.description == "Find a pattern.\n\nIn every line."
    properties = spec.input_schema["properties"]
    assert properties["pattern"]["description"] == "What to look for, as a regular expression."
    assert properties["text"]["description"] == "Where."


def test_fields_of_the_other_docstring_style_are_read_too() -> None:
    def search(pattern: str) -> None:
        """Find it.

        :param pattern: What to look for.
        """

    assert describe(search) == ("Find it.", {"pattern": "What to look for."})


def test_an_explicit_schema_takes_the_arguments_as_they_come() -> None:
    def anything(**arguments: object) -> None: ...

    given = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tool_ = make(anything, input_schema=given)
    assert tool_.spec.input_schema == given
    assert tool_.arguments(Raw(encode({"n": 1}))) == {"n": 1}


def test_the_return_annotation_is_the_output_schema_but_of_streams_and_nothing() -> None:
    async def point() -> Point:
        return Point(1)

    async def nothing() -> None: ...

    async def stream() -> AsyncIterator[int]:
        yield 1

    schema = make(point).spec.output_schema
    assert schema is not None
    assert schema["properties"].keys() == {"x", "y"}
    assert make(nothing).spec.output_schema is None
    assert make(stream).spec.output_schema is None
    assert make(stream).streams


def bad_star(*values: int) -> None: ...
def bad_type(value: type[logging.Handler]) -> None: ...
def bad_name(value: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "options", "reason"),
    [
        (bad_star, {}, "cannot be given by name"),
        (bad_name, {}, "annotation cannot be read"),
        (bad_type, {}, "bad_type"),
        (describe, {"name": "has space", "input_schema": {}}, "matching regex"),
        (describe, {"timeout": -1.0, "input_schema": {}}, "timeout"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_the_reason(
    function: Any, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PluginMistake, match=reason):
        make(function, **options)


def test_a_subclass_may_override_a_tool_and_needs_no_init() -> None:
    class Base(Plugin):
        @tool
        async def greet(self) -> str:
            return "base"

    class Derived(Base):
        def __init__(self) -> None:
            pass

        @tool(name="hello")
        async def greet(self) -> str:
            return "derived"

    assert [found.name for found in Derived().tools()] == ["hello"]
    assert [found.name for found in Base().tools()] == ["greet"]


def test_what_plugin_overrides_of_a_class_behind_it_is_no_tool() -> None:
    class Mixin:
        @tool
        async def on_enable(self) -> None: ...

        @tool
        async def greet(self) -> None: ...

    class Derived(Plugin, Mixin): ...

    assert [found.name for found in Derived().tools()] == ["greet"]


def test_one_function_can_be_two_tools() -> None:
    plugin = Plugin()

    @plugin.tool(name="one")
    @plugin.tool(name="two")
    async def shared() -> None: ...

    assert sorted(found.name for found in plugin.tools()) == ["one", "two"]


def test_the_api_is_there_only_after_loading() -> None:
    with pytest.raises(RuntimeError, match="on_load"):
        _ = Plugin().api


def test_outside_of_a_call_there_is_none() -> None:
    with pytest.raises(LookupError):
        current_call()


def test_a_cancelled_call_says_so_when_asked() -> None:
    call = CurrentCall(1, "t")
    call.check_cancelled()
    call.cancelled = True
    with pytest.raises(CallCancelled):
        call.check_cancelled()
    assert "cancelled" in repr(call)
