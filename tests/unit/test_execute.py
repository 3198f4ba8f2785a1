import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from tilth.errors import ConfigError, DataError, DependencyError, StepError
from tilth.execute import Context, LocalExecutor, map_shards
from tilth.progress import SILENT, Bar
from tilth.user_code import load_object


def describe(factor: int, shard: int) -> tuple[int, int]:
    return shard * factor, os.getpid()


def refuse(shard: int) -> int:
    if shard == 2:
        raise DataError(f"shard {shard} is broken", fix="mend it")
    return shard


def die(shard: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return shard


def abort(shard: int) -> int:
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGABRT)
    return shard


def interrupt(shard: int) -> int:
    raise KeyboardInterrupt


def leave(shard: int) -> int:
    sys.exit(3)


def note(folder: Path, shard: int) -> int:
    """Leaves a file for each call with this shard and returns how many there were."""
    n = 1 + len(list(folder.glob(f"{shard}-*")))
    (folder / f"{shard}-{n}").touch()
    return n


def die_twice(folder: Path, shard: int) -> int:
    return die(shard) if note(folder, shard) < 3 and shard == 3 else shard


def count_and_refuse(folder: Path, shard: int) -> int:
    note(folder, shard)
    return refuse(shard)


def unsendable(shard: int) -> object:
    return lambda: shard


class OddError(Exception):
    def __init__(self, first: str, second: int) -> None:
        super().__init__(f"{first} {second}")


def raise_odd(shard: int) -> int:
    raise OddError("odd", shard)


def first_waits(folder: Path, shard: int) -> int:
    note(folder, shard)
    deadline = time.monotonic() + 60
    while shard == 0 and len(list(folder.iterdir())) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    if shard == 0:
        time.sleep(0.5)  # long enough that all would be begun, were there no limit
    return shard


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_whatever_the_workers(workers: int) -> None:
    results = list(map_shards(partial(describe, 3), range(7), Context(workers=workers)))
    assert [r for r, _ in results] == [0, 3, 6, 9, 12, 15, 18]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_its_kind_and_its_fix(workers: int) -> None:
    with pytest.raises(DataError, match="shard 2") as caught:
        list(map_shards(refuse, range(4), Context(workers=workers)))
    assert caught.value.fix == "mend it"


@pytest.mark.parametrize(
    ("fn", "words"),
    [(die, "signal 9 (SIGKILL)"), (abort, "signal 6 (SIGABRT)"), (leave, "exit code 3")],
)
def test_how_a_worker_died_is_told(fn: Callable[[int], int], words: str) -> None:
    with pytest.raises(StepError) as caught:
        list(map_shards(fn, [5, 6], Context(workers=2)))
    assert words in caught.value.message
    assert "shard 0 of 2 (5)" in caught.value.message or "shard 1 of 2 (6)" in caught.value.message
    assert ("memory" in str(caught.value)) == (fn is die)


