"""A worker's life in small, played in the template before its first fork.

A worker shares the template's memory page by page until it writes to a page, and Python writes
to whatever it runs: it counts references, specializes bytecode, fills its caches of methods.
What is done here is done once, for all workers. The plugin is our own; nothing of it is left.
"""

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from types import CodeType, FunctionType
from typing import Final

from msgspec import Raw

from plughost_protocol import (
    PLUGIN_LOAD,
    TOOL_PREFIX,
    Call,
    Error,
    FrameDecoder,
    Message,
    Result,
    Welcome,
    WireLimits,
    decode_message,
    encode,
    frame_header,
)

from .runtime import Worker

__all__ = ["rehearse"]

_ROUNDS: Final = 10  # Python 3.11 specializes a function in its ninth run
_ID: Final = "rehearsal"
_MESSAGES: Final[tuple[Message, ...]] = (
    Welcome(
        1,
        os.path.dirname(__file__),
        "rehearsed.py",
        {"id": _ID, "name": _ID, "version": "1.0.0"},
        {},
        [],
        WireLimits(max_frame=2**20, max_requests=1, max_threads=1),
    ),
    Call(1, PLUGIN_LOAD, Raw(encode(None))),
    Call(2, f"{TOOL_PREFIX}add", Raw(encode({"a": 1, "b": 2}))),
)
_ANSWERS: Final = (Result, Error)
_originals: Final[list[CodeType]] = []


def rehearse() -> bytes:
    """Play it. Returns the frames that the worker sent at last. No thread is left."""
    called: set[CodeType] = set()
    threading.setprofile(lambda frame, *_: called.add(frame.f_code))
    sys.setprofile(lambda frame, *_: called.add(frame.f_code))
    _play()
    sys.setprofile(None)
    threading.setprofile(None)
    _gather(called)
    for _ in range(_ROUNDS):
        said = _play()
    while len(os.listdir("/proc/self/task")) > 1:  # Python lets go of a thread a little early
        time.sleep(0.001)
    return said


def _play() -> bytes:
    to_worker, from_worker = os.pipe(), os.pipe()
    kept = sys.path[:], sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    said = bytearray()

    def hear() -> None:
        said.extend(frames := os.read(from_worker[0], 2**16))
        if any(type(decode_message(frame)) in _ANSWERS for frame in decoder.feed(frames)):
            loop.stop()

    decoder = FrameDecoder(2**16)
    loop.add_reader(from_worker[0], hear)
    worker = Worker(loop, to_worker[0], from_worker[1])
    try:
        for message in _MESSAGES:
            payload = encode(message)
            os.write(to_worker[1], frame_header(len(payload)) + payload)
            if type(message) is Welcome:  # to which there is no answer
                loop.call_soon(loop.stop)
            loop.run_forever()
        return bytes(said)
    finally:
        worker.close()
        loop.close()
        asyncio.set_event_loop(None)
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        logging.root.manager.loggerDict.pop(_ID, None)
        sys.modules.pop("rehearsed", None)
        sys.path[:], sys.dont_write_bytecode = kept
        for fd in (*to_worker, *from_worker):
            os.close(fd)


def _gather(called: set[CodeType]) -> None:
    """Lay the code of these functions side by side, on few pages: each call writes to it."""
    gc.collect()  # of the first play nothing is left but holes, which the copies fill
    copies: dict[int, CodeType] = {}
    for function in gc.get_objects():
        if type(function) is not FunctionType:
            continue
        code = function.__code__
        # Ours that were not called confine a worker, which cannot be rehearsed.
        if code in called or function.__globals__.get("__package__") == __package__:
            function.__code__ = copies.get(id(code)) or copies.setdefault(id(code), _copy(code))
            _originals.append(code)  # in the holes that they would leave, new objects would scatter


def _copy(code: CodeType) -> CodeType:
    constants = (_copy(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=tuple(constants))
