"""Worker processes of this machine: each runs one task at a time; how one died is reported.

A worker is started fresh (`spawn`, safe beside threads). It ends with its parent, and on Ctrl-C the parent decides.
What goes to it is pickled by the parent beforehand, so that what cannot be loaded in the worker is an error that comes
back, not a dead worker.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, NoReturn, cast

from tilth.user_code import install_files, loaded_files

_SPAWN = multiprocessing.get_context("spawn")
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class Returned:
    """What a task returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """What a task raised."""

    error: BaseException
    trace: str
    """The traceback in the worker."""

    def throw(self) -> NoReturn:
        """Raises the error here, with the worker's traceback as a note."""
        self.error.add_note(f"In a worker process:\n{self.trace}")
        raise self.error


@dataclass(frozen=True)
class Died:
    """How a worker ended in the middle of a task."""

    exit_code: int

    @property
    def was_killed_for_memory(self) -> bool:
        """Whether it may have been the system, out of memory: that sends SIGKILL, but others may, too."""
        return self.exit_code == -9

    def __str__(self) -> str:
        if self.exit_code >= 0:
            return f"ended with exit code {self.exit_code}"
        try:
            name = f" ({signal.Signals(-self.exit_code).name})"
        except ValueError:
            name = ""
        return f"was killed by signal {-self.exit_code}{name}"


Event = Returned | Raised | Died


class Worker:
    """A process that runs tasks, one at a time."""

    def __init__(self, first: bytes) -> None:
        """Starts a process for tasks like `first`; the user's script is imported only if that names something in it."""
        self.connection, child = _SPAWN.Pipe()
        self.process: SpawnProcess = _SPAWN.Process(target=_serve, args=(child, os.getpid(), loaded_files()))
        with _interrupts_blocked(), ExitStack() as stack:
            if b"__main__" not in first:
                stack.enter_context(_main_hidden())
            self.process.start()
        child.close()  # so that a dead worker is the end of the pipe

    def start(self, task: bytes) -> None:
        """Starts a task: pickled `(fn, arguments)`."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead: `receive` will tell how
            self.connection.send_bytes(task)

    def receive(self) -> Event | Any:
        """Returns what the worker sent last (an event, or what its task reported), or how it died."""
        try:
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Died(self.process.exitcode or 0)

    def last_words(self) -> list[Any]:
        """Returns what a worker that was told to end still sends until it does; waits a few seconds at most."""
        words: list[Any] = []
        end = time.monotonic() + _SECONDS_TO_END
        with suppress(EOFError, ConnectionResetError):
            while self.connection.poll(max(0.0, end - time.monotonic())):
                words.append(pickle.loads(self.connection.recv_bytes()))
        return words

    def end(self) -> None:
        """Ends the process at once, whatever it does."""
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(_SECONDS_TO_END)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


def wait(workers: list[Worker]) -> list[Worker]:
    """Waits until at least one of the workers has sent something or died; returns those."""
    by_connection = {worker.connection: worker for worker in workers}
    return [by_connection[cast("Connection[Any, Any]", ready)] for ready in wait_for(list(by_connection))]


def pickled_task(fn: Callable[..., Any], *arguments: Any) -> bytes:
    """Returns a call as a worker takes it; raises what pickling raises."""
    return pickle.dumps((fn, arguments))


_REPORT: list[Callable[[Any], None]] = []
"""In a worker: sends an object to the parent while a task runs."""


def report(value: Any) -> None:
    """Sends `value` to the parent of this worker; it comes out of `receive`."""
    _REPORT[0](value)


def _serve(connection: Connection[Any, Any], parent: int, files: dict[str, str]) -> None:
    """Runs the tasks that come until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _unblock_interrupts()
    _end_with(parent)
    install_files(files)
    lock = threading.Lock()

    def send(value: Any) -> None:
        content = pickle.dumps(value)
        with lock:
            connection.send_bytes(content)

    _REPORT[:] = [send]
    while True:
        try:
            task = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        try:
            send(call(_run, task))
        except (BrokenPipeError, ConnectionResetError):  # the parent is gone
            return
        except KeyboardInterrupt:  # ended by the parent, which tells the user
            sys.exit(130)


def _run(task: bytes) -> Any:
    fn, arguments = pickle.loads(task)
    return fn(*arguments)


def call(fn: Callable[[Any], Any], argument: Any) -> Returned | Raised:
    """Returns what `fn` returned or raised, in a form that can be sent to another process."""
    try:
        value = fn(argument)
        pickle.dumps(value)
    except Exception as error:
        return _raised(error)
    return Returned(value)


def _raised(error: BaseException) -> Raised:
    """Returns the error in a form that can be sent to the parent."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Raised(error, trace)


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent is gone, so that no killed run writes on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _main_hidden() -> Generator[None]:
    """Keeps a process that is started from importing the script that this one runs.

    That would run the script again, and with it the call that starts processes, unless all of it stands under
    `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _interrupts_blocked() -> Generator[None]:
    """Holds Ctrl-C back while a process is started: a child inherits that, and is not hit before it is ready."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its own start would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unblock_interrupts() -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
