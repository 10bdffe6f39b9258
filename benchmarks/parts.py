"""What the parts of a call cost: `python -m benchmarks.parts`. Microseconds, one process.

Each part runs many times in a loop whose own cost, an empty call, has a row of its own and is
not subtracted. Shown are the median and the best of the repetitions.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import jsonschema_rs
from msgspec import Raw

from plughost_protocol import (
    Call,
    CallMeta,
    FrameDecoder,
    decode_message,
    decode_value,
    encode,
    frame_header,
)

_LOOPS: Final = 5_000
_PARAMS: Final = {"a": 1, "b": 2}
_SCHEMA: Final = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def main() -> None:
    """Time every part and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.parts", description=__doc__)
    parser.add_argument("--repeat", type=int, default=15, help="repetitions of each part")
    repeat = parser.parse_args().repeat

    print(f"{'part of a call':<58}{'median us':>12}{'best us':>10}")
    for name, (part, units) in _blocking_parts().items():
        _show(name, [_time(part) / units for _ in range(repeat)])
    asyncio.run(_time_async_parts(repeat))


def _blocking_parts() -> dict[str, tuple[Callable[[], object], int]]:
    """Each part, and how many frames one run of it handles."""
    raw_params = Raw(encode(_PARAMS))
    meta = CallMeta(timeout_ms=30_000)
    call = Call(7, "tools.execute", raw_params, meta)
    payload = encode(call)
    frame = frame_header(len(payload)) + payload
    frames = frame * 64
    decoder = FrameDecoder()
    is_valid = jsonschema_rs.validator_for(_SCHEMA).is_valid
    return {
        "nothing: an empty call": (lambda: None, 1),
        "params: msgspec encode of a dict": (lambda: encode(_PARAMS), 1),
        "params: msgspec decode to plain values, counted": (lambda: decode_value(raw_params), 1),
        "call: make the Struct": (lambda: Call(7, "tools.execute", raw_params, meta), 1),
        "call: msgspec encode, params Raw": (lambda: encode(call), 1),
        "call: msgspec decode and check, params Raw": (lambda: decode_message(payload), 1),
        "frame: header and join": (lambda: frame_header(len(payload)) + payload, 1),
        "frame: split, one in a read": (lambda: decoder.feed(frame), 1),
        "frame: split, 64 in a read, each": (lambda: decoder.feed(frames), 64),
        "jsonschema_rs: compiled, is_valid": (lambda: is_valid(_PARAMS), 1),
    }


async def _time_async_parts(repeat: int) -> None:
    loop = asyncio.get_running_loop()

    async def nothing() -> None:
        pass

    async def fail_after() -> None:
        with anyio.fail_after(30):  # noqa: ASYNC100  # the scope itself is what is timed
            pass

    async def call_later() -> None:
        loop.call_later(30, print).cancel()

    async def create_task() -> None:
        await asyncio.create_task(nothing())

    async def create_future() -> None:
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future

    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "nothing: an awaited empty coroutine": nothing,
        "anyio.fail_after": fail_after,
        "loop.call_later and cancel": call_later,
        "create_task and await": create_task,
        "create_future, call_soon and await": create_future,
    }
    for name, part in parts.items():
        _show(name, [await _time_async(part) for _ in range(repeat)])


def _time(part: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(_LOOPS):
        part()
    return (time.perf_counter() - start) / _LOOPS


async def _time_async(part: Callable[[], Awaitable[None]]) -> float:
    start = time.perf_counter()
    for _ in range(_LOOPS):
        await part()
    return (time.perf_counter() - start) / _LOOPS


def _show(name: str, seconds: list[float]) -> None:
    median, best = statistics.median(seconds) * 1e6, min(seconds) * 1e6
    print(f"{name:<58}{median:>12.3f}{best:>10.3f}")


if __name__ == "__main__":
    main()
