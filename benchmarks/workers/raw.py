"""Sends every message back. A message is 4 bytes of length, big-endian, then its body."""

import os

_READ = 64 * 1024  # what a pipe holds


def main() -> None:
    """Echo until the other end closes."""
    pending = bytearray()
    while data := os.read(0, _READ):
        pending += data
        end = 0
        while len(pending) - end >= 4:
            after = end + 4 + int.from_bytes(pending[end : end + 4], "big")
            if after > len(pending):
                break
            end = after
        if end:
            # All complete messages in one write, as few wake-ups as possible.
            answer = memoryview(pending)[:end]
            pending = pending[end:]
            while answer:
                answer = answer[os.write(1, answer) :]


main()
