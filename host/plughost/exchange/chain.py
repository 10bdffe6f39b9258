"""The chain of calls that led to one: links such as `shop.order`, the first of them first."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

__all__ = ["current_chain", "inside", "joined", "links_of"]

# No name of a tool, a task or an event holds a space, so that none passes for two links.
_BETWEEN: Final = " > "

_current: Final[ContextVar[str]] = ContextVar("plughost_chain", default="")


def links_of(chain: str) -> list[str]:
    """The links of a chain."""
    return chain.split(_BETWEEN) if chain else []


def joined(links: Iterable[str]) -> str:
    """The chain of these links; those that are empty are left out."""
    return _BETWEEN.join(filter(None, links))


def current_chain() -> str:
    """The chain that the application's own hook or callback, which runs now, is in."""
    return _current.get()


@contextmanager
def inside(chain: str) -> Iterator[None]:
    """What the application does in the block, it does for this chain."""
    token = _current.set(chain)
    try:
        yield
    finally:
        _current.reset(token)
