"""Attacks on the sandbox: each works without it, and fails inside.

`OWNED` is what an attack prints when it got what it wanted.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilth.errors import ConfigError, StepError
from tilth.synthesis.verify import sandbox
from tilth.synthesis.verify.sandbox import CodeResult, Limits, execute, isolation, run_code

LOCKED = [layer for layer in sandbox.LAYERS if layer in {name.split()[0] for name in isolation().layers}]
pytestmark = pytest.mark.skipif(
    not set(sandbox.REQUIRED) <= set(LOCKED), reason=f"no isolation here: {'; '.join(isolation().missing)}"
)
LAYERS = [
    pytest.param(tuple(LOCKED), id="all"),
    pytest.param(tuple(layer for layer in LOCKED if layer != "namespaces"), id="no-namespaces"),
]
X86 = platform.machine() == "x86_64"

SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    return libc.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
"""
ATTACKS = {
    "environment of the parent": (
        "import os\nif b'PATH=' in open(f'/proc/{os.getppid()}/environ','rb').read(): print('OWNED')"
    ),
    "own environ file": "if b'PYTHONHASHSEED' in open('/proc/self/environ','rb').read(): print('OWNED')",
    "password file": "print('OWNED' if 'root' in open('/etc/passwd').read() else '')",
    "key in a home": "print('OWNED' if open('{secret}').read() == 'secret' else '')",
    "list a folder": "import os\nprint('OWNED' if 'secret' in os.listdir('{outside}') else '')",
    "source of the project": "print('OWNED' if open('{project}').read() else '')",
    "write outside": "open('{outside}/written', 'w').write('x'); print('OWNED')",
    "append to a file": "open('{secret}', 'a').write('x'); print('OWNED')",
    "truncate": "import os\nos.truncate('{secret}', 0); print('OWNED')",
    "remove": "import os\nos.unlink('{secret}'); print('OWNED')",
    "move a file in": "import os\nos.rename('{secret}', 'mine'); print('OWNED')",
    "move a file out": "import os\nopen('a','w').close()\nos.rename('a', '{outside}/a'); print('OWNED')",
    "change a mode": "import os\nos.chmod('{secret}', 0o777); print('OWNED')",
    "change times": "import os\nos.utime('{secret}', (1, 1)); print('OWNED')",
    "extended attribute": "import os\nos.setxattr('{secret}', 'user.x', b'1'); print('OWNED')",
    "symbolic link": "import os\nos.symlink('{secret}', 'link'); print('OWNED' if open('link').read() else '')",
    "hard link": "import os\nos.link('{secret}', 'link'); print('OWNED' if open('link').read() else '')",
    "parent folder": "import os\nos.chdir('..'); print('OWNED' if os.listdir('.') else '')",
    "shared memory": "open('/dev/shm/{unique}', 'w').write('x'); print('OWNED')",
    "TCP": "import socket\nsocket.create_connection(('127.0.0.1', {tcp}), 2); print('OWNED')",
    "TCP by number": SYSCALL + "print('OWNED' if call(41 if {x86} else 198, 2, 1, 0) >= 0 else '')",
    "UDP": (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', {tcp})); print('OWNED')"
    ),
    "abstract socket": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0{unique}'); print('OWNED')",
    "datagram from a pair": (
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "a.sendto(b'x', '\\0{unique}d'); print('OWNED')"
    ),
    "message from a pair": (
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "a.sendmsg([b'x'], [], 0, '\\0{unique}d'); print('OWNED')"
    ),
    "fork": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.wait(); print('OWNED')",
    "vfork by subprocess": "import subprocess\nsubprocess.run(['/bin/true'], check=True); print('OWNED')",
    "shell": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo OWNED'])",
    "python again": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"OWNED\")'])",
    "daemon": (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        open('{outside}/daemon', 'w').close()\n    os._exit(0)\nos.wait(); print('OWNED')"
    ),
    "signal to the parent": "import os\nos.kill(os.getppid(), 0); print('OWNED')",
    "signal to the group": "import os\nos.killpg(os.getpgid({victim}), 0); print('OWNED')",
    "kill": "import os, signal\nos.kill({victim}, signal.SIGKILL); print('OWNED')",
    "signal by a file's owner": (
        "import fcntl, os, time\nr, w = os.pipe()\nfcntl.fcntl(r, 8, {victim}); fcntl.fcntl(r, 10, 9)\n"
        "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(w, b'x'); print('OWNED')"
    ),
    "signal by a process's descriptor": (
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open({victim}), 0); print('OWNED')"
    ),
    "trace": SYSCALL + "print('OWNED' if call(101 if {x86} else 117, 0x4206, {victim}, 0, 0) == 0 else '')",
    "read another's memory": "print('OWNED' if open('/proc/{victim}/maps').read() else '')",
    "new namespaces": SYSCALL + "print('OWNED' if libc.unshare(0x10000000) == 0 else '')",
    "memory file": "import os\nos.memfd_create('x'); print('OWNED')",
    "shared segment": SYSCALL
    + "i = libc.shmget(0, 4096, 0o1600)\nprint('OWNED' if i >= 0 else '')\nlibc.shmctl(i, 0, None)",
    "new ring of requests": SYSCALL + "print('OWNED' if call(425, 1, ctypes.create_string_buffer(120)) >= 0 else '')",
    "pipe in the file system": "import os\nos.mkfifo('{outside}/fifo'); print('OWNED')",
    "another's limits": "import resource\nresource.prlimit({victim}, resource.RLIMIT_NOFILE); print('OWNED')",
    "priority": "import os\nos.nice(1); print('OWNED')",
    "watch a folder": SYSCALL
    + "print('OWNED' if libc.inotify_add_watch(libc.inotify_init(), b'{outside}', 2) >= 0 else '')",
    "hidden folder": "import os\nos.mkdir('d', 0o300); print('OWNED')",
    "hidden folder by umask": "import os\nos.umask(0o700); os.mkdir('d'); print('OWNED')",
    "terminal input": "import fcntl\nfcntl.ioctl(0, 0x5452, b'\\1\\0\\0\\0'); print('OWNED')",
}
NEEDS_MORE = {"extended attribute"}
"""What a file system may not offer: then the attack proves nothing here."""


