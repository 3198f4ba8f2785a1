"""Many requests at once: in order, bounded, and resumed item by item."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tilth.errors import DataError
from tilth.execute import Context
from tilth.requests import map_requests

CONTEXT = Context(workers=1)


class Service:
    """Answers with twice the number, and remembers what it was asked."""

    def __init__(self, broken: int | None = None) -> None:
        self.asked: list[int] = []
        self.at_once = self.most_at_once = 0
        self.broken = broken

    async def ask(self, number: int) -> int:
        self.asked.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.001 * (number % 5))
        self.at_once -= 1
        if number == self.broken:
            raise ConnectionError("refused")
        return 2 * number


def test_results_come_in_order_and_no_more_than_the_limit_are_in_flight() -> None:
    service = Service()
    assert map_requests(service.ask, range(500), CONTEXT, limit=20) == [2 * n for n in range(500)]
    assert service.most_at_once == 20
    assert map_requests(service.ask, [], CONTEXT) == []


def test_what_is_stored_is_not_asked_for_again(tmp_path: Path) -> None:
    results = tmp_path / "answers.jsonl"
    map_requests(Service().ask, range(100), CONTEXT, results=results)
    again = Service()
    assert map_requests(again.ask, range(90, 110), CONTEXT, results=results) == [2 * n for n in range(90, 110)]
    assert sorted(again.asked) == list(range(100, 110))


def test_equal_items_are_asked_for_once() -> None:
    service = Service()
    assert map_requests(service.ask, [3, 4, 3], CONTEXT) == [6, 8, 6]
    assert sorted(service.asked) == [3, 4]


def test_a_cut_last_line_is_asked_for_again(tmp_path: Path) -> None:
    results = tmp_path / "answers.jsonl"
    map_requests(Service().ask, range(10), CONTEXT, results=results)
    content = results.read_bytes()
    cut = json.loads(content.splitlines()[-1])["result"] // 2
    results.write_bytes(content[:-5])
    again = Service()
    assert map_requests(again.ask, range(10), CONTEXT, results=results) == [2 * n for n in range(10)]
    assert again.asked == [cut]
    assert len([json.loads(line) for line in results.read_bytes().splitlines()]) == 10


def test_an_error_ends_the_call_names_its_item_and_keeps_the_rest(tmp_path: Path) -> None:
    results = tmp_path / "answers.jsonl"
    broken = Service(broken=50)
    with pytest.raises(ConnectionError) as caught:
        map_requests(broken.ask, range(100), CONTEXT, limit=4, results=results)
    assert any(": 50" in note for note in caught.value.__notes__)
    assert len(broken.asked) < 70
    kept = len(results.read_bytes().splitlines())
    assert kept >= 45
    again = Service()
    assert map_requests(again.ask, range(100), CONTEXT, results=results) == [2 * n for n in range(100)]
    assert len(again.asked) == 100 - kept


@pytest.mark.parametrize("line", [b"{}\n", b"no json\n", b"[1]\n", b"null\n"])
def test_a_file_of_something_else_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "answers.jsonl").write_bytes(b'{"key": "a", "result": 1}\n' + line + b'{"key": "b", "result": 1}\n')
    with pytest.raises(DataError, match=r"answers.jsonl, line 2"):
        map_requests(Service().ask, [1], CONTEXT, results=tmp_path / "answers.jsonl")


def test_it_works_inside_a_running_loop() -> None:
    async def notebook() -> list[int]:
        return map_requests(Service().ask, [1, 2], CONTEXT)

    assert asyncio.run(notebook()) == [2, 4]


def test_a_killed_run_keeps_what_had_come(tmp_path: Path) -> None:
    results = tmp_path / "answers.jsonl"
    script = tmp_path / "ask.py"
    script.write_text(
        "import asyncio, sys\nfrom pathlib import Path\nfrom tilth.execute import Context\n"
        "from tilth.requests import map_requests\n"
        "async def ask(n):\n    await asyncio.sleep(600 if n >= 30 else 0)\n    return 2 * n\n"
        "map_requests(ask, range(40), Context(workers=1), limit=4, results=Path(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, script, results])
    deadline = time.monotonic() + 60
    while not results.exists() or len(results.read_bytes().splitlines()) < 30:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = Service()
    assert map_requests(again.ask, range(40), CONTEXT, results=results) == [2 * n for n in range(40)]
    assert sorted(again.asked) == list(range(30, 40))


def test_results_are_the_same_when_they_come_from_the_file(tmp_path: Path) -> None:
    async def pair(item: int) -> tuple[int, dict[int, int]]:
        return item, {1: item}

    first, again = (map_requests(pair, [1, 2], Context(), results=tmp_path / "results.jsonl") for _ in range(2))
    assert first == again
    assert map_requests(pair, [1], Context()) == [(1, {1: 1})]
