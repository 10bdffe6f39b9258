"""Versions and their ranges: of plugins and the host by semver.org, of Python by PEP 440.

The libraries that know both are imported where something is to be compared, which is seldom.
"""

from functools import lru_cache
from typing import Any, Final

__all__ = ["SEMVER_PATTERN", "fits", "fits_python", "is_older", "range_problem"]

# https://semver.org, its own regular expression without names
SEMVER_PATTERN: Final = (
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?\Z"
)


def range_problem(text: str) -> str:
    """Why a text is no range of versions, or nothing."""
    try:
        _spec(text)
    except ValueError:
        return f"{text!r} is no range of versions: write such as '>=1.2,<2' or '^1.2'"
    return ""


def fits(version: str, wanted: str) -> bool:
    """Whether a semantic version lies in a range; all do in an empty one.

    A pre-release of a bound does not: `<2` and `>=2` both leave out 2.0.0-rc.1.
    """
    from semantic_version import Version

    return not wanted or bool(_spec(wanted).match(Version(version)))


def is_older(version: str, than: str) -> bool:
    """Whether the first semantic version comes before the second."""
    from semantic_version import Version

    return bool(Version(version) < Version(than))


def fits_python(version: str, wanted: str) -> bool:
    """Whether a Python's version fits `requires_python`. Raises `ValueError` for what is none."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(wanted).contains(version, prereleases=True)
    except InvalidSpecifier:
        raise ValueError(
            f"{wanted!r} is no range of Python's versions: write such as '>=3.11,<4'"
        ) from None


@lru_cache(maxsize=256)
def _spec(text: str) -> Any:
    from semantic_version import SimpleSpec

    return SimpleSpec("".join(text.split()))
