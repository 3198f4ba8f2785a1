"""Maps a pure function over shards: on processes of this machine or, the same function unchanged, on a Ray cluster.

A worker gets one shard at a time and writes its results to files; what it returns should be
small. Work that one machine cannot hold is written as map -> files -> reduce on top of this. Every worker
imports the function's module, which takes a second or so: `workers=1` runs in this process.
Work that waits on a network instead goes through the gateway to teachers (`tilth.teacher.gateway`).
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

from tilth import workers
from tilth.errors import DependencyError, StepError
from tilth.progress import SILENT, Progress
from tilth.user_code import install_files, loaded_files
from tilth.workers import Died, Raised, Returned, Worker

S = TypeVar("S")
R = TypeVar("R")

RETRIES = 2
"""Times that a shard is tried again whose worker died. An error that the function raises is never tried again."""
_AHEAD = 16
"""Results for each worker that are kept at most while an earlier shard is still at work."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Facts of the machine that work runs on. They never enter a step's identity."""

    runs: Path = Path("runs")
    """Folder that holds the outputs of all steps."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes (or threads, for native code) that work side by side."""
    device: str = "cpu"
    """Torch device for models."""
    executor: Literal["local", "ray"] = "local"
    """What `map_shards` runs on: processes of this machine, or Ray (`RAY_ADDRESS`, or a local one)."""
    progress: Progress = SILENT
    """Shows how far the work is."""
    jobs: int = 1
    """Independent steps that run side by side."""
    micro_batch_size: int | None = None
    """Rows that go through a model at a time in training, to save memory; None: all of a step."""
    checkpoint_seconds: float = 30.0
    """Most seconds of training between checkpoints: the most work that a kill loses."""
    endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of a service -> URL."""
    keys: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Name of a service -> key. They go to worker processes, but into no record, log or message."""
    cache: Path | None = None
    """Folder for what is fetched once and kept, answers of teachers among it; None: nothing is kept."""
    max_in_flight: int = 64
    """Requests to teachers in flight at most, of all endpoints."""
    live: Path | None = None
    """Folder for what is only looked at while a step is at work (partial ledger, samples); None: nothing is written.

    A step gets a folder of its own. Nothing in it enters a result, and losing it loses nothing.
    """


