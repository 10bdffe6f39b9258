"""The parameters of a tool's function."""

import inspect
from collections.abc import Callable
from inspect import CO_VARARGS, CO_VARKEYWORDS, Parameter
from types import FunctionType, MethodType
from typing import Any, Final

from .errors import PluginMistake

__all__ = ["MISSING", "named_parameters"]

MISSING: Final = Parameter.empty
"""The default of a parameter that has none."""


def named_parameters(function: Callable[..., Any], tool: str) -> dict[str, Any]:
    """The parameters in their order, each with its default.

    Raises `PluginMistake` for one that cannot be given by its name.
    """
    if _is_plain(function):
        return _of_code(function)
    if isinstance(function, MethodType) and _is_plain(function.__func__):
        parameters = _of_code(function.__func__)
        del parameters[next(iter(parameters))]
        return parameters
    return _of_signature(function, tool)


def _is_plain(function: Callable[..., Any]) -> bool:
    """Whether its code says all that its signature says.

    To ask for that runs fourteen functions, and has a worker copy 140 kB of its template's memory.
    """
    if type(function) is not FunctionType:
        return False
    code = function.__code__
    return (
        code.co_argcount > code.co_posonlyargcount == 0
        and not code.co_flags & (CO_VARARGS | CO_VARKEYWORDS)
        and not function.__dict__.keys() & {"__wrapped__", "__signature__"}
    )


def _of_code(function: Any) -> dict[str, Any]:
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    defaults = function.__defaults__ or ()
    with_default = names[code.co_argcount - len(defaults) : code.co_argcount]
    found = dict.fromkeys(names, MISSING)
    found |= zip(with_default, defaults, strict=True)
    return found | (function.__kwdefaults__ or {})


def _of_signature(function: Callable[..., Any], tool: str) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise PluginMistake(
                f"tool {tool!r}: parameter {parameter} cannot be given by name; "
                "write out the parameters, or declare an input_schema and take **arguments"
            )
    return {parameter.name: parameter.default for parameter in parameters}
