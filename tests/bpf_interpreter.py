"""Runs a seccomp program as the kernel would, and checks what the kernel checks before."""

import struct
from collections.abc import Sequence
from typing import Final

ALLOW: Final = "allow"
KILL: Final = "kill"

_DATA_SIZE: Final = 64  # struct seccomp_data
_MOST_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS

# linux/bpf_common.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_AT_LEAST, _JUMP_ANY_BIT = 0x05, 0x15, 0x25, 0x35, 0x45
_CONDITIONS: Final = {
    _JUMP_EQUAL: lambda value, operand: value == operand,
    _JUMP_GREATER: lambda value, operand: value > operand,
    _JUMP_AT_LEAST: lambda value, operand: value >= operand,
    _JUMP_ANY_BIT: lambda value, operand: value & operand != 0,
}


class Interpreter:
    """A program that was found valid.

    Raises `ValueError` for one that the kernel would not install: it can leave its bounds, read
    past the data or end without a verdict.
    """

    def __init__(self, program: bytes) -> None:
        self.instructions = list(struct.iter_unpack("=HBBI", program))
        self._check()
        self.steps = 0
        """What the last run took."""

    def run(self, arch: int, number: int, arguments: Sequence[int] = ()) -> str | int:
        """The verdict: "allow", "kill", or the errno of the refusal."""
        padded = [argument & 2**64 - 1 for argument in (*arguments, *[0] * 6)][:6]
        data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
        accumulator = at = self.steps = 0
        while True:
            code, yes, no, operand = self.instructions[at]
            self.steps += 1
            at += 1
            if code == _LOAD:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            elif code == _AND:
                accumulator &= operand
            elif code == _JUMP:
                at += operand
            elif code == _RETURN:
                return _verdict(operand)
            else:
                at += yes if _CONDITIONS[code](accumulator, operand) else no

    def _check(self) -> None:
        count = len(self.instructions)
        if not 0 < count <= _MOST_INSTRUCTIONS:
            raise ValueError(f"{count} instructions")
        reached = {0}
        for at, (code, yes, no, operand) in enumerate(self.instructions):
            if at not in reached:
                raise ValueError(f"instruction {at} is never reached")
            if code == _LOAD and (operand % 4 or operand > _DATA_SIZE - 4):
                raise ValueError(f"instruction {at} loads from {operand}")
            if code in _CONDITIONS:
                reached |= {at + 1 + yes, at + 1 + no}
            elif code in (_LOAD, _AND):
                reached.add(at + 1)
            elif code == _JUMP:
                reached.add(at + 1 + operand)
            elif code != _RETURN:
                raise ValueError(f"instruction {at} has code {code:#x}")
        if max(reached) >= count:
            raise ValueError(f"a jump to {max(reached)} of {count}")


def _verdict(value: int) -> str | int:
    # linux/seccomp.h
    match value & 0xFFFF_0000:
        case 0x7FFF_0000:
            return ALLOW
        case 0x8000_0000:
            return KILL
        case 0x0005_0000:
            return value & 0xFFFF
    raise ValueError(f"no verdict: {value:#x}")
