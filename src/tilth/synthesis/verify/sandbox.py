"""Runs Python code that nobody has read, in a locked-down process.

The code can read Python's libraries and its own folder, write into that folder, and compute. It has no network, no
other files, no environment, no other processes to start, to signal or to trace, and limited time, memory and output.
The isolation is Linux's: Landlock (files), a seccomp filter (system calls), resource limits, no new privileges, no
capabilities, and, where the machine permits them, namespaces of user, network, IPC and mounts. Without Landlock or
seccomp nothing is run.

What it does not hide: whether a path exists and its size, the machine's time, and what the processor's side channels
give away. It is as strong as the kernel: run it in a virtual machine where code may be written by an attacker.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import platform
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from tilth.errors import ConfigError, StepError
from tilth.synthesis.verify import syscalls

Reason = Literal["ok", "error", "time", "memory", "output", "denied", "crash"]
"""How a run ended: exit code 0; another; a limit of time, of memory, of output or files; a forbidden action that the
code did not survive; a signal."""
LAYERS = ("landlock", "seccomp", "capabilities", "namespaces")
REQUIRED = ("landlock", "seccomp")
MAIN = "main.py"
OUT_OF_TIME = "out of time"
"""Whether by the processor's clock or the wall's: which one ends a run can differ from run to run."""
_LAUNCHER = Path(__file__).with_name("lockdown.py")
_POLL_SECONDS = 0.05
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may use."""

    seconds: float = 5.0
    """CPU seconds; rounded up to whole ones by the kernel."""
    wall_seconds: float | None = None
    """None: five times `seconds`, and five more, so that a busy machine does not change verdicts."""
    memory_bytes: int = 1 << 29
    """Address space, Python's own included (about 30 MB)."""
    output_bytes: int = 1 << 20
    """Of stdout and stderr, each."""
    folder_bytes: int = 1 << 25
    """All files that it writes together, and each of them."""
    files: int = 1000
    """Files in its folder."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory_bytes", "output_bytes", "folder_bytes", "files"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"`{name}` is {getattr(self, name)}.", fix="Give a positive number.")
        if self.wall_seconds is not None and not 0 < self.wall_seconds < float("inf"):
            raise ConfigError(f"`wall_seconds` is {self.wall_seconds}.", fix="Give a positive number, or None.")

    @property
    def wall(self) -> float:
        """Seconds after which the process is killed, whatever it does."""
        return 5 * self.seconds + 5 if self.wall_seconds is None else self.wall_seconds


@dataclass(frozen=True, kw_only=True)
class CodeResult:
    """What a run came to."""

    stdout: str
    """Up to the limit; bytes that are not UTF-8 are replaced."""
    stderr: str
    exit_code: int | None
    """None where a signal ended it."""
    reason: Reason
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ran to its end with exit code 0."""
        return self.reason == "ok"


@dataclass(frozen=True)
class Isolation:
    """What can be had on this machine."""

    layers: tuple[str, ...]
    """In force, such as `landlock 7`."""
    missing: tuple[str, ...]
    """Why others are not."""


def run_code(
    code: str,
    *,
    stdin: str = "",
    files: Mapping[str, str | bytes] | None = None,
    limits: Limits | None = None,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    output_bytes: int | None = None,
    packages: Sequence[str | Path] = (),
    allow_unsafe: bool = False,
) -> CodeResult:
    """Runs `code` as a program, with `files` beside it, and returns what it printed and how it ended.

    `packages` are folders that it may import from, such as `site-packages`: what lies in them can be read by it.
    `seconds`, `memory_bytes` and `output_bytes` override those of `limits`. `allow_unsafe` runs it with what isolation
    there is, even if that is none.
    Raises: StepError where isolation cannot be had; ConfigError for a file name that leaves the folder.
    """
    limits = limits or Limits()
    limits = replace(
        limits,
        seconds=limits.seconds if seconds is None else seconds,
        memory_bytes=limits.memory_bytes if memory_bytes is None else memory_bytes,
        output_bytes=limits.output_bytes if output_bytes is None else output_bytes,
    )
    return execute(
        code, stdin, files or {}, limits, [str(Path(path).resolve()) for path in packages], _layers(allow_unsafe)
    )


@lru_cache(maxsize=1)
def isolation() -> Isolation:
    """Tries each layer in a process of its own; asked once."""
    if sys.platform != "linux":
        return Isolation((), ("Landlock and seccomp: they are Linux's",))
    if platform.machine() not in syscalls.MACHINES:
        return Isolation((), (f"seccomp: system calls of {platform.machine()} are not known",))
    found: list[str] = []
    missing: list[str] = []
    probe = "open('probe', 'w').close(); import threading; t = threading.Thread(); t.start(); t.join()"
    for layer in LAYERS:
        try:
            with tempfile.TemporaryDirectory(prefix="tilth-probe-") as folder:
                run = _Run(folder, probe, "", {}, Limits(), [], (layer,))
                result = run.finish()
        except StepError as error:
            missing.append(error.message)
            continue
        if result.ok:
            found.append(run.locked)
        else:
            missing.append(f"{layer}: {result.reason} {result.detail}")
    return Isolation(tuple(found), tuple(missing))