IGNORE_SIGNALS = """import signal
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
"""


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, object]]:
    """What the attacks are after."""
    outside = tmp_path / "home" / ".ssh"
    outside.mkdir(parents=True)
    (outside / "secret").write_text("secret")
    unique = f"tilth-{os.getpid()}-{time.monotonic_ns()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as victim,
    ):
        abstract.bind(f"\0{unique}")
        abstract.listen()
        datagrams.bind(f"\0{unique}d")
        try:
            yield {
                "outside": outside,
                "secret": outside / "secret",
                "unique": unique,
                "tcp": tcp.getsockname()[1],
                "victim": victim.pid,
                "project": Path(__file__).resolve(),
                "x86": X86,
            }
        finally:
            victim.kill()
    Path(f"/dev/shm/{unique}").unlink(missing_ok=True)


def attack(name: str, places: dict[str, object], layers: tuple[str, ...]) -> CodeResult:
    code = ATTACKS[name]
    for key, value in places.items():
        code = code.replace("{" + key + "}", str(value))
    return execute(code, "", {}, Limits(seconds=5), [], layers)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_works_outside(name: str, places: dict[str, object]) -> None:
    result = attack(name, places, ())
    if name in NEEDS_MORE and "OWNED" not in result.stdout:
        pytest.skip(result.detail)
    assert "OWNED" in result.stdout, result


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_inside(name: str, layers: tuple[str, ...], places: dict[str, object]) -> None:
    result = attack(name, places, layers)
    assert "OWNED" not in result.stdout, result
    assert result.reason in ("denied", "error", "ok"), result
    secret = Path(str(places["secret"]))
    assert secret.read_text() == "secret"
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]
    assert secret.stat().st_mode & 0o777 != 0o777
    os.kill(int(str(places["victim"])), 0)


def test_environment_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILTH_SECRET", "hunter2")
    code = "import os; print(os.environ.get('TILTH_SECRET')); print(len(os.environb))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert plain.stdout.startswith("hunter2")
    assert run_code(code).stdout == "None\n4\n"


