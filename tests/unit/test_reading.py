"""Reads that fail for a moment are tried again; reads that fail for good end in an error of their own kind."""

import errno
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tilth import reading
from tilth.errors import DataError, ReadError
from tilth.files import open_binary, open_stream, read_bounded
from tilth.reading import TRIES, RetryingReader, with_retries

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_PAUSE_SECONDS", 0)


class Unreliable(io.BytesIO):
    """A stream whose reads fail after so many bytes; every new one gets further."""

    opened = 0

    def __init__(self, error: Exception, good_bytes: int, seekable: bool = True) -> None:
        super().__init__(CONTENT)
        self.error, self.good_bytes, self.can_seek = error, good_bytes, seekable

    def seekable(self) -> bool:
        return self.can_seek

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert self.can_seek
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.good_bytes:
            raise self.error
        return super().read(min(size or 0, 50_000))


def unreliable(error: Exception, *, seekable: bool = True) -> tuple[Callable[[], IO[bytes]], list[int]]:
    opened: list[int] = []

    def opener() -> IO[bytes]:
        opened.append(1)
        return Unreliable(error, 300_000 * len(opened), seekable)

    return opener, opened


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "bad sector"), TimeoutError(), ConnectionResetError()])
def test_a_read_continues_where_it_failed(error: Exception, seekable: bool) -> None:
    opener, opened = unreliable(error, seekable=seekable)
    with io.BufferedReader(RetryingReader("x", opener, remote=True)) as stream:
        assert stream.read() == CONTENT
    assert len(opened) == 4


def test_the_tries_end_in_an_error_that_is_no_fault_of_the_data() -> None:
    tries: list[int] = []

    def fail() -> bytes:
        tries.append(1)
        raise OSError(errno.EIO, "bad sector")

    with pytest.raises(ReadError, match=r"s3://x.*bad sector") as caught:
        with_retries("s3://x", fail, remote=False)
    assert len(tries) == TRIES
    assert not isinstance(caught.value, DataError | OSError)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "gone"), PermissionError(errno.EACCES, "no"), gzip.BadGzipFile("not gzip")],
)
def test_what_stays_as_it_is_is_not_tried_again(error: Exception) -> None:
    tries: list[int] = []

    def fail() -> bytes:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        with_retries("x", fail, remote=False)
    assert tries == [1]


def test_a_remote_library_s_own_error_is_an_outage() -> None:
    class ClientError(Exception):
        pass

    def fail() -> bytes:
        raise ClientError("503")

    with pytest.raises(ReadError, match="503"):
        with_retries("https://x", fail, remote=True)
    with pytest.raises(ClientError):
        with_retries("/local", fail, remote=False)


def test_a_cut_stream_is_an_error_of_decoding(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CONTENT)[:-100])
    with open_stream(str(tmp_path / "cut.gz")) as stream, pytest.raises(EOFError):
        stream.read()
    with pytest.raises(FileNotFoundError):
        open_binary(str(tmp_path / "missing"))


def test_a_bounded_read_stops_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with open_stream(str(tmp_path / "bomb.gz")) as stream:
        assert read_bounded(stream, 1000) is None
        assert stream.tell() < 2_000_000
    assert read_bounded(io.BytesIO(b"12345"), 5) == b"12345"
    assert read_bounded(io.BytesIO(b"123456"), 5) is None
