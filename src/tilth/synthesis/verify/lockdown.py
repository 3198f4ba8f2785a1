"""The program that locks itself down and then runs somebody's code; started by `sandbox.py` as a process of its own.

It knows nothing of tilth and loads little, because it is started for every run. Each layer is final: no later one,
and nothing that the code does, can take it back. The code runs in this very process, since starting others is
forbidden to it. What stands in this file and in its arguments can be read by the code.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import stat
import struct
import sys

# Neither `typing` nor `json`: loading them would double the time that a run takes to start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 4, 38, 22, 2
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = (
    0x20000,
    0x8000000,
    0x10000000,
    0x40000000,
    0x10000,
)
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 444, 445, 446
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Landlock's rights on files, as <linux/landlock.h> numbers them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1, 2, 4, 8, 16, 32, 128, 256
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
OWN_FOLDER = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
# What a filter of system calls answers, as <linux/seccomp.h> numbers it.
KILL, ALLOW, EPERM, ENOSYS, ENOTTY = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026, 0x00050019
LOAD, JUMP_IF_EQUAL, JUMP_IF_GREATER_EQUAL, JUMP_IF_ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
# F_DUPFD .. F_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ and locks of open files: none of those that send signals.
FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032, 36, 37, 38)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
IOCTL_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA.
PRCTL_OPTIONS = (3, 15, 16, 0x53564D41)
AF_UNIX = 1
# Folders that hide nothing from whoever counts their files; for the same reason there is no `umask`.
FOLDER_MODES = (0o777, 0o755, 0o700)


class RefusedError(Exception):
    """A layer of isolation cannot be had."""


def _call(libc: Any, what: str, *arguments: Any) -> int:
    result = libc.syscall(*arguments)
    if result < 0:
        raise RefusedError(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(libc: Any, what: str, *arguments: int) -> None:
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        raise RefusedError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _set_limits(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # The first signal of a CPU limit says what happened, the second one a second later cannot be ignored.
        above = value + (name == "RLIMIT_CPU")
        resource.setrlimit(kind, (value, above if hard == resource.RLIM_INFINITY else min(above, hard)))


def _namespaces(libc: Any) -> None:
    """Leaves the network, the IPC objects and the mounts of the machine; the user keeps its number."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS) != 0:
        raise RefusedError(f"namespaces: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 (pathlib takes its time to load)
            file.write(text)


def _drop_capabilities(libc: Any, machine: str) -> None:
    header = struct.pack("=Ii", 0x20080522, 0)
    _call(libc, "capset", SYS_CAPSET[machine], ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def landlock_version(libc: Any) -> int:
    """Returns the version of Landlock's interface; 0 where there is none."""
    return max(0, libc.syscall(SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def _landlock(libc: Any, version: int, folder: str, readable: list[str]) -> None:
    """Forbids all files but the readable ones and the own folder; from version 4 on, TCP too; from 6 on, signals to
    others and abstract sockets."""
    handled = (1 << 13) - 1
    handled |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)
    words = [handled] + ([3] if version >= 4 else []) + ([3] if version >= 6 else [])
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = _call(
        libc, "Landlock", SYS_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)),
        ctypes.c_uint32(0),
    )  # fmt: skip
    rules = [(path, READ_FILE | READ_DIR) for path in readable]
    rules += [(folder, (OWN_FOLDER | (REFER | TRUNCATE)) & handled), ("/dev/null", READ_FILE | WRITE_FILE)]
    for path, rights in rules:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= READ_FILE | WRITE_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        _call(libc, "Landlock", SYS_LANDLOCK_ADD, ruleset, 1, ctypes.c_char_p(rule), ctypes.c_uint32(0))
        os.close(descriptor)
    _call(libc, "Landlock", SYS_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0))
    os.close(ruleset)