def test_descriptors_are_not_inherited() -> None:
    code = "import os\nfor fd in range(3, 64):\n  try: os.fstat(fd)\n  except OSError: pass\n  else: print(fd)"
    descriptor = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        plain = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, close_fds=False, check=True
        )
        assert str(descriptor) in plain.stdout.split()
        assert run_code(code).stdout == ""
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not X86, reason="machine code of x86_64")
@pytest.mark.parametrize(("call", "expected"), [("b80a000000cd80c3", "i386"), ("b829000040" + "0f05c3", "x32")])
def test_other_system_call_tables_are_closed(call: str, expected: str) -> None:
    code = (
        "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\n"
        f"m.write(bytes.fromhex('{call}'))\n"
        "f = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nf(); print('OWNED')"
    )
    assert "OWNED" in execute(code, "", {}, Limits(), [], ()).stdout
    assert (run_code(code).reason, expected) == ("denied", expected)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("while True: pass", "time"),
        (f"{IGNORE_SIGNALS}while True: pass", "time"),
        ("import time\ntime.sleep(100)", "time"),
        ("import os, time\nos.close(1); os.close(2); time.sleep(100)", "time"),
        ("x = bytearray(1 << 30)", "memory"),
        ("x = [0]\nwhile True: x *= 2", "memory"),
        ("while True: print('x' * 10_000)", "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10_000)", "output"),
        ("open('big', 'w').write('x' * (1 << 26))", "output"),
        ("import signal as s\ns.signal(s.SIGXFSZ, s.SIG_DFL)\nopen('big', 'w').write('x' * (1 << 26))", "output"),
        ("for i in range(10**6): open(str(i), 'w').close()", "output"),
        ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(100,)).start()", "time"),
        ("def f(): return f()\nf()", "error"),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()", ("memory", "crash", "time")),
        ("9**9**9", ("time", "memory")),
        ("print(10**10_000)", "error"),
        ("import os\nos.abort()", "crash"),
        ("import ctypes\nctypes.string_at(0)", "crash"),
        ("import sys\nsys.exit(3)", "error"),
        ("1 +", "error"),
        ("import os\nos.setuid(12345)", "denied"),
        ("", "ok"),
    ],
)  # fmt: skip
def test_how_runs_end(code: str, reason: str | tuple[str, ...]) -> None:
    limits = Limits(seconds=1, wall_seconds=2.5, memory_bytes=1 << 28, files=500)
    result = run_code(code, limits=limits)
    assert result.reason in (reason if isinstance(reason, tuple) else (reason,)), result
    assert len(result.stdout) <= limits.output_bytes


def test_limits_let_through_what_is_below_them() -> None:
    assert run_code("x = bytearray(1 << 27)", memory_bytes=1 << 28).ok
    assert not run_code("x = bytearray(1 << 27)", memory_bytes=1 << 27).ok
    assert run_code("print('x' * 999)", output_bytes=1001).ok
    assert run_code("print('x' * 1000)", output_bytes=1001).reason == "output"
    with pytest.raises(ConfigError, match="seconds"):
        run_code("", seconds=0)


def test_limits_cannot_be_raised() -> None:
    code = "import resource as r\nr.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY)); print('OWNED')"
    assert "OWNED" not in run_code(code).stdout


def test_ordinary_programs_run() -> None:
    code = (
        "import asyncio, collections, csv, datetime, decimal, hashlib, json, os, random, re, shutil, sqlite3, sys, "
        "tempfile, threading, zlib\n"
        "import helper\n"
        "async def main(): await asyncio.sleep(0); return 7\n"
        "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
        "os.mkdir('d'); open('d/f', 'w').write('x'); os.rename('d/f', 'd/g'); shutil.rmtree('d')\n"
        "print(helper.x, asyncio.run(main()), sys.stdin.read(), hashlib.sha256(b'').hexdigest()[:4], __name__)\n"
        "print(sys.argv, hash('a') == hash('a'), sqlite3.connect(':memory:').execute('select 1').fetchone())"
    )
    result = run_code(code, stdin="Käse", files={"helper.py": "x = 3", "data/a.txt": b"\0"})
    assert result.ok, result
    assert result.stdout.splitlines()[0] == "3 7 Käse e3b0 __main__"
    assert run_code("print(hash('a'))").stdout == run_code("print(hash('a'))").stdout


