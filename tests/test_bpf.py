"""The tables of system calls against the kernel's headers, and the assembler."""

import re
from pathlib import Path

import pytest

from plughost.sandbox.bpf import Assembler, Jump
from plughost.sandbox.syscalls import MACHINES

from .bpf_interpreter import Interpreter

X86_64 = 0xC000_003E


def test_the_tables_agree_on_what_is_newer_than_either_machine() -> None:
    newer = [
        {name: number for name, number in each.numbers.items() if number >= 424}
        for each in MACHINES.values()
    ]
    assert newer[0] == newer[1]
    assert sorted(newer[0].values()) == list(range(424, 472))


def test_no_number_stands_for_two_calls() -> None:
    for each in MACHINES.values():
        assert len(set(each.numbers.values())) == len(each.numbers)


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_the_tables_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"{header} is not there: install linux-libc-dev")
    found = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)$", Path(header).read_text(), re.MULTILINE))
    numbers = MACHINES[machine].numbers
    # Not calls: their count, the first of a range; and another machine's order of arguments.
    for name in found.keys() - {"syscalls", "arch_specific_syscall", "sync_file_range2"}:
        # The second columns of the generic header are those of 32-bit machines, from 403 on.
        if not 403 <= int(found[name]) <= 423:
            assert numbers[name] == int(found[name])


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 130, 300, 1000])
def test_jumps_reach_as_far_as_they_must(count: int) -> None:
    build = Assembler()
    far_yes, far_no = build.give(0x0005_0000 | 4000), build.give(0x0005_0000 | 4001)
    entry = far_no
    for number in reversed(range(count)):
        # Each needs the next one near, its own verdict, and every third the far end.
        verdict_ = far_yes if number % 3 == 0 else build.give(0x0005_0000 | number)
        entry = build.jump(Jump.EQUAL, number, yes=verdict_, no=entry)
    program = Interpreter(build.program(build.load(0, entry)))
    for number in range(count):
        assert program.run(X86_64, number) == (4000 if number % 3 == 0 else number)
    assert program.run(X86_64, count) == 4001


def test_both_ways_of_a_jump_may_be_far() -> None:
    for between in range(250, 262):
        build = Assembler()
        yes, no = build.give(0x0005_0000 | 1), build.give(0x0005_0000 | 2)
        entry = build.give(0x0005_0000 | 3)
        for bits in range(between):
            entry = build.mask(0xFFFF_FFFF - bits, entry)
        choice = build.jump(Jump.AT_LEAST, 5, yes=yes, no=no)
        start = build.load(0, build.jump(Jump.EQUAL, 7, yes=entry, no=choice))
        program = Interpreter(build.program(start))
        assert [program.run(X86_64, number) for number in (4, 5, 7)] == [2, 1, 3]
