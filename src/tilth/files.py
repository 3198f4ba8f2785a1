"""Files: written whole or not at all, and read from anywhere, compressed or not.

A file appears under its name only when it is complete: it is written beside its place and renamed. Reading goes through
fsspec (local paths, `https://`, `s3://`, `hf://` with its package installed); writing is local, because the rename that
makes it atomic is. fsspec and pyarrow are imported where they are used, since most who write a file need neither.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import json
import os
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from tilth.errors import DataError, DependencyError

# Atomic files


@contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Yields a temporary path beside `path`; on success the file is flushed to disk and renamed to `path`."""
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


def clear_temporaries(folder: Path) -> None:
    """Removes what killed writers left behind under `folder`."""
    for path in folder.rglob(".*.tmp"):
        with suppress(FileNotFoundError):
            path.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Writes `value` as readable JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises: DataError if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from None


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a local file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Streams in


def filesystem(path: str) -> tuple[Any, str]:
    """Returns the fsspec filesystem of a path or URL, and the path within it.

    Raises: DependencyError if the URL's scheme needs a package that is not installed.
    """
    import fsspec

    try:
        fs, inner = cast("tuple[Any, str]", fsspec.url_to_fs(path))
    except (ImportError, ValueError) as error:
        scheme = path.split("://", 1)[0]
        package = {
            "hf": "huggingface_hub",
            "s3": "s3fs",
            "gs": "gcsfs",
            "http": "aiohttp",
            "https": "aiohttp",
        }
        raise DependencyError(
            f"Cannot read {path}: {error}.",
            fix=f"Install what reads {scheme}:// with `pip install {package.get(scheme, scheme)}`.",
        ) from None
    return fs, inner


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFile:
    """A file of a corpus."""

    path: str
    """Path or URL that `open_binary` takes."""
    name: str
    """Path relative to the corpus, with `/`: the same on every machine."""
    bytes: int
    corpus: str = ""
    """Name of the corpus that the file belongs to."""
    skipped: str = ""
    """Why the file is not read (`fifo`, `device`, `broken_link`, ...); empty for one that is."""


def list_files(root: str, exclude: Sequence[str] = ()) -> list[InputFile]:
    """Returns the files at or below `root`, sorted by name.

    Hidden files and folders (a name that starts with a dot), `__pycache__`, and names that match one of the `exclude`
    globs (`"*/test/*"`, matched against `/` + name) are left out.
    Raises: DataError if nothing is there.
    """
    fs, inner = filesystem(root)
    base = str(inner).rstrip("/")
    if fs.isfile(inner):
        return [InputFile(path=root, name=base.rpartition("/")[2], bytes=int(fs.info(inner).get("size") or 0))]
    if not fs.isdir(inner):
        raise DataError(f"{root} does not exist.", fix="Give the path or URL of a file or a folder.")
    prefix = root.split("://", 1)[0] + "://" if "://" in root else ""
    files: list[InputFile] = []
    for folder, folders, found in fs.walk(inner, detail=True):
        place = str(folder)[len(base) :].strip("/")
        # Folders that are left out are not entered: there may be many files below them.
        for name in [name for name in folders if _is_left_out(f"{place}/{name}/", exclude)]:
            del folders[name]
        for name, facts in found.items():
            path = f"{place}/{name}".lstrip("/")
            if not _is_left_out(path, exclude):
                url = facts["name"] if "://" in facts["name"] else prefix + facts["name"]
                files.append(InputFile(path=url, name=path, bytes=int(facts.get("size") or 0)))
    return sorted(files, key=lambda file: file.name)


def _is_left_out(name: str, exclude: Sequence[str]) -> bool:
    last = name.rstrip("/").rpartition("/")[2]
    rooted = "/" + name.lstrip("/")
    return last.startswith(".") or last == "__pycache__" or any(fnmatch.fnmatchcase(rooted, glob) for glob in exclude)


def open_binary(path: str) -> BinaryIO:
    """Opens a local file or a URL for reading bytes as they lie."""
    fs, inner = filesystem(path)
    return cast(BinaryIO, fs.open(inner, "rb"))


def open_stream(path: str) -> IO[bytes]:
    """Opens a file for reading, decompressing `.gz`, `.zst`, `.bz2` and `.xz` by name.

    A cut or corrupt stream raises `OSError`, `EOFError` or `zlib.error` while it is read.
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
