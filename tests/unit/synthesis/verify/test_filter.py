"""The filter of system calls, run by a small interpreter of classic BPF: for machines that the tests do not run on."""

from __future__ import annotations

import struct

import pytest

from tilth.synthesis.verify import lockdown, syscalls

PID = 4321


def answer(machine: str, number: int, *arguments: int, audit: int | None = None, truncate: bool = True) -> int:
    """Returns what the filter answers to a call."""
    code = lockdown.filter_program(
        machine, syscalls.allowed(machine), syscalls.limited(machine), syscalls.killed(machine), PID, truncate
    )
    program = list(struct.iter_unpack("=HBBI", code))
    data = struct.pack("=iIQ6Q", number, audit or lockdown.AUDIT_ARCH[machine], 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    at, accumulator = 0, 0
    while True:
        operation, yes, no, k = program[at]
        at += 1
        if operation == lockdown.ANSWER:
            return k
        if operation == lockdown.LOAD:
            (accumulator,) = struct.unpack_from("=I", data, k)
            continue
        holds = {
            lockdown.JUMP_IF_EQUAL: accumulator == k,
            lockdown.JUMP_IF_GREATER_EQUAL: accumulator >= k,
            lockdown.JUMP_IF_ANY_BIT: bool(accumulator & k),
        }[operation]
        at += yes if holds else no


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_every_call_of_a_table(machine: str) -> None:
    assert {answer(machine, number) for number in syscalls.allowed(machine)} == {lockdown.ALLOW}
    assert {answer(machine, number) for number in syscalls.killed(machine)} == {lockdown.KILL}
    named = {*syscalls.allowed(machine), *syscalls.killed(machine), *syscalls.limited(machine).values()}
    assert {answer(machine, number) for number in range(1000) if number not in named} == {lockdown.EPERM}
    assert len(named) == len(syscalls.allowed(machine)) + len(syscalls.killed(machine)) + len(syscalls.limited(machine))
    assert answer(machine, 0x40000000 | 1) == lockdown.KILL
    assert answer(machine, syscalls.allowed(machine)[0], audit=0x40000003) == lockdown.KILL


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_arguments_decide(machine: str) -> None:
    calls = syscalls.limited(machine)
    expected = [
        ("kill", (PID, 9), lockdown.ALLOW),
        ("kill", (PID + 1, 9), lockdown.EPERM),
        ("kill", (0, 9), lockdown.EPERM),
        ("kill", (2**64 - 1, 9), lockdown.EPERM),
        ("tgkill", (PID, PID, 6), lockdown.ALLOW),
        ("tgkill", (1, 1, 6), lockdown.EPERM),
        ("clone", (0x3D0F00,), lockdown.ALLOW),  # what glibc asks for a thread
        ("clone", (0x1200011,), lockdown.EPERM),  # and for a process
        ("clone3", (), lockdown.ENOSYS),
        ("fcntl", (3, 1030), lockdown.ALLOW),
        ("fcntl", (3, 8), lockdown.EPERM),
        ("ioctl", (0, 0x5401), lockdown.ALLOW),
        ("ioctl", (0, 0x5412), lockdown.ENOTTY),
        ("prctl", (15,), lockdown.ALLOW),
        ("prctl", (4,), lockdown.EPERM),
        ("prlimit64", (0,), lockdown.ALLOW),
        ("prlimit64", (1,), lockdown.EPERM),
        ("socketpair", (1,), lockdown.ALLOW),
        ("socketpair", (2,), lockdown.EPERM),
        ("sendto", (3, 4, 5, 0, 0), lockdown.ALLOW),
        ("sendto", (3, 4, 5, 0, 1), lockdown.EPERM),
        ("sendto", (3, 4, 5, 0, 1 << 32), lockdown.EPERM),
        ("mkdirat", (3, 4, 0o777), lockdown.ALLOW),
        ("mkdirat", (3, 4, 0o300), lockdown.EPERM),
        ("truncate", (), lockdown.ALLOW),
    ]
    for name, arguments, result in expected:
        assert answer(machine, calls[name], *arguments) == result, (name, arguments)
    assert answer(machine, calls["truncate"], truncate=False) == lockdown.EPERM
