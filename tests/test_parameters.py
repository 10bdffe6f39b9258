"""What a tool's function takes, read from its code, is what its signature says."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from plughost_sdk import PluginMistake
from plughost_sdk.parameters import named_parameters


class _Bound:
    def plain(self, a: int, b: int = 2, *, c: int, d: int = 4) -> None:
        local = a
        del local

    @classmethod
    def of_class(cls, a: int = 1) -> None: ...

    def __call__(self, a: int) -> None: ...


def _none() -> None: ...


def _several(a: int, b: Any = None, c: str = "c") -> None:
    local = a
    del local


def _by_name(*, a: int = 1, b: int) -> None: ...


async def _stream(a: int, b: int = 2) -> Any:
    yield a, b


@functools.wraps(_several)
def _wrapped(*args: Any, **kwargs: Any) -> None: ...


def _signed(other: int) -> None: ...


_signed.__signature__ = inspect.signature(_several)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "function",
    [
        _none,
        _several,
        _by_name,
        _stream,
        _wrapped,
        _signed,
        lambda a, b=1: (a, b),
        _Bound().plain,
        _Bound().of_class,
        _Bound(),
        functools.partial(_several, b=3),
    ],
)
def test_they_are_those_of_the_signature(function: Callable[..., Any]) -> None:
    expected = inspect.signature(function).parameters.values()
    found = named_parameters(function, "tool")
    assert list(found.items()) == [(each.name, each.default) for each in expected]


def _positional(a: int, /, b: int) -> None: ...


def _any(a: int, *rest: int) -> None: ...


def _all(a: int, **rest: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "named"), [(_positional, "a"), (_any, r"\*rest"), (_all, r"\*\*rest")]
)
def test_one_that_has_no_name_is_refused(function: Callable[..., Any], named: str) -> None:
    with pytest.raises(PluginMistake, match=f"parameter {named}.* cannot be given by name"):
        named_parameters(function, "tool")
