"""The filter of system calls: what it refuses on each machine, and what commands get from it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from errno import EAFNOSUPPORT, EINVAL, ENOSYS, EPERM
from pathlib import Path

import pytest

from tests.support.sandboxed_worker import Backend, backend_of
from workers.sandbox import seccomp
from workers.sandbox.seccomp import ALLOW, CHECKED, KILL, LAST_CALL, MACHINES, REFUSE, REFUSED

MACHINE = os.uname().machine
HEADERS = {  # of the kernel: Debian's linux-libc-dev
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
NEWER_THAN_SOME_HEADERS = {"open_tree_attr"}
X32 = 0x40000000
I386 = 0x40000003  # AUDIT_ARCH_I386
READ = {"x86_64": 0, "aarch64": 63}


def numbers(machine: str) -> dict[str, int]:
    """Return the number of each call that the filter looks at."""
    column = list(MACHINES).index(machine)
    calls = {**{name: found for each in REFUSED.values() for name, found in each.items()}, **CHECKED}
    return {name: number for name, found in calls.items() if (number := found[column]) is not None}


def verdict(machine: str, number: int, *arguments: int, table: int | None = None) -> int:
    """Run the filter as the kernel does."""
    halves = [half for each in (*arguments, *[0] * 6)[:6] for half in (each & 0xFFFFFFFF, each >> 32)]
    data = [number, table or MACHINES[machine], 0, 0, *halves]
    at = value = 0
    code = list(seccomp.INSTRUCTION.iter_unpack(seccomp.assemble(machine)))
    while True:
        operation, if_true, if_false, constant = code[at]
        holds = {
            seccomp.EQUAL: value == constant,
            seccomp.GREATER: value > constant,
            seccomp.NOT_LESS: value >= constant,
            seccomp.HAS_BITS: value & constant != 0,
        }
        if operation == seccomp.RETURN:
            return int(constant)
        if operation == seccomp.LOAD:
            value = data[constant // 4]
        else:
            at += if_true if holds[operation] else if_false
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_filter_refuses_the_calls_of_the_list_and_allows_others(machine: str) -> None:
    calls = numbers(machine)
    for error, names in REFUSED.items():
        assert {verdict(machine, calls[name]) for name in names if name in calls} == {REFUSE | error}

    assert verdict(machine, READ[machine]) == ALLOW
    assert verdict(machine, LAST_CALL + 1) == REFUSE | ENOSYS
    assert verdict(machine, READ[machine] | X32) == REFUSE | ENOSYS
    assert verdict(machine, READ[machine], table=I386) == KILL
    assert verdict(machine, calls["clone"], 0x11) == ALLOW
    assert verdict(machine, calls["clone"], 0x10000011) == REFUSE | EPERM
    assert verdict(machine, calls["ioctl"], 0, 0x5401) == ALLOW
    for request in (0x5412, 0x541C, 1 << 32 | 0x5412):  # the kernel reads 32 bits
        assert verdict(machine, calls["ioctl"], 0, request) == REFUSE | EPERM
    for size, expected in ((64 << 10, ALLOW), (1 << 20, REFUSE | EINVAL), (1 << 32, REFUSE | EINVAL)):
        assert verdict(machine, calls["shmget"], 0, size) == expected
    assert verdict(machine, calls["semget"], 0, 64) == ALLOW
    assert verdict(machine, calls["semget"], 0, 65) == REFUSE | EINVAL
    assert [verdict(machine, calls["socket"], family) for family in (1, 2, 10, 16)] == [ALLOW] * 4
    assert [verdict(machine, calls["socket"], family) for family in (17, 38, 40)] == [REFUSE | EAFNOSUPPORT] * 3


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("no headers of the kernel: run `apt install linux-libc-dev`")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    known = {name: int(number) for name, number in defined}

    ours = numbers(machine)

    assert {name: known.get(name) for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    assert ours.keys() - known.keys() <= NEWER_THAN_SOME_HEADERS


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    if MACHINE not in MACHINES:
        pytest.skip(f"no list of system calls for {MACHINE}")
    with backend_of() as backend:
        yield backend


def call(*arguments: int) -> str:
    """Return a line of Perl that makes a system call and prints its error, or 0."""
    return (
        f"$r = syscall({', '.join(map(str, arguments))}); exit if !$r && $$ != $main; print $r < 0 ? $! + 0 : 0, q( );"
    )


@pytest.mark.parametrize("hosted", [True, False], ids=["hosted", "local"])
def test_commands_get_the_errors_at_which_programs_fall_back(backend: Backend, hosted: bool) -> None:
    known = numbers(MACHINE)
    refused = {name: error for error, names in REFUSED.items() for name in names if name in known}
    lines = [call(known[name], *[-1] * 6) for name in refused]

    exit_code, _, output = backend.run(f"perl -e '$main = $$; {''.join(lines)}'", hosted=hosted)

    assert exit_code == 0, output
    assert dict(zip(refused, map(int, output.split()), strict=True)) == refused


def test_commands_cannot_type_on_a_terminal_nor_use_other_forms_of_what_is_refused(backend: Backend) -> None:
    known = numbers(MACHINE)
    tries = {
        call(known["ioctl"], 0, 0x5412, 0): EPERM,
        call(known["ioctl"], 0, 1 << 32 | 0x5412, 0): EPERM,
        call(known["ioctl"], 0, 0x541C, 0): EPERM,
        call(known["clone"], 0x10000011, 0, 0, 0, 0): EPERM,
        call(known["socket"], 17, 3, 0): EAFNOSUPPORT,
        call(known["shmget"], 0, 1 << 20, 0o1600): EINVAL,
        call(known["semget"], 0, 65, 0o1600): EINVAL,
        call(known["semget"], 0, 17, 0o1600): 0,
        call(known["socket"], 1, 1, 0): 0,
    }

    exit_code, _, output = backend.run(f"perl -e '$main = $$; {''.join(tries)}' </dev/zero")

    assert exit_code == 0, output
    assert [int(each) for each in output.split()] == list(tries.values())
