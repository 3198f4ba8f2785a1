"""Maps a pure function over shards: here on local processes; the same function is to run unchanged on a cluster.

The unit of work is a shard. A worker is started fresh (`spawn`, safe beside threads), gets one shard at a time, and
writes its results to files; what it returns should be small. Work that one machine can't hold is written as map ->
files -> reduce on top of this, so that another executor only has to bring its own `map_shards`. The price of `spawn`
is the import of the function's module in every worker: a second or so, so `workers=1` runs in place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event as EventType
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from tilth.errors import StepError
from tilth.progress import SILENT, Progress

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where and with what work runs: facts of the machine, which never enter a step's identity."""

    runs: Path = Path("runs")
    """Folder that holds the outputs of all steps."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes (or threads, for native code) that work side by side."""
    device: str = "cpu"
    """Torch device for models."""
    executor: Literal["local"] = "local"
    """What `map_shards` runs on."""
    progress: Progress = SILENT
    """Shows how far the work is."""
    jobs: int = 1
    """Independent steps that run side by side."""
    micro_batch_size: int | None = None
    """Rows that go through a model at a time in training, to save memory; None: all of a step."""
    checkpoint_seconds: float = 30.0
    """Most seconds of training between checkpoints: the most work that a kill costs."""
    eval_every_tokens: int = 500_000
    """Tokens between measurements on held-out text; the start and the end are always measured."""


class Executor(Protocol):
    """Runs a function over shards; an implementation for a cluster has this one method."""

    def map(self, fn: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yields `fn(shard)` in the order of the shards."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Processes of this machine, at most `workers` of them and never more than there are shards."""

    workers: int

    def map(self, fn: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yields results in order; the first failure cancels what has not begun and is raised."""
        workers = min(self.workers, len(shards))
        if workers <= 1:
            yield from map(fn, shards)
            return
        spawn = multiprocessing.get_context("spawn")
        stop = spawn.Event()
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_watch, initargs=(stop,))
        try:
            futures: list[Future[R]] = [pool.submit(fn, shard) for shard in shards]
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            raise StepError(
                "A worker process was killed, most likely because memory ran out.",
                fix="Run the same command again with fewer `--workers`: finished shards are kept.",
            ) from None
        except BaseException:
            # An error, or Ctrl-C: nobody waits for the shards under way, and what is finished of them is in files.
            stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _watch(stop: EventType) -> None:
    """Ends this worker soon after it is told to, or after its parent is gone, so that no killed run writes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not stop.is_set():
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_shards(
    fn: Callable[[S], R], shards: Sequence[S], context: Context, *, name: str = "", unit: str = "shards"
) -> Iterator[R]:
    """Yields `fn(shard)` for each shard, in order, and shows progress under `name`.

    `fn` and the shards must pickle (a module-level function, or `functools.partial` of one).
    Raises: whatever `fn` raises; StepError if a worker dies.
    """
    executor: Executor = LocalExecutor(context.workers)
    with context.progress.bar(name or getattr(fn, "__name__", "shards"), len(shards), unit) as bar:
        for result in executor.map(fn, shards):
            yield result
            bar.advance()
