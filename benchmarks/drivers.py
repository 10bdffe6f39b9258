"""Ways to have many calls in flight, shared by the peers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["WrongAnswer", "check", "run_in_tasks", "run_in_window", "shares"]

T = TypeVar("T")


class WrongAnswer(Exception):
    """Raised when a worker's answer to `add(1, 2)` is not 3."""

    def __init__(self, answer: object) -> None:
        super().__init__(f"the worker's answer to add(1, 2) was {answer!r}")
        self.answer = answer


def check(answer: object) -> None:
    """Raise `WrongAnswer` unless it is the sum of the 1 and 2 that the drivers send."""
    if answer != 3:
        raise WrongAnswer(answer)


def shares(calls: int, callers: int) -> list[int]:
    """The calls that each caller makes; they add up to `calls`."""
    each, rest = divmod(calls, callers)
    return [each + (index < rest) for index in range(callers)]


async def run_in_tasks(
    call: Callable[[int, int], Awaitable[int]], calls: int, in_flight: int
) -> None:
    """`in_flight` tasks that each call in a loop: many users of one async application."""

    async def caller(share: int) -> None:
        for _ in range(share):
            check(await call(1, 2))

    async with asyncio.TaskGroup() as group:
        for share in shares(calls, in_flight):
            group.create_task(caller(share))


def run_in_window(
    submit: Callable[[int, int], T], answer: Callable[[T], object], calls: int, in_flight: int
) -> None:
    """First in, first out: the next call is submitted when the oldest one is answered."""
    open_calls = deque(submit(1, 2) for _ in range(min(calls, in_flight)))
    for _ in range(calls - len(open_calls)):
        check(answer(open_calls.popleft()))
        open_calls.append(submit(1, 2))
    for call in open_calls:
        check(answer(call))
