"""Memories searched by their words, ranked by SQLite's FTS5."""

import math
import re
from collections.abc import Sequence
from typing import Final

from plughost.memory_store import MemoryMatch
from plughost.services.memory.table import COLUMNS, MemoryTable, memories_of, memory_of, user_token
from plughost.services.sqlite import Connection

__all__ = ["WordMemories"]

_MAX_WORDS: Final = 32  # different ones of a query; each is one look into the index
# What stands between words in any script that has something between them. What else is no part
# of a word, FTS5 leaves out itself.
_BETWEEN: Final = re.compile(r"[\s\x00-/:-@\[-`{-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+")

_HITS: Final = (
    "hits{n} AS MATERIALIZED"
    " (SELECT rowid AS number, bm25(words, 0.0, 1.0) AS rank FROM words WHERE words MATCH ?)"
)
# bm25 is negative, and the best is the lowest.
_PART: Final = "SELECT number, ? * rank / (SELECT min(rank) FROM hits{n}) AS part FROM hits{n}"


class WordMemories(MemoryTable):
    """Finds memories that have words of the query, in any order.

    A word counts by how rare it is among the user's own memories, times FTS5's bm25 of it in
    relation to the memory where that is best: bm25 itself counts the words of all users, and
    would tell one user's plugin which words the others' memories have. The sum, divided by what
    it would be if each word had its best place in one memory, is the similarity.
    """

    async def search(self, query: str, user_id: str, limit: int) -> Sequence[MemoryMatch]:
        """Best first; of equals the more important first, then the newer. Raises `StoreError`."""
        words = list(dict.fromkeys(filter(None, _BETWEEN.split(query.lower()))))[:_MAX_WORDS]
        if not words:
            return ()
        token = user_token(user_id)
        phrases = [f'user_token:"{token}" AND content:"{word}"' for word in words]
        return await self._database.read(lambda c: _search(c, phrases, user_id, limit))


def _search(
    connection: Connection, phrases: Sequence[str], user_id: str, limit: int
) -> list[MemoryMatch]:
    total = memories_of(connection, user_id)
    counts = [
        connection.execute("SELECT count(*) FROM words WHERE words MATCH ?", (phrase,)).fetchone()[
            0
        ]
        for phrase in phrases
    ]
    weights = [_rarity(count, total) for count in counts]
    found = [
        (phrase, weight)
        for phrase, weight, count in zip(phrases, weights, counts, strict=True)
        if count
    ]
    if not found:
        return []
    hits = ", ".join(_HITS.format(n=n) for n in range(len(found)))
    parts = " UNION ALL ".join(_PART.format(n=n) for n in range(len(found)))
    rows = connection.execute(
        f"WITH {hits}, scores AS ("  # noqa: S608 - made of numbers
        f"SELECT number, sum(part) AS score FROM ({parts}) GROUP BY number)"
        f" SELECT {COLUMNS}, score FROM scores JOIN memories USING (number) WHERE user_id = ?"
        " ORDER BY score DESC, importance DESC, created_at DESC LIMIT ?",
        (*(phrase for phrase, _ in found), *(weight for _, weight in found), user_id, limit),
    ).fetchall()
    best = sum(weights)
    return [MemoryMatch(memory_of(row), min(row[-1] / best, 1.0)) for row in rows]


def _rarity(count: int, total: int) -> float:
    """The inverse document frequency of BM25, as Lucene has it: never below 0.

    A word that is in none counts as one that is in one.
    """
    count = max(count, 1)
    return math.log(1 + (max(total, 1) - count + 0.5) / (count + 0.5))
