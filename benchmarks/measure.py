"""Runs one case with one peer and leaves the answer in a file, as JSON: `rows` or `error`."""

import asyncio
import json
import sys
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.peers import load

__all__ = ["main"]


def main() -> None:
    """Measure what the command line names. An exception goes into the file, and on its way."""
    peer_name, case, seconds, answer_file = sys.argv[1:]
    answer = Path(answer_file)
    try:
        rows = asyncio.run(_measure(peer_name, case, float(seconds)))
    except BaseException as exc:
        answer.write_text(json.dumps({"error": _sentence(exc)}), encoding="utf-8")
        raise
    answer.write_text(json.dumps({"rows": rows}), encoding="utf-8")


async def _measure(peer_name: str, case: str, seconds: float) -> dict[str, dict[str, float]]:
    return await CASES[case](load(peer_name), seconds)


def _sentence(exc: BaseException) -> str:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    first_line = str(exc).partition("\n")[0]
    return f"{type(exc).__name__}: {first_line}"
