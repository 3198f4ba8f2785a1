"""The request cache: every answer that was paid for, in one SQLite file, written before the answer is handed on.

One thread writes: what lands while a transaction is being flushed goes into the next one, so that a thousand answers a
second cost a few flushes, and none is handed on before it is on the disk. A killed process loses the requests that were
in flight. Several processes may share a file. Each row has a checksum: a damaged row is said and asked again, and of a
damaged file all rows that can be read are kept. Nothing of a file is held in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tilth.errors import DataError, StepError
from tilth.progress import PlainProgress
from tilth.teacher.cache_file import COLUMNS, Row, is_damage, is_whole, open_cache_file, row_of, trouble, write_rows
from tilth.teacher.cache_rows import pack, unpack
from tilth.teacher.request import Answer

MOST_IN_TRANSACTION = 512
"""Answers that are flushed together, at most."""
_BY_KEY = f"SELECT {COLUMNS} FROM answers WHERE key = ?"
_BY_PROMPT = f"SELECT {COLUMNS} FROM answers WHERE prompt = ? AND sample = ? ORDER BY key"

Vector = npt.NDArray[np.float32]


class Entry(NamedTuple):
    """What is stored: an answer, or the embedding of a text."""

    key: bytes
    prompt: bytes
    """Key of the prompt and its seed; empty for embeddings."""
    sample: int
    value: Answer | Vector


class _Write(NamedTuple):
    entries: Sequence[Entry]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class RequestCache:
    """Answers by key, in the SQLite file at `path`, which is made if it is not there.

    Reads may come from any thread, and `put` from any event loop. It does not survive a fork.
    Raises: DataError if the file is something else, or a cache of another version of the layout; StepError if it
    cannot be written.
    """

    def __init__(self, path: Path | str, *, say: Callable[[str], None] | None = None) -> None:
        """`say` gets a line about each damage found; standard error by default."""
        self.path = Path(path)
        self.say = say or PlainProgress().say
        self.damaged = 0
        """Rows whose content did not fit their checksum, or that could not be read."""
        self._lock = threading.RLock()
        self._reader, self._inode = open_cache_file(self.path, self.say)
        self._writer: sqlite3.Connection | None = None
        self._needs_repair = False
        self._failure: StepError | None = None
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def answer(self, key: bytes) -> Answer | None:
        """Returns the answer under an exact key."""
        value = self._get(key)
        return value if isinstance(value, Answer) else None

    def answer_to_prompt(self, prompt: bytes, sample: int) -> tuple[bytes, Answer] | None:
        """Returns an answer to a prompt whatever its parameters were, and its key: of several the smallest key's."""
        for row in self._rows(_BY_PROMPT, (prompt, sample)):
            value = self._checked(row, is_asked=row[1:3] == (prompt, sample))
            if isinstance(value, Answer):
                return row[0], value
        return None

    def vector(self, key: bytes) -> Vector | None:
        """Returns the embedding under a key."""
        value = self._get(key)
        return value if isinstance(value, np.ndarray) else None

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM answers", ())[0][0])

    def put(self, entries: Sequence[Entry]) -> asyncio.Future[None]:
        """Has entries written; they are on the disk when the future is done, which need not be waited for.

        The future raises StepError if they could not be written.
        """
        if self._closed:
            raise StepError(f"The request cache {self.path} is closed.")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._queue.put(_Write(entries, loop, done))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="tilth-request-cache", daemon=True)
            self._thread.start()
        return done

    def check(self) -> None:
        """Raises the error of the last write if it failed: what is asked now could not be kept."""
        if self._failure is not None:
            raise StepError(self._failure.message, fix=self._failure.fix)

    def close(self) -> None:
        """Writes what is still to write and closes the file."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        with self._lock:
            self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> RequestCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Reading.

    def _get(self, key: bytes) -> Answer | Vector | None:
        rows = self._rows(_BY_KEY, (key,))
        return self._checked(rows[0], is_asked=rows[0][0] == key) if rows else None

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Row]:
        """All rows at once: an open cursor would keep SQLite from shortening its log."""
        try:
            with self._lock:
                return self._reader.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise trouble(self.path, error) from error
            if not self.damaged:
                self.say(f"The request cache {self.path} is damaged ({error}): what cannot be read is asked again.")
            self.damaged += 1
            self._needs_repair = True
            return []

    def _checked(self, row: Row, *, is_asked: bool) -> Answer | Vector | None:
        """`is_asked`: it is the row that was asked for; of a damaged index, SQLite may give another.

        All of the file is repaired at the next write: through a damaged index, that could overwrite a good row.
        """
        if is_asked and is_whole(row):
            return unpack(row[3])
        self.damaged += 1
        self._needs_repair = True
        self.say(f"The request cache {self.path} has a damaged row, number {self.damaged}: it is asked again.")
        return None

    # Writing, in a thread of its own.

    def _write_all(self) -> None:
        while True:
            batch: list[_Write] = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == MOST_IN_TRANSACTION or self._queue.empty():
                    break
                item = self._queue.get()
            if batch:
                self._failure = self._write_batch(batch)
                _tell(batch, self._failure)
            if item is None:
                return

    def _write_batch(self, batch: Sequence[_Write]) -> StepError | None:
        entries = [entry for write in batch for entry in write.entries]
        try:
            rows = [row_of(entry.key, entry.prompt, entry.sample, pack(entry.value)) for entry in entries]
            if self._needs_repair:
                self._reopen(damaged=True)
            try:
                write_rows(self._current_writer(), rows)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self._reopen(damaged=True)
                write_rows(self._current_writer(), rows)
        except (sqlite3.Error, OSError) as error:
            return trouble(self.path, error)
        except (StepError, DataError) as error:
            return StepError(error.message, fix=error.fix)
        except Exception as error:  # a fault of ours must end the run with its message, and not leave it waiting
            return StepError(f"The request cache {self.path} cannot be written: {error!r}.")
        return None

    def _current_writer(self) -> sqlite3.Connection:
        """The connection to the file that is there now: another process may have repaired, or someone deleted it."""
        inode = self.path.stat().st_ino if self.path.exists() else None
        if inode != self._inode:
            self._reopen()
        if self._writer is None:
            self._writer, _ = open_cache_file(self.path, self.say)
        return self._writer

    def _reopen(self, *, damaged: bool = False) -> None:
        with self._lock:
            self._reader.close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            inode = self._inode if damaged else None
            self._reader, self._inode = open_cache_file(self.path, self.say, damaged_inode=inode)
            self._needs_repair = False


def _tell(batch: Sequence[_Write], error: StepError | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for write in batch:
        by_loop.setdefault(write.loop, []).append(write.done)
    for loop, futures in by_loop.items():
        # A loop that was closed in the meantime has nobody to tell.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: Sequence[asyncio.Future[None]], error: StepError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(StepError(error.message, fix=error.fix))
            future.exception()  # whoever waits for it gets it; nobody need wait
