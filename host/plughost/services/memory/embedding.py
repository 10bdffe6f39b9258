"""Texts to vectors, through an embedder of the application's or a plugin's, and never trusted."""

import math
from array import array
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from plughost.errors import PlughostError
from plughost.memory_store import Embedder
from plughost.services.memory.table import EMBEDDING_FAILED

__all__ = ["EmbeddingFailed", "ToolCall", "ToolEmbedder", "embed"]

ToolCall: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Calls a tool by its full name with its parameters, and gives the result."""

_MAX_DIMENSION: Final = 4096


class EmbeddingFailed(PlughostError):
    """Raised when the embedder gives no vectors that can be used. Nothing was stored."""

    code = EMBEDDING_FAILED

    def __init__(self, problem: str) -> None:
        super().__init__(f"the embedder of this host's memory {problem}")
        self.problem = problem


class ToolEmbedder:
    """An embedder that is a plugin's tool: it takes `{"texts": [...]}`, and returns the vectors."""

    def __init__(self, tool: str, call: ToolCall) -> None:
        self.tool = tool
        self._call = call

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """What the tool returns. Raises `EmbeddingFailed`."""
        try:
            vectors: Sequence[Sequence[float]] = await self._call(self.tool, {"texts": list(texts)})
        except PlughostError as exc:
            raise EmbeddingFailed(f"did not answer ({exc})") from exc
        return vectors


async def embed(embedder: Embedder, texts: Sequence[str]) -> list[bytes]:
    """A vector for each text, as 32-bit floats one after the other. Raises `EmbeddingFailed`."""
    vectors: object = await embedder.embed(texts)
    if not isinstance(vectors, Collection) or len(vectors) != len(texts):
        raise EmbeddingFailed(f"gave no list of {len(texts)} vectors for as many texts")
    packed = [_packed(vector) for vector in vectors]
    if len(set(map(len, packed))) > 1:
        raise EmbeddingFailed("gave vectors of different lengths")
    return packed


def _packed(vector: object) -> bytes:
    # Not only lists: an application's embedder may well give arrays of numpy's.
    if isinstance(vector, str | bytes) or not isinstance(vector, Collection):
        raise EmbeddingFailed("gave a vector that is no list of numbers")
    if not 1 <= len(vector) <= _MAX_DIMENSION:
        raise EmbeddingFailed(f"gave a vector that has not 1 to {_MAX_DIMENSION} numbers")
    try:
        numbers = array("f", list(vector))  # a number beyond 32 bits becomes infinite here
    except (TypeError, ValueError, OverflowError) as exc:
        raise EmbeddingFailed("gave a vector that holds something else than numbers") from exc
    if not all(map(math.isfinite, numbers)):
        raise EmbeddingFailed("gave a vector with a number that is not finite")
    return numbers.tobytes()
