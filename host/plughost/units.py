"""Sizes, shares and times as people write them: `100MB`, `50%`, `5 min`."""

import re
from typing import TYPE_CHECKING, Annotated, Final, Generic, TypeAlias, TypeVar

__all__ = [
    "Bytes",
    "KiB",
    "MiB",
    "OrText",
    "Seconds",
    "Share",
    "format_bytes",
    "format_seconds",
    "format_share",
    "parse_bytes",
    "parse_seconds",
    "parse_share",
]

T = TypeVar("T")

if TYPE_CHECKING:

    class OrText(Generic[T]):
        """The type of a field that is given as a number or as text, and is a number then.

        Type checkers read it as a descriptor; at run time `OrText[int]` is `int`.
        """

        def __get__(self, instance: object, owner: object) -> T: ...
        def __set__(self, instance: object, value: T | str) -> None: ...

else:

    class OrText:
        def __class_getitem__(cls, kind):
            return kind


KiB: Final = 1024
MiB: Final = 1024 * KiB

_UNITS: Final = {
    "": 1,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KIB": KiB,
    "MIB": MiB,
    "GIB": 1024 * MiB,
}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMG]?i?B)?", re.IGNORECASE)
_SHARE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?%")
_TIME: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?(ms|s|min|h|d)?")
_TIMES: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_bytes(text: str) -> int:
    """The bytes in `"100MB"` (10^6 each), `"64 MiB"` (2^20 each) or `"4096"`."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size <= 0:
        raise ValueError(f"{text!r} is no size: write it as '100MB' or '64 MiB'")
    return size


def parse_share(text: str) -> float:
    """The share of one processor core in `"50%"`: 0.5. More than 100% means several cores."""
    match = _SHARE.fullmatch(text.strip())
    share = float(match[1]) / 100 if match else 0.0
    if share <= 0:
        raise ValueError(f"{text!r} is no share of a processor: write it as '50%'")
    return share


def parse_seconds(text: str) -> float:
    """The seconds in `"30"`, `"250 ms"`, `"30s"`, `"5 min"`, `"2h"` or `"1d"`."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time: write it as '30s', '250 ms' or '5 min'")
    return float(match[1]) * _TIMES[match[2] or ""]


# As the types of settings: in a file these may be written as text, which the function reads.
Bytes: TypeAlias = Annotated[int, parse_bytes]
Share: TypeAlias = Annotated[float, parse_share]
Seconds: TypeAlias = Annotated[float, parse_seconds]


def format_share(share: float) -> str:
    """A share for people: `10%`, `2.5%`."""
    return f"{share * 100:.4g}%"


def format_bytes(size: float) -> str:
    """A size for people, in powers of ten: `100 MB`, `1.5 GB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def format_seconds(seconds: float) -> str:
    """A duration for people: `250 ms`, `3.5 s`, `2 min`, `5 h`, `3 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"
