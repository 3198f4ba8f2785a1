import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tilth.errors import ConfigError, DataError, StepError
from tilth.execute import Context, map_shards


def describe(factor: int, shard: int) -> tuple[int, int]:
    return shard * factor, os.getpid()


def refuse(shard: int) -> int:
    if shard == 2:
        raise DataError(f"shard {shard} is broken", fix="mend it")
    return shard


def die(shard: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
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


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(StepError, match="killed") as caught:
        list(map_shards(die, range(2), Context(workers=2)))
    assert "--workers" in str(caught.value)


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
