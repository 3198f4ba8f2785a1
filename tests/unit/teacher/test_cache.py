"""The request cache gives back what was put in, says what is damaged, and loses nothing that was written."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tilth.errors import DataError, StepError
from tilth.teacher import cache_file
from tilth.teacher.cache import Entry, RequestCache
from tilth.teacher.cache_file import trouble
from tilth.teacher.cache_rows import pack, unpack
from tilth.teacher.request import Answer, TokenLogprob, Usage
from unit.teacher.controlled import answer

KEYS = [bytes([i]) * 32 for i in range(200)]
PROMPT = b"p" * 32


def entry(i: int, text: str = "", *, prompt: bytes = PROMPT, sample: int = 0) -> Entry:
    return Entry(KEYS[i], prompt, sample, answer(text or f"answer {i}"))


def put(cache: RequestCache, entries: Sequence[Entry]) -> None:
    async def write() -> None:
        await cache.put(entries)

    asyncio.run(write())


def filled(path: Path, n: int = 3) -> Path:
    with RequestCache(path) as cache:
        put(cache, [entry(i, sample=i) for i in range(n)])
    return path


characters = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)
logprobs = st.floats(allow_nan=False, allow_infinity=True, max_value=0)
tokens = st.builds(
    TokenLogprob,
    token=characters,
    logprob=logprobs,
    top=st.lists(st.tuples(characters, logprobs), max_size=2).map(tuple),
)
answers = st.builds(
    Answer,
    text=st.one_of(characters, characters.map(lambda text: text * 100)),
    finish_reason=st.sampled_from(["stop", "length", "content_filter", "unknown"]),
    usage=st.builds(
        Usage,
        prompt_tokens=st.integers(0, 10**9),
        completion_tokens=st.integers(0, 10**9),
        estimated=st.booleans(),
    ),
    logprobs=st.none() | st.lists(tokens, max_size=3).map(tuple),
    model=characters,
)


@given(answers)
def test_an_answer_comes_back_as_it_was(value: Answer) -> None:
    assert unpack(pack(value)) == value


def test_what_is_written_is_read_by_another(tmp_path: Path) -> None:
    vector = np.array([1.5, -math.pi], dtype=np.float32)
    path = tmp_path / "folder" / "cache.sqlite"
    with RequestCache(path) as cache:
        put(cache, [entry(0), Entry(KEYS[9], b"", 0, vector)])
        with RequestCache(path) as other:
            assert other.answer(KEYS[0]) == answer("answer 0")
            assert other.answer(KEYS[1]) is None
            read = other.vector(KEYS[9])
            assert read is not None and read.dtype == np.float32 and read.tobytes() == vector.tobytes()
            assert other.vector(KEYS[0]) is None and other.answer(KEYS[9]) is None
            assert len(other) == 2


def test_the_same_prompt_gives_one_answer_whatever_was_written_first(tmp_path: Path) -> None:
    for order in ([3, 1, 2], [2, 3, 1]):
        with RequestCache(tmp_path / f"{order}.sqlite") as cache:
            for i in order:
                put(cache, [entry(i), entry(i + 10, sample=1), entry(i + 20, prompt=b"q" * 32)])
            assert cache.answer_to_prompt(PROMPT, 0) == (KEYS[1], answer("answer 1"))
            assert cache.answer_to_prompt(PROMPT, 1) == (KEYS[11], answer("answer 11"))
            assert cache.answer_to_prompt(PROMPT, 2) is None


def test_threads_write_and_read_at_once(tmp_path: Path) -> None:
    async def work(cache: RequestCache, mine: range) -> None:
        await asyncio.gather(*(cache.put([entry(i)]) for i in mine))
        assert all(cache.answer(KEYS[i]) == answer(f"answer {i}") for i in mine)

    async def all_of_it(cache: RequestCache) -> None:
        parts = [range(start, start + 50) for start in range(0, 200, 50)]
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, work(cache, part)) for part in parts))

    with RequestCache(tmp_path / "c.sqlite") as cache:
        asyncio.run(all_of_it(cache))
        assert len(cache) == 200


WRITER = """
import asyncio, sys
from tilth.teacher.cache import RequestCache, Entry
from unit.teacher.controlled import answer
async def write(cache, begin):
    for i in range(begin, begin + 50):
        await cache.put([Entry(bytes([i]) * 32, b"p" * 32, 0, answer(f"answer {i}"))])
        print(i, flush=True)
with RequestCache(sys.argv[1]) as cache:
    asyncio.run(write(cache, int(sys.argv[2])))
    if sys.argv[3:]: sys.stdin.read()
