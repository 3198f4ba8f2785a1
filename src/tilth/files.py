"""Files: written whole or not at all, and read from anywhere, compressed or not.

A file appears under its name only when it is complete: it is written under a temporary name and renamed. Local paths
use the operating system; URLs (`https://`, `s3://`, `hf://` with its package installed) use fsspec. fsspec and pyarrow
are imported where they are used, since most who write a file need neither.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from tilth.errors import DataError
from tilth.listing import InputFile as InputFile
from tilth.listing import list_files as list_files
from tilth.paths import filesystem, is_url, local_path
from tilth.reading import RetryingReader

_BUFFER_BYTES = 1 << 18

# Writing


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Yields a temporary path in the folder of `path`; on success the file is flushed to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def atomic_stream(target: Path | str) -> Generator[IO[bytes]]:
    """Yields a stream to write to; on success what was written appears as `target`, a local path or a URL.

    Under a URL it is written to a temporary name and moved, as atomic as the store makes a move.
    """
    if not is_url(target):
        with atomic_path(Path(target)) as temporary, temporary.open("wb") as stream:
            yield stream
        return
    fs, inner = filesystem(str(target))
    folder, _, name = inner.rpartition("/")
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.tmp"
    fs.makedirs(folder, exist_ok=True)
    try:
        with fs.open(temporary, "wb") as stream:
            yield stream
        fs.mv(temporary, inner)
    finally:
        with suppress(OSError):
            fs.rm_file(temporary)


def clear_temporaries(folder: Path) -> None:
    """Removes what killed writers left behind under `folder`."""
    for path in folder.rglob(".*.tmp"):
        with suppress(FileNotFoundError):
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that a rename in it survives a loss of power."""
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(target: Path | str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic_stream(target) as stream:
        stream.write(content)


def write_json(target: Path | str, value: object) -> None:
    """Writes `value` as readable JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    try:
        content = text.encode()
    except UnicodeEncodeError:  # parts of surrogate pairs, as in file names that are not UTF-8: written as escapes
        content = (json.dumps(value, indent=2, ensure_ascii=True, sort_keys=True) + "\n").encode()
    write_bytes(target, content)


# Reading


def read_json(target: Path | str) -> Any:
    """Reads a JSON file.

    Raises: DataError if it is missing or not JSON.
    """
    if not is_url(target) and (path := local_path(str(target))).exists() and not path.is_file():
        raise DataError(f"{target} is no regular file.")  # to open a FIFO would wait for ever
    try:
        with open_binary(str(target)) as stream:
            return json.loads(stream.read().decode("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{target} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{target} is not valid JSON: {error}.") from None


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a local file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_binary(path: str) -> BinaryIO:
    """Opens a local file or a URL for reading its bytes as they are stored.

    A read that fails is tried again, with growing pauses; then it raises ReadError. What does not get better by trying
    again (a file that is missing, or may not be read) raises OSError at once.
    """
    if is_url(path):
        fs, inner = filesystem(path)
        reader = RetryingReader(path, lambda: fs.open(inner, "rb"), remote=True)
    else:
        reader = RetryingReader(path, lambda: local_path(path).open("rb", buffering=0), remote=False)
    return io.BufferedReader(reader, _BUFFER_BYTES)


def open_stream(path: str) -> IO[bytes]:
    """Opens a file for reading, decompressing `.gz`, `.zst`, `.bz2` and `.xz` by name, as it is read.

    A cut or corrupt stream raises `OSError` without `errno`, `EOFError` or `zlib.error` while it is read.
    """
    raw = open_binary(path)
    if path.endswith(".gz"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if path.endswith(".zst"):
        import pyarrow as pa

        return cast("IO[bytes]", io.BufferedReader(cast(Any, pa.CompressedInputStream(raw, "zstd"))))
    if path.endswith(".bz2"):
        import bz2

        return bz2.BZ2File(raw)
    if path.endswith(".xz"):
        import lzma

        return lzma.LZMAFile(raw)
    return raw


def read_bounded(stream: IO[bytes], limit: int) -> bytes | None:
    """Returns what is left of a stream, or None if that is more than `limit` bytes; reads no further than that."""
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := stream.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts) if left else None
