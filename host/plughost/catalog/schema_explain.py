"""What is wrong with a value, in sentences: the slow engine, for values already refused.

It is `jsonschema`, which finds every problem, with the keywords replaced that would run a
plugin's regular expression in Python's `re`: a pattern of a few characters hangs that for hours.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend as _extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from plughost.catalog.schema_limits import SchemaProblem, shown, type_name, value_path

_MAX_PROBLEMS = 20
_PATTERN_SIZE = 128 * 1024  # a class repeated a thousand times fills it; (a{1000}){1000} is refused

PATTERN_OPTIONS = jsonschema_rs.RegexOptions(size_limit=_PATTERN_SIZE, dfa_size_limit=_PATTERN_SIZE)


@lru_cache(maxsize=64)  # a plugin brings as many patterns as it likes
def pattern_matcher(pattern: str) -> jsonschema_rs.Draft202012Validator:
    """What tells whether a string matches, in time linear to its length.

    Raises jsonschema_rs.ValidationError for a pattern the linear engine cannot do.
    """
    return jsonschema_rs.Draft202012Validator(
        {"pattern": pattern},
        pattern_options=PATTERN_OPTIONS,
        validate_formats=False,
        offline=True,
    )


_Errors = Iterator[ValidationError]


def _pattern(_validator: Any, pattern: str, instance: object, _schema: object) -> _Errors:
    if isinstance(instance, str) and not pattern_matcher(pattern).is_valid(instance):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, patterns: Any, instance: object, _schema: object
) -> _Errors:
    if not isinstance(instance, dict):
        return
    for pattern, sub in patterns.items():
        matcher = pattern_matcher(pattern)
        for key, value in instance.items():
            if matcher.is_valid(key):
                yield from validator.descend(value, sub, path=key, schema_path=pattern)


def _additional_properties(validator: Any, sub: Any, instance: object, schema: Any) -> _Errors:
    if not isinstance(instance, dict):
        return
    declared = schema.get("properties", {})
    matchers = [pattern_matcher(pattern) for pattern in schema.get("patternProperties", {})]
    for key, value in instance.items():
        if key in declared or any(matcher.is_valid(key) for matcher in matchers):
            continue
        if sub is False:
            yield ValidationError("is not expected", path=[key])
        else:
            yield from validator.descend(value, sub, path=key)


_LINEAR = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine(
    "array", lambda _, instance: isinstance(instance, list | tuple)
)
extend: Any = _extend  # untyped in types-jsonschema
_ENGINES: dict[str, type[Validator]] = {
    "draft-07": extend(Draft7Validator, _LINEAR, type_checker=_TYPES),
    "2019-09": extend(Draft201909Validator, _LINEAR, type_checker=_TYPES),
    "2020-12": extend(Draft202012Validator, _LINEAR, type_checker=_TYPES),
}


def find_problems(schema: Any, draft: str, value: object, bytes_key: str) -> list[SchemaProblem]:
    """At most 20 problems, by path; none if the value is valid, or too deep for this engine.

    An object with the key `bytes_key` is spoken of as bytes.
    """
    engine: Any = _ENGINES[draft](schema, registry=EMPTY_REGISTRY)
    found: set[tuple[str, str]] = set()
    try:
        for error in islice(engine.iter_errors(value), _MAX_PROBLEMS):
            found.update(_sentences(error, bytes_key))
    except (RecursionError, ArithmeticError, Unresolvable):
        # Problems found before still hold.
        pass
    return [SchemaProblem(path, reason) for path, reason in sorted(found)[:_MAX_PROBLEMS]]


def _sentences(error: ValidationError, bytes_key: str) -> Iterator[tuple[str, str]]:
    path = value_path(list(error.absolute_path))
    keyword: Any = error.validator
    expected: Any = error.validator_value
    instance: Any = error.instance
    if keyword == "required":
        if isinstance(instance, dict):
            for name in expected:
                if name not in instance:
                    yield value_path([*error.absolute_path, name]), "is required"
    elif keyword in {"anyOf", "oneOf"} and error.context:
        yield from _alternatives(path, error, bytes_key)
    else:
        yield path, _sentence(keyword, expected, error, bytes_key)


def _sentence(keyword: Any, expected: Any, error: ValidationError, bytes_key: str) -> str:
    if keyword == "type":
        return f"must be {_types(expected)}, not {_describe(error.instance, bytes_key)}"
    if keyword == "enum":
        return shown("must be one of " + ", ".join(map(_short, expected)))
    if keyword in _WORDS:
        return shown(_WORDS[keyword].format(_short(expected)))
    if keyword in _COUNTS:
        words, unit = _COUNTS[keyword]
        return f"must have {words} {expected} {unit}{'' if expected == 1 else 's'}"
    return shown(error.message) if isinstance(keyword, str) else "is not expected here"


_WORDS = {
    "const": "must be {}",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "pattern": "must match the pattern {}",
    "additionalProperties": "is not expected here",
    "uniqueItems": "must not hold the same item twice",
    "not": "is what the schema excludes",
    "contains": "must hold an item that the schema asks for",
    "unevaluatedProperties": "has a key that is not expected",
    "unevaluatedItems": "has an item that is not expected",
}
_COUNTS = {
    "minLength": ("at least", "character"),
    "maxLength": ("at most", "character"),
    "minItems": ("at least", "item"),
    "maxItems": ("at most", "item"),
    "minProperties": ("at least", "key"),
    "maxProperties": ("at most", "key"),
}
_TYPE_WORDS = {
    "null": "null",
    "boolean": "a boolean",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "an array",
    "object": "an object",
}


def _alternatives(path: str, error: ValidationError, bytes_key: str) -> Iterator[tuple[str, str]]:
    branches: dict[object, list[ValidationError]] = {}
    for inner in error.context or ():
        # Only `false` has no path, and was not meant either.
        if inner.schema_path:
            branches.setdefault(inner.schema_path[0], []).append(inner)
    # A branch for another type was not meant: of "an object or null", an object is the object.
    meant = [errors for errors in branches.values() if not any(map(_is_other_type, errors))]
    if len(meant) == 1:
        for inner in meant[0][:_MAX_PROBLEMS]:
            yield from _sentences(inner, bytes_key)
    elif meant or not branches:
        yield path, "matches none of the forms that the schema allows"
    else:
        wrong = [inner for errors in branches.values() for inner in errors if _is_other_type(inner)]
        names = dict.fromkeys(_types(inner.validator_value) for inner in wrong)
        yield (
            path,
            shown(f"must be {' or '.join(names)}, not {_describe(error.instance, bytes_key)}"),
        )


def _is_other_type(error: ValidationError) -> bool:
    return error.validator == "type" and not error.relative_path


def _types(expected: Any) -> str:
    names = [expected] if isinstance(expected, str) else expected
    return " or ".join(_TYPE_WORDS[name] for name in names)


def _describe(value: object, bytes_key: str) -> str:
    if isinstance(value, dict) and bytes_key in value:
        return "bytes"
    return type_name.get(type(value), "something else")


def _short(value: object) -> str:
    return shown(repr(value)) if isinstance(value, str | int | float | None) else shown(str(value))
