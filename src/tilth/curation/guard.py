"""Runs the operators in a process of their own, so that no document can hang or end the run.

C code and `re` cannot be interrupted from within. So each worker starts one child process, sends it batches and gets
outcomes back; the child sets a timer before each document whose default action ends the process, inside C code too. (A
rule that handles SIGALRM and SIGPROF itself is not stopped.) A child that dies takes one batch along: it is done again
document by document, and the one that is guilty becomes a dead letter with the reason. The limit counts CPU seconds
(and ten times as many by the clock), so that a busy machine does not change what is kept; on a machine that is really
slower, a document near the limit may still be lost: results that depend on time cannot be the same everywhere. The
trade-off is a second process for each worker (the import of the parsers, about half a second), and batches that are
copied through a pipe.
"""

from __future__ import annotations

import atexit
import contextlib
import pickle
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, cast

import pyarrow as pa

from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.config import CurationConfig
from tilth.curation.operators import (
    DEAD_LETTERS,
    REJECTS,
    Drop,
    Operator,
    Row,
    build_operators,
    check_outcome,
    dead_letter_row,
    reject_row,
)
from tilth.errors import ConfigError, StepError, TilthError

CLOCK_FACTOR = 10
"""Seconds by the clock for each CPU second of the limit."""

_START = "import sys; sys.path[:] = {path!r}; from tilth.curation.guard import serve; serve({read}, {write})"
_THREAD = threading.local()


@dataclass(frozen=True, kw_only=True)
class Worked:
    """What all operators made of a batch."""

    kept: pa.RecordBatch
    sketch: pa.Table
    """Of the kept documents, numbered from 0."""
    rejects: pa.Table
    dead_letters: pa.Table
    counts: list[tuple[str, int, int, int, int]]
    """For each operator: name, documents in and out, bytes in and out."""

    @classmethod
    def of_tables(
        cls, kept: pa.RecordBatch, rejects: pa.Table, dead_letters: pa.Table, config: CurationConfig
    ) -> Worked:
        """Returns what was lost before the operators, beside an empty batch."""
        from tilth.curation.dedup import sketch

        return cls(kept=kept, sketch=sketch([], 0, config), rejects=rejects, dead_letters=dead_letters, counts=[])


class _ChildDiedError(Exception):
    """The child is gone; the message says how."""


class GuardedOperators:
    """The operators of a config, behind a child process."""

    def __init__(self, config: CurationConfig) -> None:
        self.config = config
        self._names: list[str] = []
        self._started = False
        self._child: subprocess.Popen[bytes] | None = None
        self._start()

    def apply(self, batch: pa.RecordBatch) -> list[Worked]:
        """Returns what became of a batch, in one or more pieces, in order.

        Raises: whatever an operator raises that no document causes, with a note that names the document.
        """
        if batch.num_rows <= 1:
            return [self._one(batch)]
        try:
            return [self._ask(batch)]
        except (_ChildDiedError, Exception) as error:  # document by document, it turns out which one it was
            of_all = error
        worked = [self._one(batch.slice(index, 1)) for index in range(batch.num_rows)]
        if isinstance(of_all, ConfigError):  # what an operator does wrong with several documents only
            raise of_all
        return worked

    def _one(self, batch: pa.RecordBatch) -> Worked:
        row = cast("Row", batch.to_pylist()[0])
        try:
            return self._ask(batch)
        except _ChildDiedError as death:
            stage, reason = death.args
        except Exception as error:
            stage = getattr(error, "stage", "?")
            if not is_broken_input(error):
                raise _with_document(error, stage, row) from error.__cause__
            reason = describe(error)
        letter = pa.Table.from_pylist([dead_letter_row(row, stage, reason)], schema=DEAD_LETTERS)
        return _lost(batch, letter, stage, self.names, self.config)

    def _ask(self, batch: pa.RecordBatch) -> Worked:
        if self._child is None:
            self._start()
        self._await_start()
        try:
            self._to.send_bytes(_pack(batch))
            return self._receive()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise _ChildDiedError(*self._bury()) from None

    def _receive(self) -> Any:
        while True:
            kind, value = pickle.loads(self._from.recv_bytes())
            if kind == "stage":
                self._stage = value
            elif kind == "error":
                error, trace, stage = value
                error.stage = stage
                if not isinstance(error, TilthError):
                    error.add_note(f"In the process of the operators:\n{trace}")
                raise error
            else:
                return value

    def _start(self) -> None:
        self._stage = "?"
        child_reads, self._to = Pipe(duplex=False)
        self._from, child_writes = Pipe(duplex=False)
        ends = (child_reads.fileno(), child_writes.fileno())
        code = _START.format(path=sys.path, read=ends[0], write=ends[1])
        self._child = subprocess.Popen([sys.executable, "-c", code], pass_fds=ends, stdin=subprocess.DEVNULL)
        child_reads.close()
        child_writes.close()
        self._started = False
        self._to.send_bytes(pickle.dumps(self.config))

    def _await_start(self) -> None:
        if self._started:
            return
        try:
            self._names = self._receive()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise StepError(f"The process of the operators did not start: {self._bury()[1]}.") from None
        except BaseException:
            self.close()
            raise
        self._started = True

    @property
    def names(self) -> list[str]:
        """The operators' names, in order."""
        self._await_start()
        return self._names

    def _bury(self) -> tuple[str, str]:
        """Returns in which operator the child died, and of what."""
        child = self._child
        self.close()
        return self._stage, _cause(child.returncode if child else 0, self.config)

    def close(self) -> None:
        """Ends the child: it stops when its pipe is closed, or at once where it is busy."""
        child, self._child = self._child, None
        if child is not None:
            self._to.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.5)
            if child.returncode is None:
                child.kill()
                child.wait()
            self._from.close()