"""


def writer(path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_processes_share_a_file_and_a_killed_one_has_lost_nothing_that_it_was_told(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    processes = [writer(path, "0"), writer(path, "50"), writer(path, "100", "stay")]
    killed = processes[2]
    assert killed.stdout is not None
    told = [int(killed.stdout.readline()) for _ in range(20)]
    killed.kill()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, -9]
    with RequestCache(path) as cache:
        for i in [*range(100), *told]:
            assert cache.answer(KEYS[i]) == answer(f"answer {i}")


# Damage.


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_another_process_that_opens_and_closes_the_file_loses_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path / "requests.sqlite")
    count = [sys.executable, "-c", f"from tilth.teacher.cache import RequestCache as C; print(len(C({str(path)!r})))"]
    with RequestCache(path) as cache, RequestCache(path):
        put(cache, [entry(50, sample=50)])
        assert subprocess.run(count, capture_output=True, check=True).stdout == b"4\n"
        put(cache, [entry(51, sample=51)])
        # What was written since must be in the file's own log, and not in one that the other process has deleted.
        assert subprocess.run(count, capture_output=True, check=True).stdout == b"5\n"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE answers SET body = replace(body, 'answer 1', 'answer 7') WHERE sample = 1",
        "UPDATE answers SET body = (SELECT body FROM answers WHERE sample = 2) WHERE sample = 1",
        "UPDATE answers SET (body, checksum) = (SELECT body, checksum FROM answers WHERE sample = 2) WHERE sample = 1",
        "UPDATE answers SET body = x'' WHERE sample = 1",
        "UPDATE answers SET body = 'text' WHERE sample = 1",
        "UPDATE answers SET checksum = x'00' WHERE sample = 1",
    ],
)
def test_a_damaged_row_is_said_and_replaced(statement: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "c.sqlite")
    change(path, statement.replace("replace(body,", "CAST(replace(body,").replace("7') W", "7') AS BLOB) W"))
    said: list[str] = []
    with RequestCache(path, say=said.append) as cache:
        assert cache.answer(KEYS[1]) is None
        assert cache.answer_to_prompt(PROMPT, 1) is None
        assert cache.damaged == 2 and "damaged row" in said[0] and str(path) in said[0]
        assert cache.answer(KEYS[2]) == answer("answer 2")
        put(cache, [entry(1, sample=1)])
        assert cache.answer(KEYS[1]) == answer("answer 1")
        assert len(cache) == 3


def test_a_damaged_index_does_not_give_the_answer_to_another_request(tmp_path: Path) -> None:
    """SQLite itself finds nothing wrong with an index entry that points to another row."""
    path = filled(tmp_path / "c.sqlite")
    data = path.read_bytes()
    entry_of_row_2, of_row_3 = KEYS[1] + b"\x02", KEYS[1] + b"\x03"
    assert data.count(entry_of_row_2) == 2  # by key, and by prompt
    path.write_bytes(data.replace(entry_of_row_2, of_row_3))
    said: list[str] = []
    with RequestCache(path, say=said.append) as cache:
        assert cache.answer(KEYS[1]) is None
        assert cache.answer_to_prompt(PROMPT, 1) is None
        assert len(said) == 2
        put(cache, [entry(1, sample=1)])
        assert [cache.answer(KEYS[i]) for i in range(3)] == [answer(f"answer {i}") for i in range(3)]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Answer]]:
    """A cache of 60 answers of two pages each: the bytes of the file, and the answers."""
    path, rng = tmp_path_factory.mktemp("big") / "c.sqlite", np.random.default_rng(0)
    answers = [answer(rng.bytes(4000).hex()) for _ in range(60)]
    with RequestCache(path) as cache:
        put(cache, [Entry(KEYS[i], PROMPT, i, each) for i, each in enumerate(answers)])
    return path.read_bytes(), answers


@settings(deadline=None, max_examples=20)
@given(at=st.integers(0, 10**6), size=st.sampled_from([1, 100, 5000, 100_000]), flip=st.integers(1, 255))
def test_no_damage_of_the_file_makes_a_wrong_answer(
    at: int, size: int, flip: int, big: tuple[bytes, list[Answer]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first page says whether it is a cache at all; all else may be damaged, indexes too. An index may hide a row
    so that nobody notices, and then it is asked again."""
    path, (data, expected) = tmp_path_factory.mktemp("damage") / "c.sqlite", big
    begin = 4096 + at % (len(data) - 4096)
    changed = bytes(byte ^ flip for byte in data[begin : begin + size])
    path.write_bytes(data[:begin] + changed + data[begin + size :])
    said: list[str] = []
    for _ in range(3):  # a run, and two more
        with RequestCache(path, say=said.append) as cache:
            read = [cache.answer(KEYS[i]) for i in range(60)]
            assert all(value in (None, expected[i]) for i, value in enumerate(read))
            by_prompt = [cache.answer_to_prompt(PROMPT, i) for i in range(60)]
            assert all(value in (None, (KEYS[i], expected[i])) for i, value in enumerate(by_prompt))
            put(cache, [Entry(KEYS[i], PROMPT, i, expected[i]) for i in range(60) if read[i] is None] or [entry(150)])
            assert all(cache.answer(KEYS[i]) in (None, expected[i]) for i in range(60))
    with RequestCache(path, say=said.append) as cache:
        assert [cache.answer(KEYS[i]) for i in range(60)] == expected
    event("repaired" if any("are kept" in line for line in said) else "rows alone" if said else "not noticed")


