"""What decorators say of functions and methods, until the plugin is loaded."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

__all__ = ["Declared", "declared_methods", "mark"]

F = TypeVar("F", bound=Callable[..., Any])
Declared = tuple[Callable[..., Any], Any]
"""A function and the options of the decorator."""

_MARKS: Final = "__plughost__"
"""The attribute by which a decorated method carries its options, by kind of decorator."""


def mark(target: F, kind: str, options: Any) -> F:
    """Note on a function that a method of a subclass is to be declared as `kind`."""
    marks: dict[str, list[Any]] = {
        name: list(given) for name, given in getattr(target, _MARKS, {}).items()
    }
    marks.setdefault(kind, []).append(options)
    setattr(target, _MARKS, marks)
    return target


def declared_methods(owner: object, kind: str, base: type = object) -> Iterator[Declared]:
    """The methods of an object that are marked so, bound to it; none of `base`'s own is."""
    mro = type(owner).__mro__
    for owning in mro:
        if owning is base or owning is object:
            continue
        for attribute, value in vars(owning).items():
            marks = getattr(value, _MARKS, None)
            # An override in a subclass stands for the method that it overrides.
            if isinstance(marks, dict) and owning is next(c for c in mro if attribute in vars(c)):
                for options in marks.get(kind, ()):
                    yield getattr(owner, attribute), options