def guarded(config: CurationConfig) -> GuardedOperators:
    """Returns the operators of this worker, started at the first call and kept for the next task."""
    guard = cast("GuardedOperators | None", getattr(_THREAD, "guard", None))
    if guard is None or guard.config != config:
        stop_guard()
        guard = _THREAD.guard = GuardedOperators(config)
        atexit.register(guard.close)
    return guard


def stop_guard() -> None:
    """Ends the child process of this worker, if there is one; that of a worker which dies ends by itself."""
    guard = cast("GuardedOperators | None", getattr(_THREAD, "guard", None))
    _THREAD.guard = None
    if guard is not None:
        atexit.unregister(guard.close)
        guard.close()


def _cause(code: int, config: CurationConfig) -> str:
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        seconds = config.document_seconds * (1 if code == -signal.SIGPROF else CLOCK_FACTOR)
        return f"it took more than {seconds:g} {'CPU seconds' if code == -signal.SIGPROF else 'seconds'}"
    if code < 0:
        return f"the process of the operators was ended by {signal.Signals(-code).name}"
    return f"the process of the operators ended with exit code {code}"


def _with_document(error: Exception, stage: str, row: Row) -> Exception:
    where = f"the operator `{stage}` was given {row['source']} (id {row['id']})"
    if isinstance(error, TilthError):
        return type(error)(f"{error.message.rstrip('.')}, when {where}.", fix=error.fix)
    error.add_note(f"when {where}")
    return error


def _lost(batch: pa.RecordBatch, letter: pa.Table, stage: str, names: list[str], config: CurationConfig) -> Worked:
    from tilth.curation.dedup import sketch

    size = int(letter["bytes"][0].as_py())
    counts: list[tuple[str, int, int, int, int]] = []
    alive = 1
    for name in names:
        now = 0 if name == stage else alive
        counts.append((name, alive, now, alive * size, now * size))
        alive = now
    if alive and counts:  # it died after the last operator: that one is named, so that the counts add up
        name, *_ = counts.pop()
        counts.append((name, 1, 0, size, 0))
        letter = letter.set_column(letter.schema.get_field_index("stage"), DEAD_LETTERS.field("stage"), [[name]])
    kept = batch.slice(0, 0)
    return Worked(
        kept=kept.drop_columns(["html"]) if "html" in kept.schema.names else kept,
        sketch=sketch([], 0, config),
        rejects=pa.Table.from_pylist([], schema=REJECTS),
        dead_letters=letter,
        counts=counts,
    )