def _layers(allow_unsafe: bool) -> tuple[str, ...]:
    there = isolation()
    names = tuple(layer.split()[0] for layer in there.layers)
    lacking = [name for name in REQUIRED if name not in names]
    if lacking and not allow_unsafe:
        raise StepError(
            f"Code cannot be run safely on this machine: {'; '.join(there.missing)}.",
            fix="Use Linux 5.13 or newer with Landlock (`lsm=landlock,...` at boot) and a container that permits "
            "seccomp filters; or `run_code(..., allow_unsafe=True)` in a virtual machine that may be lost.",
        )
    return names


def execute(
    code: str,
    stdin: str,
    files: Mapping[str, str | bytes],
    limits: Limits,
    packages: list[str],
    layers: tuple[str, ...],
) -> CodeResult:
    """Runs code within the named layers of isolation; `run_code` chooses them."""
    folder = tempfile.mkdtemp(prefix="tilth-code-")
    try:
        return _Run(folder, code, stdin, files, limits, packages, layers).finish()
    finally:
        _remove(folder)


class _Run:
    """One process: started, fed, listened to, limited, killed."""

    def __init__(
        self,
        folder: str,
        code: str,
        stdin: str,
        files: Mapping[str, str | bytes],
        limits: Limits,
        packages: list[str],
        layers: tuple[str, ...],
    ) -> None:
        self.limits, self.folder = limits, os.path.realpath(folder)
        self.locked = ""
        _write_files(Path(self.folder), {**files, MAIN: code})
        self._input = stdin.encode("utf-8", "surrogatepass")
        self._output: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray(), "status": bytearray()}
        self._status, write_end = os.pipe()
        self._end: tuple[Reason, str] | None = None
        config = _launch_config(self.folder, limits, packages, layers, write_end)
        try:
            self._process = subprocess.Popen(
                [*_interpreter(), str(_LAUNCHER), marshal.dumps(config).hex()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(packages),
                cwd=self.folder,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._status)
            raise
        finally:
            os.close(write_end)
        self._deadline = time.monotonic() + limits.wall

    def finish(self) -> CodeResult:
        """Waits for the end. Raises: StepError where a layer could not be had."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            with selectors.DefaultSelector() as selector:
                for name, stream in (("stdout", process.stdout), ("stderr", process.stderr), ("status", self._status)):
                    selector.register(stream, selectors.EVENT_READ, name)
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE, "stdin")
                self._listen(selector)
            self._wait()
        finally:
            self._kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    stream.close()
            os.close(self._status)
        word, _, self.locked = self._output["status"].decode("utf-8", "replace").partition(" ")
        if word != "locked" and self._end is None:
            raise StepError(f"{self.locked or self._text('stderr')[-300:] or 'The sandbox did not start'}")
        return self._result()

    def _listen(self, selector: selectors.BaseSelector) -> None:
        """Feeds stdin and reads until all streams are closed, the process has ended, or a limit is passed."""
        next_check = 0.0
        while self._end is None and set(_names(selector)) & {"stdout", "stderr"}:
            now = time.monotonic()
            if now >= self._deadline:
                self._end = ("time", OUT_OF_TIME)
                return
            if now >= next_check:
                next_check = now + _POLL_SECONDS
                self._check_folder()
                ended = self._process.poll() is not None
            else:
                ended = False
            events = selector.select(0 if ended else min(_POLL_SECONDS, self._deadline - now))
            for key, _ in events:
                self._serve(selector, key)
            if ended and not any(key.data != "stdin" for key, _ in events):
                return  # somebody holds the streams open, which only unsafe runs permit

    def _serve(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        if key.data == "stdin":
            try:
                written = os.write(key.fd, self._input[:_CHUNK]) if self._input else 0
                self._input = self._input[written:]
            except BlockingIOError:
                return
            except OSError:
                self._input = b""
            if not self._input:
                selector.unregister(key.fileobj)
                assert self._process.stdin is not None
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
            return
        data = os.read(key.fd, _CHUNK)
        if not data:
            selector.unregister(key.fileobj)
        kept = self._output[key.data]
        kept += data[: self.limits.output_bytes - len(kept)]
        if len(data) and len(kept) >= self.limits.output_bytes:
            self._end = ("output", f"more than {self.limits.output_bytes:,} bytes on {key.data}")

    def _check_folder(self) -> None:
        count, total = 0, self._unnamed_bytes()
        if total > self.limits.folder_bytes:
            self._end = ("output", "too many bytes of files")
            return
        pending = [self.folder]
        while pending:
            with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        with contextlib.suppress(OSError):
                            total += entry.stat(follow_symlinks=False).st_size
                    if count > self.limits.files or total > self.limits.folder_bytes:
                        what = "files" if count > self.limits.files else "bytes of files"
                        self._end = ("output", f"too many {what}")
                        return

    def _unnamed_bytes(self) -> int:
        """Bytes of files that are open and have no name any more: no folder shows them, and the disk holds them."""
        total = 0
        with contextlib.suppress(OSError), os.scandir(f"/proc/{self._process.pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat()
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                        total += found.st_size
        return total

    def _wait(self) -> None:
        """Waits for a process that has closed its streams, until it ends or the time is over."""
        while self._end is None and self._process.poll() is None:
            if time.monotonic() >= self._deadline:
                self._end = ("time", OUT_OF_TIME)
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
            self._check_folder()

    def _kill(self) -> None:
        # Its session has its number; the process is not reaped yet, or its group is empty.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _text(self, name: str) -> str:
        return bytes(self._output[name]).decode("utf-8", "replace")

    def _result(self) -> CodeResult:
        code = self._process.returncode
        stderr = self._text("stderr").replace(self.folder + "/", "")
        reason, detail = self._end or _reason(code, stderr)
        return CodeResult(
            stdout=self._text("stdout"),
            stderr=stderr,
            exit_code=code if code >= 0 and self._end is None else None,
            reason=reason,
            detail=detail,
        )


def _reason(code: int, stderr: str) -> tuple[Reason, str]:
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")[:200]
    if code == 0:
        return "ok", ""
    if code == -signal.SIGSYS:
        return "denied", "a forbidden system call"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "time", OUT_OF_TIME
    if code == -signal.SIGXFSZ:
        return "output", "a file is too large"
    if code < 0:
        return "crash", f"signal {-code}"
    if last.startswith("MemoryError"):
        return "memory", last
    if last.startswith("OSError: [Errno 27]"):
        return "output", "a file is too large"
    if last.startswith("PermissionError"):
        return "denied", last
    return "error", last


def _launch_config(
    folder: str, limits: Limits, packages: list[str], layers: tuple[str, ...], status: int
) -> dict[str, object]:
    machine = platform.machine()
    cpu = int(-(-limits.seconds // 1))
    known = machine in syscalls.MACHINES
    return {
        "file": f"{folder}/{MAIN}",
        "folder": folder,
        "layers": layers,
        "limits": {
            "RLIMIT_CPU": cpu,
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.folder_bytes,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_CORE": 0,
        },
        "machine": machine,
        "parent": os.getpid(),
        "readable": [*_library_folders(), *packages],
        "packages": packages,
        "status": status,
        "calls": _calls(machine) if known and "seccomp" in layers else {},
    }


@lru_cache(maxsize=4)
def _calls(machine: str) -> dict[str, object]:
    return {
        "allowed": syscalls.allowed(machine),
        "limited": syscalls.limited(machine),
        "killed": syscalls.killed(machine),
    }


def _interpreter() -> list[str]:
    # As isolated as `-I`, except that it hears PYTHONHASHSEED: the environment is ours anyway.
    executable = str(getattr(sys, "_base_executable", None) or sys.executable)
    return [executable, "-P", "-s", "-S", "-B"]


def _environment(packages: Sequence[str]) -> dict[str, str]:
    found = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return {**found, "PYTHONPATH": os.pathsep.join(packages)} if packages else found


@lru_cache(maxsize=1)
def _library_folders() -> tuple[str, ...]:
    """Folders of Python's library and of the shared libraries that its modules load."""
    found = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars={"platbase": sys.base_prefix})]
    if sys.base_prefix != "/usr":
        found.append(f"{sys.base_prefix}/lib")
    multiarch = f"{platform.machine()}-linux-gnu"
    found += ["/lib64", "/usr/lib64", f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/etc/ld.so.cache"]
    real = dict.fromkeys(os.path.realpath(path) for path in found if Path(path).exists())
    return tuple(real)


def _write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ConfigError(f"The file name {name!r} leaves the folder.", fix="Give a path below it.")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        target.write_bytes(data)


def _remove(folder: str) -> None:
    """Removes a folder that code wrote into, even where it is nested beyond what recursion reaches."""
    with contextlib.suppress(OSError, RecursionError):
        shutil.rmtree(folder)
    if Path(folder).exists():
        subprocess.run(["rm", "-rf", "--", folder], check=False)


def _names(selector: selectors.BaseSelector) -> list[str]:
    return [key.data for key in selector.get_map().values()]
