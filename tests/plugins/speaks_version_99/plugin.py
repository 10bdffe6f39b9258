"""A worker of its own, run by the test: it says hello in a protocol of the future, and waits."""

import os
import sys

from plughost_protocol import Hello, encode, frame_header

payload = encode(Hello(99, 99, "Python 9", "plughost-sdk 99"))
os.write(int(sys.argv[2]), frame_header(len(payload)) + payload)
os.read(int(sys.argv[1]), 1)