def test_of_a_damaged_file_all_else_is_kept_and_the_old_file_too(
    big: tuple[bytes, list[Answer]], tmp_path: Path
) -> None:
    path, data = tmp_path / "c.sqlite", bytearray(big[0])
    page = next(at for at in range(4096 * 20, len(data), 4096) if data[at] == 13)  # a leaf of the table
    data[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    said: list[str] = []
    with RequestCache(path, say=said.append) as cache:
        read = [cache.answer(KEYS[i]) for i in range(60)]
        assert 1 <= read.count(None) <= 10 and "asked again" in said[0]
        put(cache, [entry(150)])
        assert cache.answer(KEYS[150]) == answer("answer 150")
        assert [cache.answer(KEYS[i]) for i in range(60)] == read
        assert len(cache) == 61 - read.count(None)
    assert (tmp_path / "c.sqlite.damaged").exists()
    assert any("could be read and are kept" in line for line in said)


def test_a_file_that_was_deleted_or_repaired_by_another_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with RequestCache(path) as cache:
        put(cache, [entry(0)])
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink()
        put(cache, [entry(1)])
        with RequestCache(path) as other:
            assert other.answer(KEYS[1]) == answer("answer 1")


# What is no cache, and what cannot be written.


def test_what_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("Not a database, but long enough to be mistaken for one." * 100)
    foreign = tmp_path / "foreign.sqlite"
    change(foreign, "CREATE TABLE t (x)")
    empty = tmp_path / "empty.sqlite"
    change(empty, "PRAGMA application_id = 7")
    newer = filled(tmp_path / "newer.sqlite")
    change(newer, "PRAGMA user_version = 99")
    before = {path: path.read_bytes() for path in (text, foreign, empty, newer)}
    for path in before:
        said = "layout 99" if path == newer else "not a request cache"
        with pytest.raises(DataError, match=said) as caught:
            RequestCache(path)
        assert str(path) in str(caught.value) and caught.value.fix
    with pytest.raises(DataError, match="is a folder"):
        RequestCache(tmp_path)
    assert before == {path: path.read_bytes() for path in before}


def test_on_a_file_system_of_several_machines_there_is_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "before.sqlite")
    assert not cache_file.is_on_network(tmp_path / "requests.sqlite")
    monkeypatch.setattr(cache_file, "_NETWORK", ("",))
    assert cache_file.is_on_network(tmp_path / "requests.sqlite")
    for path in (tmp_path / "before.sqlite", tmp_path / "requests.sqlite"):
        with RequestCache(path) as cache, RequestCache(path) as other:
            put(cache, [entry(50)])
            put(other, [entry(51)])
            assert cache.answer(KEYS[51]) == answer("answer 51") and other.answer(KEYS[50]) == answer("answer 50")
            assert not [file.name for file in tmp_path.iterdir() if file.name.endswith(("-wal", "-shm"))]


def test_an_empty_file_becomes_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").touch()
    with RequestCache(tmp_path / "c.sqlite") as cache:
        put(cache, [entry(0)])
        assert len(cache) == 1


def test_a_full_disk_ends_it_clearly_and_keeps_what_was_written(tmp_path: Path) -> None:
    """SQLite's own limit of a file's pages raises the very error of a full disk."""
    path = tmp_path / "c.sqlite"
    with RequestCache(path) as cache:
        put(cache, [entry(0)])
        assert cache._writer is not None
        (pages,) = cache._writer.execute("PRAGMA page_count").fetchall()[0]
        cache._writer.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        large = np.random.default_rng(0).bytes(50_000).hex()
        with pytest.raises(StepError, match="full") as caught:
            put(cache, [entry(1, large)])
        assert str(path) in str(caught.value) and "Free space" in str(caught.value)
        with pytest.raises(StepError, match="full"):
            cache.check()
        assert cache.answer(KEYS[0]) == answer("answer 0") and cache.answer(KEYS[1]) is None
        cache._writer.execute("PRAGMA max_page_count = 1000000").fetchall()
        put(cache, [entry(1, large)])
        cache.check()
        assert cache.answer(KEYS[1]) == answer(large)


def test_a_locked_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilth.teacher.cache_file.LOCK_SECONDS", 0.05)
    path = filled(tmp_path / "c.sqlite")
    with RequestCache(path) as cache:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StepError, match="another process has kept it locked"):
            put(cache, [entry(5)])
        assert cache.answer(KEYS[1]) == answer("answer 1")  # readers are not kept out
        other.execute("ROLLBACK")
        other.close()
        put(cache, [entry(5)])


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StepError, match="cannot be used"):
        RequestCache(tmp_path / "file" / "c.sqlite")
    cache = RequestCache(tmp_path / "c.sqlite")
    cache.close()
    with pytest.raises(StepError, match="is closed"):
        put(cache, [entry(1)])


@pytest.mark.parametrize(
    ("number", "fix"), [(errno.EROFS, "writable"), (errno.EACCES, "writable"), (errno.ENOSPC, "Free space")]
)
def test_the_fix_is_that_of_the_error(number: int, fix: str) -> None:
    error = trouble(Path("cache.sqlite"), OSError(number, os.strerror(number)))
    assert fix in str(error.fix)
