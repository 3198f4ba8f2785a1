"""Batches made in the background while the model works on the one before.

Tokenizing and numpy let the other thread run; the handing over takes about half a millisecond, too much for steps that
are as short. A batch travels with the state that the source had after it, so that a checkpoint holds the position of the
batches that were used, not of those that were made.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tilth.training.batch import Batch


@runtime_checkable
class Resumable(Protocol):
    """A source of batches that knows its position, as plain JSON data."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the position after the batches that were taken."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where `state_dict` was called."""
        ...


@dataclass(frozen=True)
class Made:
    """A batch with the position of its source after it; None where the source does not know it."""

    batch: Batch
    position: dict[str, Any] | None


@contextmanager
def made_batches(source: Iterable[Batch], n: int, *, ahead: int, with_position: bool) -> Generator[Iterator[Made]]:
    """Yields an iterator over the next `n` batches of a source; a thread makes up to `ahead` of them in advance.

    With `ahead` 0 there is no thread. No more than `n` batches are taken from the source. What the source raises is
    raised to whoever takes the batch; at the end of the `with` block the thread is gone.
    """
    batches = _take(source, n, with_position)
    if not ahead:
        yield batches
        return
    made: queue.Queue[Made | BaseException | None] = queue.Queue(ahead)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(batches, made, stop), name="tilth-batches", daemon=True)
    thread.start()
    try:
        yield _received(made)
    finally:
        stop.set()
        thread.join()


def _take(source: Iterable[Batch], n: int, with_position: bool) -> Iterator[Made]:
    iterator = iter(source)
    for _ in range(n):
        try:
            batch = next(iterator)
        except StopIteration:
            return
        known = with_position and isinstance(source, Resumable)
        yield Made(batch, source.state_dict() if known else None)


def _work(batches: Iterator[Made], made: queue.Queue[Made | BaseException | None], stop: threading.Event) -> None:
    last: BaseException | None = None
    try:
        for item in batches:
            if not _put(made, item, stop):
                return
    except BaseException as error:  # noqa: BLE001: it is raised again where the batch was asked for
        last = error
    _put(made, last, stop)


def _put(
    made: queue.Queue[Made | BaseException | None], item: Made | BaseException | None, stop: threading.Event
) -> bool:
    """Waits for room, and returns False if the work ends instead."""
    while not stop.is_set():
        try:
            made.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def _received(made: queue.Queue[Made | BaseException | None]) -> Iterator[Made]:
    while True:
        item = made.get()
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item
