"""Assembles classic BPF programs, as seccomp(2) takes them.

A program is built from its last instruction to its first. Classic BPF jumps forward only, so
whatever an instruction leads to is there before it: a label is a position that is known, and
nothing is patched afterwards. What is asked for twice is emitted once.
"""

import struct
from enum import IntEnum
from typing import Final, NewType

__all__ = ["INSTRUCTION_SIZE", "Assembler", "Jump", "Label"]

Label = NewType("Label", int)
"""An instruction, counted from the end of the program."""

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand

_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter of linux/filter.h
INSTRUCTION_SIZE: Final = _INSTRUCTION.size
_OPERAND_OFFSET: Final = 4
_FARTHEST: Final = 255  # a conditional jump counts its distance in a byte

# linux/bpf_common.h. Only what the kernel can evaluate beforehand: a call whose verdict does not
# hang on its arguments is looked up in a bitmap, without running the program (Linux 5.11).
_LOAD_WORD: Final = 0x20
_AND: Final = 0x54
_RETURN: Final = 0x06
_JUMP: Final = 0x05


class Jump(IntEnum):
    """How a conditional jump compares the accumulator with its operand."""

    EQUAL = 0x15
    AT_LEAST = 0x35
    ANY_BIT = 0x45


class Assembler:
    """A program in the making."""

    def __init__(self) -> None:
        self._reversed: list[_Instruction] = []
        self._known: dict[tuple[int, ...], Label] = {}
        self._bridges: dict[Label, Label] = {}
        self._marked: list[Label] = []

    def give(self, value: int) -> Label:
        """End with this value."""
        return self._emit(_RETURN, value)

    def load(self, offset: int, then: Label) -> Label:
        """Load the 32 bits at `offset` of the data into the accumulator."""
        return self._step(_LOAD_WORD, offset, then)

    def mask(self, bits: int, then: Label) -> Label:
        """Keep these bits of the accumulator."""
        return self._step(_AND, bits, then)

    def jump(
        self, how: Jump, operand: int, yes: Label, no: Label, *, marked: bool = False
    ) -> Label:
        """Go on at `yes` or at `no`. The place of a `marked` operand is in `marks`."""
        if yes == no:
            return yes
        key = (how, operand, yes, no)
        known = self._known.get(key)
        if known is not None and not marked:
            return known
        # One less for the first: the bridge of the second may come in between.
        near_yes = self._near(yes, _FARTHEST - 1)
        near_no = self._near(no, _FARTHEST)
        label = self._emit(how, operand, self._distance(near_yes), self._distance(near_no))
        if marked:
            self._marked.append(label)
        else:
            self._known[key] = label
        return label

    def program(self, start: Label) -> bytes:
        """The program, as an array of `struct sock_filter`. `start` is what was emitted last."""
        if start != len(self._reversed) - 1:
            raise ValueError(f"the program starts at {start} of {len(self._reversed)}")
        return b"".join(_INSTRUCTION.pack(*each) for each in reversed(self._reversed))

    def marks(self) -> tuple[int, ...]:
        """The byte offsets of the marked operands, 32 bits each, in the finished program."""
        last = len(self._reversed) - 1
        return tuple(
            sorted((last - label) * INSTRUCTION_SIZE + _OPERAND_OFFSET for label in self._marked)
        )

    def _step(self, code: int, operand: int, then: Label) -> Label:
        key = (code, operand, then)
        known = self._known.get(key)
        if known is None:
            if self._distance(then):
                self._emit(_JUMP, self._distance(then))
            known = self._known[key] = self._emit(code, operand)
        return known

    def _near(self, target: Label, reach: int) -> Label:
        """`target`, or a jump to it that is not farther than `reach`."""
        if self._distance(target) <= reach:
            return target
        bridge = self._bridges.get(target)
        if bridge is None or self._distance(bridge) > reach:
            bridge = self._bridges[target] = self._emit(_JUMP, self._distance(target))
        return bridge

    def _distance(self, target: Label) -> int:
        """The instructions between the next one and `target`."""
        return len(self._reversed) - 1 - target

    def _emit(self, code: int, operand: int, yes: int = 0, no: int = 0) -> Label:
        self._reversed.append((code, yes, no, operand))
        return Label(len(self._reversed) - 1)