def test_a_shard_whose_worker_died_is_tried_again_and_the_others_are_kept(tmp_path: Path) -> None:
    said: list[str] = []
    executor = LocalExecutor(2, said.append)
    assert list(executor.map(partial(die_twice, tmp_path), range(6))) == [0, 1, 2, 3, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-1", "1-1", "2-1", "3-1", "3-2", "3-3", "4-1", "5-1"]
    assert len(said) == 2
    assert all("SIGKILL" in line and "shard 3" in line for line in said)


def test_an_error_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(map_shards(partial(count_and_refuse, tmp_path), range(3), Context(workers=2)))
    assert len(list(tmp_path.glob("2-*"))) == 1
    assert "in count_and_refuse" in "".join(caught.value.__notes__)  # the worker's traceback


def test_what_cannot_be_sent_back_is_an_error_and_no_death() -> None:
    with pytest.raises(Exception, match="pickle"):
        list(map_shards(unsendable, range(2), Context(workers=2)))
    with pytest.raises(RuntimeError, match="OddError: odd 0|OddError: odd 1"):
        list(map_shards(raise_odd, range(2), Context(workers=2)))


def test_results_that_wait_for_an_earlier_shard_are_bounded(tmp_path: Path) -> None:
    results = map_shards(partial(first_waits, tmp_path), range(200), Context(workers=2))
    assert next(results) == 0
    begun = len(list(tmp_path.iterdir()))
    assert 10 < begun < 40
    assert list(results) == list(range(1, 200))


def test_a_function_from_a_file_of_the_user_s_runs_in_workers(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("def triple(x): return 3 * x\n")
    triple = cast("Callable[[int], int]", load_object(f"{tmp_path / 'random.py'}:triple"))
    assert list(map_shards(triple, range(4), Context(workers=2))) == [0, 3, 6, 9]


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_ray_that_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(DependencyError, match="ray") as caught:
        list(map_shards(refuse, [1], Context(executor="ray")))
    assert "pip install" in str(caught.value)


@pytest.mark.slow
def test_the_same_function_runs_on_ray(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    try:
        context = Context(workers=2, executor="ray")
        (tmp_path / "random.py").write_text("def triple(x): return 3 * x\n")
        triple = cast("Callable[[int], int]", load_object(f"{tmp_path / 'random.py'}:triple"))
        assert list(map_shards(triple, range(20), context)) == [3 * n for n in range(20)]
        with pytest.raises(DataError, match="shard 2") as caught:
            list(map_shards(refuse, range(4), context))
        assert caught.value.fix == "mend it"
        assert list(map_shards(partial(die_twice, tmp_path), range(6), context)) == list(range(6))
        with pytest.raises(StepError, match="Ray worker died"):
            list(map_shards(die, [1], context))
    finally:
        ray.shutdown()


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process whose two workers sleep, and the workers' ids."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from tilth.execute import Context, map_shards\n"
        "def wait(folder):\n"
        "    (Path(folder) / f'{os.getpid()}.pid').touch()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        f"    list(map_shards(wait, [{str(tmp_path)!r}] * 2, Context(workers=2)))\n"
    )
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(pids := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert parent.poll() is None
        time.sleep(0.01)
    yield parent, pids
    with suppress(ProcessLookupError):
        os.killpg(parent.pid, signal.SIGKILL)
    parent.communicate()


def are_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")


@needs_proc
def test_workers_end_when_their_parent_is_killed(sleepers: tuple[subprocess.Popen[str], list[int]]) -> None:
    parent, pids = sleepers
    parent.kill()
    parent.wait()
    assert are_gone(pids)


@needs_proc
def test_ctrl_c_ends_the_workers_without_a_word_from_them(sleepers: tuple[subprocess.Popen[str], list[int]]) -> None:
    parent, pids = sleepers
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.stderr is not None
    said = parent.stderr.read()
    assert parent.wait() == -signal.SIGINT
    assert said.count("Traceback") == 1
    assert are_gone(pids)


def test_no_shards_no_work() -> None:
    assert list(map_shards(refuse, [], Context(workers=4))) == []


def test_errors_are_value_errors_where_values_are_wrong() -> None:
    assert issubclass(ConfigError, ValueError)
    assert str(ConfigError("`x` is 1.", fix="Give 2.")) == "`x` is 1.\nGive 2."


def test_context_is_plain(tmp_path: Path) -> None:
    context = Context(runs=tmp_path)
    assert dataclasses.replace(context, workers=3).workers == 3
    assert context.workers >= 1
    assert "secret" not in repr(Context(keys={"service": "secret"}))


def test_an_interrupted_worker_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StepError, match="exit code 130"):
        list(LocalExecutor(workers=2).map(interrupt, [1, 2]))
    assert "Traceback" not in capfd.readouterr().err


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from tilth.execute import Context, map_shards\n"
        "print('begins')\n"
        "print(list(map_shards(math.sqrt, [1, 4, 9], Context(workers=2))))\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("begins\n[1.0, 2.0, 3.0]\n", "")


class _Bars:
    """Progress that keeps how bars begin."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float | None, float]] = []

    def bar(self, name: str, total: float | None, unit: str = "", done: float = 0) -> AbstractContextManager[Bar]:
        self.begun.append((name, total, done))
        return SILENT.bar(name, total, unit, done)

    def say(self, line: str) -> None:
        pass


def test_what_an_earlier_attempt_finished_counts_in_the_progress() -> None:
    bars = _Bars()
    assert list(map_shards(abs, [-1, -2], Context(workers=1, progress=bars), name="read", done=3)) == [1, 2]
    assert bars.begun == [("read", 5, 3)]
