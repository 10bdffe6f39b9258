"""The same attempts in an ordinary child process, which nothing holds back: the control run.

Reads an attack's name and target from its input, becomes the user that it names, writes the answer,
and waits for the end of its input, so that what it opened can be looked at.
"""

import ctypes
import json
import os
import sys
from importlib import import_module
from pathlib import Path


def _leave_the_machines_mounts() -> None:
    """As root, mount and unmount in a namespace of its own: the machine's are everybody's."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        private = 0x4000 | 1 << 18  # MS_REC | MS_PRIVATE
        if libc.unshare(0x0002_0000) or libc.mount(None, b"/", None, private, None):  # CLONE_NEWNS
            sys.exit("no mount namespace of its own: not tried")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    attempts = import_module("attempts")
    _leave_the_machines_mounts()
    request = json.loads(sys.stdin.readline())
    attempts.find(request["name"])  # imports what it needs, which the other user may not read
    if request["target"].get("as"):
        os.setresgid(*[request["target"]["as"]] * 3)
        os.setresuid(*[request["target"]["as"]] * 3)
    answer = attempts.attempt(request["name"], request["target"] | {"bare": True})
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