def _pack(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()  # unlike pickle, IPC writes of a slice only the slice
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


# In the child


def serve(read: int, write: int) -> None:
    """Applies the operators to batches from a pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    incoming, outgoing = Connection(read, writable=False), Connection(write, readable=False)

    def send(kind: str, value: object) -> None:
        outgoing.send_bytes(pickle.dumps((kind, value), protocol=5))

    stage = ["?"]

    def send_error(error: BaseException) -> None:
        send("error", (_sendable(error), "".join(traceback.format_exception(error)), stage[0]))

    def enter(name: str) -> None:
        stage[0] = name
        send("stage", name)
        begin()

    with contextlib.suppress(EOFError, BrokenPipeError):
        config = cast("CurationConfig", pickle.loads(incoming.recv_bytes()))
        begin = _Timer(config.document_seconds).begin
        try:
            operators = build_operators(config, begin)
        except BaseException as error:
            send_error(error)
            return
        send("names", [operator.name for operator in operators])
        while True:
            batch = pa.ipc.open_stream(incoming.recv_bytes()).read_next_batch()
            try:
                worked = work(batch, operators, config, enter, begin)
            except BaseException as error:
                _stop_timers()
                send_error(error)
            else:
                _stop_timers()
                send("worked", worked)
                del worked


def work(
    batch: pa.RecordBatch,
    operators: list[Operator],
    config: CurationConfig,
    enter: Callable[[str], None],
    begin: Callable[[], None],
) -> Worked:
    """Runs a batch through all operators, and makes the sketch of what is kept for deduplication."""
    from tilth.curation.dedup import sketch

    rejects: list[pa.Table] = []
    dead_letters: list[pa.Table] = []
    counts: list[tuple[str, int, int, int, int]] = []
    before = batch_bytes(batch)
    for index, operator in enumerate(operators):
        enter(operator.name)
        outcome = operator.apply(batch)
        check_outcome(batch, outcome, operator.name)
        kept = outcome.kept
        if index == len(operators) - 1:
            kept, empty = _without_empty(kept, operator.name)
            rejects.append(empty)
        after = batch_bytes(kept)
        counts.append((operator.name, batch.num_rows, kept.num_rows, before, after))
        rejects.append(outcome.rejects)
        dead_letters.append(outcome.dead_letters)
        batch, before = kept, after
    if "html" in batch.schema.names:
        batch = batch.drop_columns(["html"])
    enter(operators[-1].name if operators else "read")
    return Worked(
        kept=batch,
        sketch=sketch(cast("list[str]", batch.column("text").to_pylist()), 0, config, begin),
        rejects=pa.concat_tables(rejects) if rejects else pa.Table.from_pylist([], schema=REJECTS),
        dead_letters=pa.concat_tables(dead_letters) if dead_letters else pa.Table.from_pylist([], schema=DEAD_LETTERS),
        counts=counts,
    )


def _without_empty(batch: pa.RecordBatch, stage: str) -> tuple[pa.RecordBatch, pa.Table]:
    """Takes out what still has no text after the last operator, such as pages that nothing extracted."""
    rows: list[Row] = []
    kept: list[int] = []
    for index, text in enumerate(batch.column("text")):
        if text.as_buffer() is not None and len(text.as_buffer()):
            kept.append(index)
        else:
            rows.append(reject_row(batch.slice(index, 1).to_pylist()[0], stage, Drop("no_text")))
    table = pa.Table.from_pylist(rows, schema=REJECTS)
    return (batch.take(pa.array(kept, pa.int64())) if rows else batch), table


def batch_bytes(batch: pa.RecordBatch) -> int:
    """Returns the bytes of a batch's texts, or of the HTML of pages."""
    import pyarrow.compute as pc

    text = pc.call_function("binary_length", [batch.column("text")])
    if "html" in batch.schema.names:
        html = pc.call_function("binary_length", [batch.column("html")])
        text = pc.call_function("coalesce", [html, text])
    return int(pc.call_function("sum", [text]).as_py() or 0)


class _Timer:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)  # the kernel ends the process, whatever it is doing

    def begin(self) -> None:
        """Gives the time of one document from now on."""
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        signal.setitimer(signal.ITIMER_REAL, self.seconds * CLOCK_FACTOR)


def _stop_timers() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _sendable(error: BaseException) -> BaseException:
    """Returns the error as the parent can unpickle it: one of a class that only the child knows becomes plain."""
    if is_broken_input(error) and not isinstance(error, Exception):
        error = OSError(describe(error))  # a panic of a Rust parser; without errno it reads as broken input
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(copy, Exception) or type(error).__module__.startswith("tilth_user_"):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return copy


def _die_with_parent() -> None:
    """Asks Linux to end this process when its parent is gone; elsewhere it ends when it next reads."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
