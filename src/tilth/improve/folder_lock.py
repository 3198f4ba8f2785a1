"""One process at a time in the folder of a loop or of a search experiment."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tilth.errors import StepError

LOCK = ".improve.lock"


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Keeps a second process out of `out`; the system frees the lock of a process that was killed.

    Raises: StepError if another process is at work there.
    """
    try:
        with FileLock(out / LOCK, timeout=0):
            yield
    except Timeout:
        raise StepError(f"Another process is at work in {out}.", fix="Wait for it, or choose another folder.") from None