def filter_program(
    machine: str, allowed: list[int], limited: dict[str, int], killed: list[int], pid: int, truncate: bool
) -> bytes:
    """Returns the filter of system calls, as instructions of classic BPF."""
    program: list[tuple[int, int, int, int]] = []

    def answer(value: int) -> None:
        program.append((ANSWER, 0, 0, value))

    def only(name: str, argument: int, values: tuple[int, ...], otherwise: int) -> None:
        """Allows a call where the lower half of an argument is one of some values; not every machine has each call."""
        if name not in limited:
            return
        program.append((JUMP_IF_EQUAL, 0, 2 * len(values) + 2, limited[name]))
        program.append((LOAD, 0, 0, 16 + 8 * argument))
        for value in values:
            program.append((JUMP_IF_EQUAL, 0, 1, value))
            answer(ALLOW)
        answer(otherwise)

    program.append((LOAD, 0, 0, 4))
    program.append((JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH[machine]))
    answer(KILL)
    program.append((LOAD, 0, 0, 0))
    # Calls of the x32 kind have other numbers.
    program.append((JUMP_IF_GREATER_EQUAL, 0, 1, 0x40000000))
    answer(KILL)
    for numbers, value in ((killed, KILL), (allowed, ALLOW)):
        for number in numbers:
            program.append((JUMP_IF_EQUAL, 0, 1, number))
            answer(value)
    only("kill", 0, (pid,), EPERM)
    only("tgkill", 0, (pid,), EPERM)
    only("fcntl", 1, FCNTL_COMMANDS, EPERM)
    only("ioctl", 1, IOCTL_REQUESTS, ENOTTY)
    only("prctl", 0, PRCTL_OPTIONS, EPERM)
    only("prlimit64", 0, (0,), EPERM)
    only("socketpair", 0, (AF_UNIX,), EPERM)
    only("mkdir", 1, FOLDER_MODES, EPERM)
    only("mkdirat", 2, FOLDER_MODES, EPERM)
    # A thread, not a process.
    program += [(JUMP_IF_EQUAL, 0, 4, limited["clone"]), (LOAD, 0, 0, 16), (JUMP_IF_ANY_BIT, 0, 1, CLONE_THREAD)]
    answer(ALLOW)
    answer(EPERM)
    # Without an address: to the other end of a pair.
    program += [(JUMP_IF_EQUAL, 0, 6, limited["sendto"]), (LOAD, 0, 0, 48), (JUMP_IF_EQUAL, 0, 3, 0)]
    program += [(LOAD, 0, 0, 52), (JUMP_IF_EQUAL, 0, 1, 0)]
    answer(ALLOW)
    answer(EPERM)
    for name, value in (("clone3", ENOSYS), ("truncate", ALLOW if truncate else EPERM)):
        program.append((JUMP_IF_EQUAL, 0, 1, limited[name]))
        answer(value)
    answer(EPERM)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(libc: Any, config: dict[str, Any], truncate: bool) -> None:
    calls = config["calls"]
    code = filter_program(config["machine"], calls["allowed"], calls["limited"], calls["killed"], os.getpid(), truncate)
    program = _Program(len(code) // 8, code)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise RefusedError(f"seccomp: {os.strerror(ctypes.get_errno())}")


def lock_down(config: dict[str, Any]) -> list[str]:
    """Puts every layer that is asked for in force; returns what they are. Raises: RefusedError, OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    layers: list[str] = []
    if "namespaces" in config["layers"]:
        _namespaces(libc)
        layers.append("namespaces")
    _prctl(libc, "no new privileges", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if "capabilities" in config["layers"]:
        _drop_capabilities(libc, config["machine"])
        layers.append("capabilities")
    _prctl(libc, "signal at the parent's death", PR_SET_PDEATHSIG, 9)
    if os.getppid() != config["parent"]:
        os._exit(1)
    version = landlock_version(libc)
    if "landlock" in config["layers"]:
        if not version:
            raise RefusedError("Landlock: not in this kernel")
        _landlock(libc, version, config["folder"], config["readable"])
        layers.append(f"landlock {version}")
    # Threads are counted in the namespace alone; without one, all that its user runs would count.
    _set_limits({**config["limits"], **({"RLIMIT_NPROC": 64} if "namespaces" in layers else {})})
    if "seccomp" in config["layers"]:
        _filter_calls(libc, config, version >= 3)
        layers.append("seccomp")
    return layers


def main() -> None:
    """Locks down, says so on the status pipe, and runs the file."""
    config = marshal.loads(bytes.fromhex(sys.argv[1]))
    status = config["status"]
    try:
        os.chdir(config["folder"])
        layers = lock_down(config)
    except (RefusedError, OSError) as error:
        os.write(status, f"refused {error}".encode())
        os._exit(1)
    os.write(status, f"locked {', '.join(layers)}".encode())
    os.close(status)
    file = config["file"]
    sys.argv = [file]
    sys.orig_argv = [file]
    sys.path.insert(0, config["folder"])
    module = type(sys)("__main__")
    module.__file__ = file
    sys.modules["__main__"] = module
    with open(file, encoding="utf-8") as source:  # noqa: PTH123
        text = source.read()
    sys.excepthook = _show
    exec(compile(text, file, "exec"), module.__dict__)


def _show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Prints a traceback that begins in the code, not here."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
