"""The SQLite file of a request cache: its layout, how it is opened and repaired, and what shows that it is one."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from tilth.errors import DataError, StepError

APPLICATION = 0x746C7468
"""SQLite's application id of a request cache ("tlth")."""
LAYOUT = 1
"""Version of the layout."""
LOCK_SECONDS = 30.0
"""How long a connection waits for another process."""
ROWS_AT_ONCE = 1000
"""Rows that a repair reads at once, as long as all of them can be read."""
_HEADER = b"SQLite format 3\0"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_NETWORK = (
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.", "gfs", "glusterfs", "gpfs", "lustre", "ncp", "nfs", "ocfs",
    "orangefs", "pvfs", "smb", "virtiofs", "wekafs",
)  # fmt: skip
"""How the kinds of file systems begin that several machines may share."""

_CREATE = """CREATE TABLE answers (
  id INTEGER PRIMARY KEY,
  key BLOB NOT NULL UNIQUE,
  prompt BLOB NOT NULL,
  sample INTEGER NOT NULL,
  body BLOB NOT NULL,
  checksum BLOB NOT NULL
)"""
_CREATE_INDEX = "CREATE INDEX by_prompt ON answers (prompt, sample, key)"
PUT = "INSERT OR REPLACE INTO answers (key, prompt, sample, body, checksum) VALUES (?, ?, ?, ?, ?)"
COLUMNS = "key, prompt, sample, body, checksum"
Row = tuple[bytes, bytes, int, bytes, bytes]
"""The values of `COLUMNS`."""


def row_of(key: bytes, prompt: bytes, sample: int, body: bytes) -> Row:
    """Returns a row with its checksum."""
    return key, prompt, sample, body, _checksum(key, prompt, sample, body)


def is_whole(row: Row) -> bool:
    """Returns whether a row is what was written."""
    try:
        return _checksum(*row[:4]) == row[4]
    except TypeError:
        return False


def is_damage(error: sqlite3.Error) -> bool:
    """Returns whether an error says that the file is damaged, rather than locked, full or not to be written."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def trouble(path: Path, error: Exception) -> StepError:
    """Returns the error for the user: the file cannot be read or written, though it is no damage."""
    said, fix = str(error), "Free space on the disk and run again: what was answered until then is kept."
    if isinstance(error, filelock.Timeout) or "locked" in said or "busy" in said:
        said = f"another process has kept it locked for {LOCK_SECONDS:.0f} seconds"
        fix = "End the other process, or give this run a cache of its own; what was answered is kept."
    elif "readonly" in said or "Read-only" in said or "unable to open" in said or isinstance(error, PermissionError):
        fix = "Make the file and its folder writable, or choose another path for the cache."
    return StepError(f"The request cache {path} cannot be used: {said}.", fix=fix)


def open_cache_file(
    path: Path, say: Callable[[str], None], *, damaged_inode: int | None = None
) -> tuple[sqlite3.Connection, int]:
    """Opens a cache, or makes it, and returns the connection and the file's inode.

    A damaged file is repaired first, if it is found here, or if it is still the file with `damaged_inode`.
    Raises: DataError if it is something else or of another layout; StepError if it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process must not open it while it is made or repaired.
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            if damaged_inode is not None and path.exists() and path.stat().st_ino == damaged_inode:
                _repair(path, say)
            try:
                connection = _open(path)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                _repair(path, say)
                connection = _open(path)
            return connection, path.stat().st_ino
    except (sqlite3.Error, OSError) as error:
        raise trouble(path, error) from error


