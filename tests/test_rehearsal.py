"""What the template plays before its first fork."""

import subprocess
import sys

from plughost_protocol import FrameDecoder, Hello, Result, decode_message, decode_value

PLAY = """
import gc, logging, os, sys, threading
from plughost_worker.rehearsal import rehearse

def state():
    return (sys.path[:], set(sys.modules), os.listdir("/proc/self/fd"), threading.enumerate(),
        logging.root.handlers[:], logging.root.level, set(logging.root.manager.loggerDict),
        sys.dont_write_bytecode, sys.getprofile())

before = state()
said = rehearse()
assert state() == before, (before, state())
sys.stdout.buffer.write(said)
"""


def test_the_rehearsal_goes_as_far_as_a_tools_result_and_leaves_nothing_behind() -> None:
    played = subprocess.run(
        [sys.executable, "-c", PLAY], stdout=subprocess.PIPE, check=True, timeout=30
    )
    hello, *_, last = map(decode_message, FrameDecoder(2**16).feed(played.stdout))
    assert isinstance(hello, Hello)
    assert isinstance(last, Result)
    assert decode_value(last.value) == 3
