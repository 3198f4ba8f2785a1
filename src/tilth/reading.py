"""Reads that survive a moment's outage: tried again where they stopped, a few times, then an error of its own kind."""

from __future__ import annotations

import errno
import io
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypeVar

from tilth.errors import ReadError, TilthError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

TRIES = 4
FIRST_PAUSE_SECONDS = 0.5
"""Pause before the second try; it doubles with each further one."""

_LASTING = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO,
    errno.ENODEV, errno.EINVAL, errno.ESPIPE, errno.EBADF,
}  # fmt: skip
"""Errors of the path itself: another try ends the same."""


def is_passing(error: BaseException, *, remote: bool) -> bool:
    """Returns whether an error of reading may be gone at the next try.

    A remote filesystem raises its library's own errors, so there anything passes that is no error of path or content.
    """
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | TilthError | MemoryError):
        return False
    if isinstance(error, OSError):
        return remote or isinstance(error, ConnectionError | TimeoutError) or error.errno not in (None, *_LASTING)
    return remote and isinstance(error, Exception) and not isinstance(error, EOFError | zlib.error | ValueError)


def with_retries(path: str, read: Callable[[], T], *, remote: bool) -> T:
    """Returns `read()`, tried again where it fails with a passing error.

    Raises: ReadError naming `path` after `TRIES` tries; errors that last, as they are.
    """
    for number in range(TRIES):
        try:
            return read()
        except Exception as error:
            if not is_passing(error, remote=remote):
                raise
            if number == TRIES - 1:
                raise ReadError(
                    f"{path} cannot be read after {TRIES} tries: {type(error).__name__}: {error}.",
                    fix="Check the network, or name a copy on this machine; the same command continues from here."
                    if remote
                    else "Check the disk; the same command continues from here.",
                ) from error
            time.sleep(FIRST_PAUSE_SECONDS * 2**number)
    raise AssertionError


class RetryingReader(io.RawIOBase):
    """A raw stream over what `opener` opens; after a passing error it is opened again at the same position."""

    def __init__(self, path: str, opener: Callable[[], IO[bytes]], *, remote: bool) -> None:
        super().__init__()
        self._path, self._opener, self._remote = path, opener, remote
        self._position = 0
        self._raw: IO[bytes] | None = None
        self._raw = with_retries(path, opener, remote=remote)
        self._seekable = self._raw.seekable()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        content = with_retries(self._path, lambda: self._read(len(view)), remote=self._remote)
        view[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = with_retries(self._path, lambda: self._stream().seek(offset, whence), remote=self._remote)
        return self._position

    def fileno(self) -> int:
        return self._stream().fileno()

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None
        super().close()

    def _read(self, size: int) -> bytes:
        try:
            return self._stream().read(size)
        except Exception:
            self._drop()
            raise

    def _stream(self) -> Any:
        if self._raw is None:
            self._raw = self._opener()
            if self._position and self._seekable:
                self._raw.seek(self._position)
            elif self._position:  # a stream that only goes forward: read up to where it was
                left = self._position
                while left and (part := self._raw.read(min(left, 1 << 20))):
                    left -= len(part)
        return self._raw

    def _drop(self) -> None:
        with suppress(Exception):
            if self._raw is not None:
                self._raw.close()
        self._raw = None