def _open(path: Path) -> sqlite3.Connection:
    if path.is_dir():
        raise DataError(f"{path} is a folder, and not a request cache.", fix="Name a file.")
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        try:
            _claim(connection, path)
        except sqlite3.DatabaseError as error:
            if is_damage(error) and not _has_header(path):
                raise _no_cache(path) from None
            raise
        # WAL needs memory that all processes share: between machines it damages the file.
        connection.execute(f"PRAGMA journal_mode = {'DELETE' if is_on_network(path) else 'WAL'}")
        # Each transaction is on the disk when it ends, so that not even a power cut loses an answer.
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def is_on_network(path: Path) -> bool:
    """Whether a file is on a file system that other machines may write to; where nothing tells (not Linux): no."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    inside, kinds = path.resolve(), dict[int, str]()
    for line in lines:
        _, mounted, kind, *_ = line.split(" ")
        folder = Path(mounted.replace("\\040", " "))
        if inside.is_relative_to(folder):
            kinds[len(folder.parts)] = kind  # of two mounts on one folder, the later one is seen
    return bool(kinds) and kinds[max(kinds)].startswith(_NETWORK)


def _has_header(path: Path) -> bool:
    """Whether a file begins as a database does.

    Only for a file that SQLite cannot read: on POSIX systems, to close a file ends all locks that the process holds on
    it. Another process would then take itself for the last one, and delete the log that is still written here.
    """
    with path.open("rb") as stream:
        return stream.read(len(_HEADER)) == _HEADER


def _claim(connection: sqlite3.Connection, path: Path) -> None:
    def value(query: str) -> int:
        return int(connection.execute(query).fetchall()[0][0])

    application, layout = value("PRAGMA application_id"), value("PRAGMA user_version")
    if not application and not value("SELECT count(*) FROM sqlite_master"):
        with _transaction(connection):
            connection.execute(_CREATE)
            connection.execute(_CREATE_INDEX)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
    elif application != APPLICATION:
        raise _no_cache(path)
    elif layout != LAYOUT:
        raise DataError(
            f"{path} is a request cache of layout {layout}; this version of tilth reads layout {LAYOUT}.",
            fix="Use the version that wrote it, or choose another path.",
        )


def _no_cache(path: Path) -> DataError:
    return DataError(
        f"{path} is not a request cache of tilth.", fix="Choose another path for the cache, or move this file away."
    )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def write_rows(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Writes rows in one transaction, all or none."""
    with _transaction(connection):
        connection.executemany(PUT, rows)


def _repair(path: Path, say: Callable[[str], None]) -> None:
    """Puts a new file with all readable rows in the place of a damaged one, which is kept beside it."""
    aside = _free_name(path)
    # SQLite's log goes with its file: it must not be read into the new one. Connections of other processes stay with
    # the old file, until they write the next time.
    for suffix in ("-wal", "-shm", ""):
        part = Path(f"{path}{suffix}")
        if part.exists():
            part.rename(f"{aside}{suffix}")
    rebuilt = Path(f"{path}.rebuilt")
    rebuilt.unlink(missing_ok=True)
    kept = 0
    new = _open(rebuilt)
    try:
        for rows in _readable(aside):
            write_rows(new, rows)
            kept += len(rows)
        new.execute("PRAGMA journal_mode = DELETE")  # so that all of it is in the one file that is renamed
    finally:
        new.close()
    rebuilt.replace(path)
    say(f"The request cache {path} is damaged: {kept:,} answers could be read and are kept; the old file is {aside}.")


def _readable(path: Path) -> Iterator[list[Row]]:
    old = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        last = _last_id(old)
        for begin in range(1, last + 1, ROWS_AT_ONCE):
            end = min(begin + ROWS_AT_ONCE - 1, last)
            rows = _between(old, begin, end)
            if rows is None:
                rows = [row for i in range(begin, end + 1) for row in _between(old, i, i) or []]
            whole = [row for row in rows if is_whole(row)]
            if whole:
                yield whole
    except sqlite3.Error:
        return  # not even the layout can be read: nothing is left of it
    finally:
        old.close()


def _last_id(old: sqlite3.Connection) -> int:
    """An upper bound of the ids: damage may keep the table or an index from telling the last one, or make one up."""
    last = 0
    for source in ("NOT INDEXED", "INDEXED BY by_prompt"):
        with contextlib.suppress(sqlite3.Error):
            last = max(last, int(old.execute(f"SELECT max(id) FROM answers {source}").fetchall()[0][0] or 0))
    pages, size = (int(old.execute(f"PRAGMA {name}").fetchall()[0][0]) for name in ("page_count", "page_size"))
    # Of rows that are stored, no page holds as many as one for each 64 bytes.
    most = pages * size // 64
    return min(last, most) or most


def _between(old: sqlite3.Connection, begin: int, end: int) -> list[Any] | None:
    # One row by its id alone: after the last row of a range, SQLite would look at the next page, too.
    which = "id = ? AND ?" if begin == end else "id BETWEEN ? AND ?"
    with contextlib.suppress(sqlite3.Error):
        return old.execute(f"SELECT {COLUMNS} FROM answers NOT INDEXED WHERE {which}", (begin, end)).fetchall()
    return None


def _free_name(path: Path) -> Path:
    names = (Path(f"{path}.damaged{number or ''}") for number in range(1_000_000))
    return next(name for name in names if not name.exists())


def _checksum(key: bytes, prompt: bytes, sample: int, body: bytes) -> bytes:
    """16 bytes that bind a body to its keys."""
    digest = hashlib.sha256(b"%b%b%d:" % (key, prompt, sample))
    digest.update(body)
    return digest.digest()[:16]