def test_tracebacks_name_the_code_alone() -> None:
    result = run_code("def f():\n    raise ValueError('no')\nf()")
    assert result.stderr.splitlines()[1] == '  File "main.py", line 3, in <module>'
    assert (result.exit_code, result.detail) == (1, "ValueError: no")


def test_little_is_loaded_before_the_code() -> None:
    result = run_code("import sys\nprint({'json', 're', 'typing', 'enum'} & set(sys.modules))")
    assert result.stdout == "set()\n"


def test_long_stdin_and_unread_stdin() -> None:
    text = "x" * 3_000_000
    assert run_code("import sys\nprint(len(sys.stdin.read()))", stdin=text).stdout == "3000000\n"
    assert run_code("print(1)", stdin=text).ok


def test_packages_can_be_granted(tmp_path: Path) -> None:
    (tmp_path / "granted.py").write_text("x = 5")
    assert run_code("import granted\nprint(granted.x)", packages=[tmp_path]).stdout == "5\n"
    assert "ModuleNotFoundError" in run_code("import granted").detail


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_file_names_stay_in_the_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="leaves the folder"):
        run_code("", files={name: ""})


def test_the_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os\nfor _ in range(300):\n    os.mkdir('d' * 100); os.chdir('d' * 100)\nopen('x', 'w').close()"
    assert run_code(code).reason in ("ok", "error")
    assert not list(tmp_path.iterdir())


def test_the_run_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "from tilth.synthesis.verify.sandbox import run_code\n"
        'run_code(\'import time\\nfor _ in range(600):\\n    open("beat", "w").close(); time.sleep(0.05)\', seconds=60)'
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
        deadline = time.monotonic() + 20
        while not (beats := list(tmp_path.glob("tilth-code-*/beat"))) and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.send_signal(signal.SIGKILL)
    assert beats
    time.sleep(0.3)
    beats[0].unlink(missing_ok=True)
    time.sleep(0.3)
    assert not beats[0].exists()


def test_without_isolation_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = sandbox.Isolation(("seccomp", "capabilities"), ("Landlock: not in this kernel",))
    monkeypatch.setattr(sandbox, "isolation", lambda: lacking)
    with pytest.raises(StepError, match="Landlock: not in this kernel"):
        run_code("print(1)")
    assert run_code("print(1)", allow_unsafe=True).stdout == "1\n"


def test_a_layer_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_library_folders", lambda: ("/nonexistent",))
    result = run_code("import decimal")  # readable folders that are not there are passed over, not the lock
    assert result.reason in ("denied", "error")
    bad = {"allowed": [0] * 5000, "limited": sandbox._calls("x86_64")["limited"], "killed": []}
    monkeypatch.setattr(sandbox, "_calls", lambda machine: bad)  # a filter that is too long for the kernel
    with pytest.raises(StepError, match="seccomp"):
        run_code("print('OWNED')")


@pytest.mark.skipif(not Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").exists(), reason="no kernel headers")
def test_numbers_of_system_calls() -> None:
    from tilth.synthesis.verify import syscalls

    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text().splitlines()
    known = dict(line.split()[1:3] for line in header if line.startswith("#define __NR_"))
    for table in (syscalls._ALLOWED, syscalls._LIMITED, syscalls._KILLED):
        for name, number in syscalls._numbers(table, "x86_64").items():
            assert known[f"__NR_{name}"] == str(number), name


@pytest.mark.parametrize("flags", ["os.O_CREAT | os.O_RDWR", "os.O_TMPFILE | os.O_RDWR"])
def test_files_without_a_name_count(flags: str) -> None:
    code = f"""
import os, time
os.unlink('main.py')
for n in range(50):
    flags = {flags}
    path = f'f{{n}}' if flags & os.O_CREAT else '.'
    file = os.open(path, flags)
    if path != '.':
        os.unlink(path)
    os.write(file, bytes(1 << 20))
time.sleep(20)
"""
    done = run_code(code, limits=Limits(folder_bytes=10 << 20, wall_seconds=15))
    assert (done.reason, done.detail) == ("output", "too many bytes of files")