class Executor(Protocol):
    """Runs a function over shards; an implementation for a cluster has this one method."""

    def map(self, fn: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yields `fn(shard)` in the order of the shards."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Processes of this machine, at most `workers` of them and never more than there are shards."""

    workers: int
    say: Callable[[str], None] = lambda line: None
    """Called with a line when a shard is tried again."""

    def map(self, fn: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yields results in order; the first failure ends the workers and is raised."""
        n_workers = min(self.workers, len(shards))
        if n_workers <= 1:
            yield from map(fn, shards)
            return
        run = _LocalRun(fn, shards, n_workers, self.say)
        try:
            yield from run.results()
        finally:
            # An error, or Ctrl-C: nobody waits for the shards at work, and what is finished of them is in files.
            run.end()


class _LocalRun:
    """One call of `LocalExecutor.map`."""

    def __init__(self, fn: Callable[[Any], Any], shards: Sequence[Any], n_workers: int, say: Callable[[str], None]):
        self.fn, self.shards, self.n_workers, self.say = fn, shards, n_workers, say
        self.waiting = deque(range(len(shards)))
        self.idle: list[Worker] = []
        self.busy: dict[Worker, int] = {}
        self.deaths: dict[int, int] = {}
        self.finished: dict[int, Any] = {}
        self.n_yielded = 0

    def results(self) -> Iterator[Any]:
        while self.n_yielded < len(self.shards):
            if self.n_yielded in self.finished:
                self.n_yielded += 1
                yield self.finished.pop(self.n_yielded - 1)
                continue
            self._start()
            for worker in workers.wait(list(self.busy)):
                self._take(worker, self.busy.pop(worker))

    def end(self) -> None:
        for worker in self.idle + list(self.busy):
            worker.process.terminate()
        for worker in self.idle + list(self.busy):
            worker.end()

    def _start(self) -> None:
        """Gives each free worker the next shard, unless it is too far ahead of what was yielded."""
        end = self.n_yielded + _AHEAD * self.n_workers
        while self.waiting and self.waiting[0] < end and len(self.busy) < self.n_workers:
            index = self.waiting.popleft()
            task = workers.pickled_task(self.fn, self.shards[index])
            worker = self.idle.pop() if self.idle else Worker(task)
            self.busy[worker] = index
            worker.start(task)

    def _take(self, worker: Worker, index: int) -> None:
        event = worker.receive()
        if isinstance(event, Returned):
            self.finished[index] = event.value
            self.idle.append(worker)
        elif isinstance(event, Raised):
            self.idle.append(worker)
            event.throw()
        elif isinstance(event, Died):
            worker.end()
            self._after_death(event, index)

    def _after_death(self, death: Died, index: int) -> None:
        self.deaths[index] = self.deaths.get(index, 0) + 1
        shard = f"shard {index} of {len(self.shards)} ({_short(self.shards[index])})"
        if self.deaths[index] <= RETRIES:
            self.say(f"A worker process {death} while it worked on {shard}; it is tried again.")
            self.waiting.appendleft(index)
            return
        fix = "Run the same command again: finished shards are kept."
        if death.was_killed_for_memory:
            fix = "If memory ran out, use fewer `--workers`. " + fix
        raise StepError(f"A worker process {death} while it worked on {shard}, {RETRIES + 1} times.", fix=fix)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


@dataclass(frozen=True)
class RayExecutor:
    """Ray tasks over shards, on the cluster at `RAY_ADDRESS` or on this machine.

    A task whose worker or node died is tried again as Ray does by default (3 times). Files and modules that the
    function needs must be on all nodes, under the same paths.
    """

    workers: int
    """Tasks in flight at most; also the cores of a Ray that is started here."""

    def map(self, fn: Callable[[S], R], shards: Sequence[S]) -> Iterator[R]:
        """Yields results in order; the first failure cancels what is in flight and is raised."""
        ray = _ray(self.workers)
        run = ray.remote(num_cpus=1)(_ray_task)
        payload = ray.put(pickle.dumps(fn))
        setup = {"path": list(sys.path), "files": loaded_files()}
        flight: deque[Any] = deque()
        try:
            for index in range(len(shards)):
                if len(flight) >= max(self.workers, 1):
                    yield _ray_result(ray, flight.popleft())
                flight.append(run.remote(setup, payload, pickle.dumps(shards[index])))
            while flight:
                yield _ray_result(ray, flight.popleft())
        finally:
            for task in flight:
                ray.cancel(task, force=True)


def _ray(n_workers: int) -> Any:
    try:
        ray = cast(Any, importlib.import_module("ray"))
    except ImportError:
        raise DependencyError(
            "The executor `ray` needs Ray, which is not installed.", fix='Install it: `pip install "tilth[ray]"`.'
        ) from None
    if not ray.is_initialized():
        # A cluster whose address is given has its own cores.
        options: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": n_workers}
        ray.init(include_dashboard=False, log_to_driver=False, **options)
    return ray


def _ray_task(setup: Mapping[str, Any], payload: bytes, shard: bytes) -> Returned | Raised:
    sys.path.extend(path for path in setup["path"] if path not in sys.path)
    install_files(setup["files"])
    return workers.call(pickle.loads(payload), pickle.loads(shard))


def _ray_result(ray: Any, task: Any) -> Any:
    try:
        result = ray.get(task)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        raise StepError(
            f"A Ray worker died, after all tries: {type(error).__name__}: {str(error).strip()}",
            fix="Run the same command again: finished shards are kept.",
        ) from None
    if isinstance(result, Raised):
        result.throw()
    return result.value


def map_shards(
    fn: Callable[[S], R], shards: Sequence[S], context: Context, *, name: str = "", unit: str = "shards", done: int = 0
) -> Iterator[R]:
    """Yields `fn(shard)` for each shard, in order, and shows progress under `name`.

    `done` shards were finished by an earlier attempt: progress counts them.

    `fn` and the shards must pickle (a module-level function, or `functools.partial` of one).
    Raises: whatever `fn` raises; StepError if a worker dies again and again; DependencyError without Ray for `ray`.
    """
    executor: Executor = (
        RayExecutor(context.workers)
        if context.executor == "ray"
        else LocalExecutor(context.workers, context.progress.say)
    )
    with context.progress.bar(name or getattr(fn, "__name__", "shards"), done + len(shards), unit, done) as bar:
        for result in executor.map(fn, shards):
            yield result
            bar.advance()
