"""Requests over real HTTP to a server that fails in every way, by a run that is killed twice.

Nothing is lost, nothing that was kept is paid for again, and the output is that of a run without faults.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from e2e import asking_run
from e2e.asking_run import MOST_IN_FLIGHT, SEED, request, samples
from tilth.teacher import RequestCache
from tilth.teacher.fault_plan import FAULT_KINDS, FaultPlan
from tilth.teacher.keys import RequestKeys, identity_text
from tilth.teacher.loopback import LoopbackServer
from tilth.teacher.request import Request

IDENTITY = identity_text({"kind": "http", "model": "scripted"})
PLAN = FaultPlan(rate=0.3, seed=3, retry_after=0.05, slow_seconds=0.1, hang_seconds=5)


def script(asked: Request, sample: int) -> str:
    rng = random.Random(f"{asked.messages[-1].content}/{sample}")
    return " ".join(f"w{rng.randrange(10**6)}é" for _ in range(rng.randint(5, 60)))


def start(server: LoopbackServer, folder: Path, out: str, n: int) -> subprocess.Popen[str]:
    words = [asking_run.__file__, server.url, str(folder / "cache.sqlite"), str(folder / out), str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def kill_when(process: subprocess.Popen[str], server: LoopbackServer, answered: int) -> None:
    """Kills the run when the server has given so many answers."""
    until = time.monotonic() + 120
    while server.answered.total() < answered:
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kept(folder: Path, n: int) -> set[tuple[str, int]]:
    """What the cache of a killed run holds, as the server counts it: (key of the prompt, sample)."""
    held: set[tuple[str, int]] = set()
    with RequestCache(folder / "cache.sqlite") as cache:
        for i in range(n):
            keys = RequestKeys(IDENTITY, request(i))
            held |= {(request(i).prompt_key, j) for j in range(samples(i)) if cache.answer(keys.exact(j)) is not None}
    return held


@pytest.mark.parametrize("n", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_storm_of_faults_and_two_kills_change_nothing(n: int, tmp_path: Path) -> None:
    storm, calm = tmp_path / "storm", tmp_path / "calm"
    storm.mkdir()
    calm.mkdir()
    total = sum(map(samples, range(n)))
    rng = random.Random(n)
    before: list[tuple[set[tuple[str, int]], Counter[tuple[str, int]]]] = []
    with LoopbackServer(script, faults=PLAN, base_seed=SEED) as server:
        for low, high in ((0.1, 0.4), (0.5, 0.8)):
            kill_when(start(server, storm, "out.jsonl", n), server, int(rng.uniform(low, high) * total))
            before.append((kept(storm, n), server.answered.copy()))
            assert not (storm / "out.jsonl").exists()
        finish(start(server, storm, "out.jsonl", n))
        answered, sent = server.answered.copy(), server.faults_sent.copy()
    with LoopbackServer(script, base_seed=SEED) as server:
        finish(start(server, calm, "out.jsonl", n))
        assert server.answered.total() == total

    # Nothing lost: every answer is there, is what the server says to that sample of that request, and is that of the
    # calm run to the byte.
    output = (storm / "out.jsonl").read_bytes()
    said = [script(request(i), j) for i in range(n) for j in range(samples(i))]
    assert [json.loads(line)["answer"]["text"] for line in output.splitlines()] == said
    assert hashlib.sha256(output).hexdigest() == hashlib.sha256((calm / "out.jsonl").read_bytes()).hexdigest()
    # Nothing paid twice: what a killed run had kept was never asked again ...
    for held, counts in before:
        # ... of what was answered, a kill loses no more requests than may be in flight (or wait after a time-out) ...
        lost = {prompt for prompt, _ in counts} - {prompt for prompt, _ in held}
        assert held and len(lost) <= 2 * MOST_IN_FLIGHT
        assert {key: answered[key] for key in held} == {key: counts[key] for key in held}
    # ... and all else that was paid twice was in flight when the run was killed.
    assert answered.total() - total <= 2 * MOST_IN_FLIGHT * max(map(samples, range(n)))
    assert set(answered) == {(request(i).prompt_key, j) for i in range(n) for j in range(samples(i))}
    spending = json.loads((storm / "out.jsonl.spending").read_text())
    assert sum(line["requests"] + line["cached"] for line in spending) == total
    assert sum(line["cached"] for line in spending) == len(before[1][0])
    assert sum(line["dead_letters"] for line in spending) == 0 < sum(line["retries"] for line in spending)
    assert n < 2000 or set(sent) == set(FAULT_KINDS)


def test_ctrl_c_leaves_a_cache_that_the_next_run_goes_on_with(tmp_path: Path) -> None:
    n = 60
    total = sum(map(samples, range(n)))
    with LoopbackServer(script, base_seed=SEED, latency=0.1) as server:
        process = start(server, tmp_path, "out.jsonl", n)
        while server.answered.total() < total // 2:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
        assert process.returncode != 0
        # A traceback of the interrupt itself, of a script that does not catch it; no task or future is left behind.
        assert "KeyboardInterrupt" in said and "never" not in said and "Task" not in said, said
        held, counts = kept(tmp_path, n), server.answered.copy()
        assert held
        finish(start(server, tmp_path, "out.jsonl", n))
        assert {key: server.answered[key] for key in held} == {key: counts[key] for key in held}
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == total
