"""Datasets: folders of Parquet shards with a manifest.

A dataset is a folder of Parquet shards (zstd) and a `dataset.json` that names, counts and hashes them. DuckDB, Polars,
pandas and `datasets` read the shards as they are (`folder/*.parquet`), so no other Parquet files may be among them. A
shard appears under its name only when it is whole: its presence is the mark of its completion, and a killed writer
leaves nothing half-done. The folder may be a URL that fsspec knows.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth.errors import ConfigError, DataError
from tilth.files import atomic_stream, open_binary, read_json, sha256_file, write_json
from tilth.identity import claim
from tilth.paths import filesystem, is_url
from tilth.reading import with_retries
from tilth.results import decode
from tilth.types import SCHEMA_VERSION, Document, documents_table

MANIFEST = "dataset.json"
ROW_GROUP_ROWS = 1024
"""Rows in a Parquet row group: what a reader holds in memory at a time."""
_MAKE_AGAIN = "Delete the folder and make the dataset again."


def write_table(target: Path | str, table: pa.Table) -> None:
    """Writes one Parquet shard (zstd) to a path or URL, whole or not at all; the same table gives the same bytes."""
    with atomic_stream(target) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=ROW_GROUP_ROWS)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet file of a dataset."""

    name: str
    documents: int
    bytes: int
    """Bytes of text (UTF-8), not of the file."""
    file_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """What `dataset.json` holds."""

    shards: tuple[Shard, ...]
    made_by: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Dataset:
    """A folder of Parquet shards: exactly those that its manifest names.

    A sequence of `Document`: `len(dataset)`, `for document in dataset`, `dataset[5]`, `dataset[-1]`, and
    `dataset[:10]`, a list.
    """

    folder: Path | str
    """A local path, or a URL that fsspec knows."""
    shards: tuple[Shard, ...]
    made_by: str = ""
    parents: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not is_url(self.folder):
            object.__setattr__(self, "folder", Path(self.folder))

    @property
    def n_documents(self) -> int:
        """Documents in all shards."""
        return sum(shard.documents for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes of text (UTF-8) in all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the shards' hashes: equal content, equal fingerprint."""
        return hashlib.sha256("\n".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = False) -> Dataset:
        """Opens a dataset by its manifest.

        The sizes of the shards' files are checked now; their content at first use, or now if `verify`.
        Raises: DataError if the folder holds no manifest, one of another schema version, or if a shard is missing or
        is not what the manifest says.
        """
        path = _join(folder, MANIFEST)
        if not _exists(path):
            raise _no_dataset(folder)
        manifest = read_json(path)
        if not isinstance(manifest, dict):
            raise DataError(f"{path} holds no dataset's manifest.", fix=_MAKE_AGAIN)
        version: object = manifest.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(f"{path} has schema version {version!r}; this tilth reads {SCHEMA_VERSION}.")
        decoded = decode(_Manifest, manifest, str(path))
        dataset = cls(folder=folder, shards=decoded.shards, made_by=decoded.made_by, parents=decoded.parents)
        for index in range(len(dataset.shards)):
            dataset.check_size(index)
        if verify:
            dataset.verify()
        return dataset

    def path(self, shard: int) -> Path | str:
        """Returns the path or URL of a shard."""
        return _join(self.folder, self.shards[shard].name)

    def check_size(self, shard: int) -> None:
        """Raises DataError if a shard's file is missing, or has not the size that the manifest says."""
        path, expected = self.path(shard), self.shards[shard].file_bytes
        if "/" in self.shards[shard].name or not _exists(path):
            raise DataError(f"The shard {path} is missing.", fix=_MAKE_AGAIN)
        actual = _file_bytes(path)
        if actual != expected:
            raise DataError(f"The shard {path} has {actual:,} bytes; {expected:,} were written.", fix=_MAKE_AGAIN)

    def verify(self) -> None:
        """Raises DataError if the content of a shard is not what was written."""
        for shard in range(len(self.shards)):
            self._checked_content(shard)

    def _checked_content(self, shard: int) -> pa.Buffer | Path:
        """Returns what to read a shard from, its hash checked: once in a process as long as its file stays the same."""
        path, expected = self.path(shard), self.shards[shard].sha256
        if is_url(path):
            # Read once, for its hash and for its rows: a shard of text is a few tens of megabytes.
            with open_binary(str(path)) as stream:
                content = stream.read()
            actual = hashlib.sha256(content).hexdigest()
            where: pa.Buffer | Path = pa.py_buffer(content)
        else:
            where = Path(path)
            facts = where.stat()
            key = (str(where.absolute()), facts.st_size, facts.st_mtime_ns, expected)
            actual = expected if key in _CHECKED else sha256_file(where)
            if actual == expected:
                _CHECKED.add(key)
        if actual != expected:
            raise DataError(f"The shard {path} is damaged: its content is not what was written.", fix=_MAKE_AGAIN)
        return where

    def batches(
        self,
        shard: int,
        columns: Sequence[str] | None = None,
        *,
        first_row: int = 0,
        rows: int = ROW_GROUP_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yields a shard's rows from `first_row` on, at most `rows` at a time, a row group in memory.

        `columns` None: all that there are.
        Raises: DataError naming the shard, if its content is not what was written.
        """
        try:
            with _parquet(self._checked_content(shard)) as file:
                skipped = 0
                for group in range(file.num_row_groups):
                    group_rows = file.metadata.row_group(group).num_rows
                    if skipped + group_rows <= first_row:
                        skipped += group_rows
                        continue
                    table = file.read_row_group(group, columns=None if columns is None else list(columns))
                    table = table.slice(max(first_row - skipped, 0))
                    skipped += group_rows
                    yield from table.to_batches(max_chunksize=rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(
                f"Cannot read the shard {self.path(shard)}: {error}.",
                fix=_MAKE_AGAIN,
            ) from None

    def documents(self) -> Iterator[Document]:
        """Yields all documents in order."""
        for shard in range(len(self.shards)):
            yield from self._documents_from(shard, 0)

    def __iter__(self) -> Iterator[Document]:
        return self.documents()

    def __len__(self) -> int:
        return self.n_documents

    @overload
    def __getitem__(self, index: int) -> Document: ...

    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...

    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        """A document, or a list of them; reads the row groups that they are in.

        Raises: IndexError for a number beyond the last document; TypeError for what is no number.
        """
        if isinstance(index, slice):
            return self._slice(range(*index.indices(len(self))))
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"A dataset's documents have numbers, or slices of numbers, not {type(index).__name__}."
            ) from None
        n = len(self)
        if not -n <= number < n:
            raise IndexError(f"{self!r} has no document {number}.")
        return next(self._from(number % n))

    def __repr__(self) -> str:
        shards = f"{len(self.shards):,} shard{'s' * (len(self.shards) != 1)}"
        return f"<Dataset {str(self.folder)!r}: {len(self):,} documents, {self.n_bytes:,} bytes of text, {shards}>"

    def _slice(self, numbers: range) -> list[Document]:
        if not numbers:
            return []
        first, last = min(numbers[0], numbers[-1]), max(numbers[0], numbers[-1])
        found = list(islice(self._from(first), 0, last - first + 1, abs(numbers.step)))
        return found if numbers.step > 0 else found[::-1]

    def _from(self, number: int) -> Iterator[Document]:
        """Yields the documents from a number on."""
        for shard, facts in enumerate(self.shards):
            if number < facts.documents:
                yield from self._documents_from(shard, number)
            number = max(number - facts.documents, 0)

    def _documents_from(self, shard: int, row: int) -> Iterator[Document]:
        for batch in self.batches(shard, first_row=row):
            for fields in batch.to_pylist():
                yield Document.from_row(fields)


_CHECKED: set[tuple[str, int, int, str]] = set()
"""Path, size, time of change and hash of the shards that this process found to be right."""


def _parquet(source: pa.Buffer | Path) -> pq.ParquetFile:
    return pq.ParquetFile(source if isinstance(source, Path) else pa.BufferReader(source))


def _no_dataset(folder: Path | str) -> DataError:
    if not is_url(folder) and not Path(folder).exists():
        return DataError(
            f"There is no dataset at {folder}: it does not exist.",
            fix="Give the folder of a dataset; `tilth curate INPUT --out FOLDER` makes two, FOLDER/train and "
            "FOLDER/held_out.",
        )
    inside = [] if is_url(folder) else sorted(p.parent.name for p in Path(folder).glob(f"*/{MANIFEST}"))
    return DataError(
        f"{folder} is not a dataset: it has no {MANIFEST}.",
        fix=f"Name one of the datasets in it: {', '.join(inside)}."
        if inside
        else "`tilth curate INPUT --out FOLDER` makes one from text, JSONL, Parquet, HTML or WARC.",
    )


# Writing


def finish_dataset(folder: Path | str, *, shards: Sequence[str], made_by: str, parents: Sequence[str] = ()) -> Dataset:
    """Writes the manifest over the Parquet files named `shards`, in the order of their names.

    Shards without a document are removed: some readers fail on them.
    Raises: ConfigError if the folder holds other Parquet files, which readers of `*.parquet` would take for shards.
    """
    if strangers := sorted(set(_parquet_names(folder)) - set(shards)):
        raise ConfigError(
            f"{folder} holds {', '.join(strangers[:3])}, which this dataset's writer did not write.",
            fix="Choose another folder, or delete this one.",
        )
    finished: list[Shard] = []
    for name in sorted(shards):
        if (shard := _describe(folder, name)).documents:
            finished.append(shard)
        else:
            _remove(_join(folder, name))
    dataset = Dataset(folder=folder, shards=tuple(finished), made_by=made_by, parents=tuple(parents))
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "documents": dataset.n_documents,
        "bytes": dataset.n_bytes,
        "fingerprint": dataset.fingerprint,
        "made_by": made_by,
        "parents": list(parents),
        "shards": [vars(shard) for shard in finished],
    }
    write_json(_join(folder, MANIFEST), manifest)
    return dataset


def _describe(folder: Path | str, name: str) -> Shard:
    documents = text_bytes = 0
    with open_binary(str(_join(folder, name))) as stream:
        sha256 = hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
        file_bytes = stream.tell()
        stream.seek(0)
        with pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=["text"]):
                documents += batch.num_rows
                lengths = pc.call_function("binary_length", [batch.column(0)])
                text_bytes += int(pc.call_function("sum", [lengths]).as_py() or 0)
    return Shard(name=name, documents=documents, bytes=text_bytes, file_bytes=file_bytes, sha256=sha256)


def write_dataset(
    folder: Path | str,
    documents: Iterable[Document],
    *,
    made_by: str,
    parents: Sequence[str] = (),
    shard_bytes: int = 64 << 20,
    identity: object = None,
) -> Dataset:
    """Writes documents as a dataset, a new shard each time `shard_bytes` of text are full.

    `folder` must hold no shards yet. With an `identity` (whatever decides what the documents are) it is claimed, and
    what an earlier call with the same identity left in it is written anew.
    Raises: ConfigError if the folder holds other shards or another dataset.
    """
    _clear_for(folder, identity)
    names: list[str] = []
    pending: list[Document] = []
    pending_bytes = 0

    def flush() -> None:
        nonlocal pending, pending_bytes
        names.append(shard_name(len(names)))
        write_table(_join(folder, names[-1]), documents_table(pending))
        pending, pending_bytes = [], 0

    for document in documents:
        pending.append(document)
        pending_bytes += len(document.text)
        if pending_bytes >= shard_bytes:
            flush()
    if pending:
        flush()
    return finish_dataset(folder, shards=names, made_by=made_by, parents=parents)


def _clear_for(folder: Path | str, identity: object) -> None:
    """Makes sure that a folder holds no shards; those of the same claimed work are removed."""
    there = [name for name in (MANIFEST, *_parquet_names(folder)) if _exists(_join(folder, name))]
    if identity is not None and not is_url(folder) and claim(Path(folder), identity, kind="dataset", outputs=there):
        for name in there:
            _remove(_join(folder, name))
    elif there:
        raise ConfigError(
            f"{folder} holds {'a dataset' if MANIFEST in there else f'shards ({there[0]})'} already.",
            fix="Choose another folder, or delete this one.",
        )


def shard_name(index: int) -> str:
    """Returns the file name of shard `index`; names sort in order."""
    return f"shard-{index:05d}.parquet"


def write_jsonl(target: Path | str, rows: Iterable[Mapping[str, object]]) -> int:
    """Writes rows as JSON lines (gzip where the name ends in `.gz`) to a path or URL, and returns how many."""
    written = 0
    with atomic_stream(target) as raw:
        stream: IO[bytes] = (
            cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0)) if str(target).endswith(".gz") else raw
        )
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            written += 1
        if stream is not raw:
            stream.close()
    return written


# Files of a folder that is local or remote


def _join(folder: Path | str, name: str) -> Path | str:
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else Path(folder) / name


def _exists(path: Path | str) -> bool:
    if is_url(path):
        fs, inner = filesystem(str(path))
        return bool(with_retries(str(path), lambda: fs.exists(inner), remote=True))
    return Path(path).is_file()


def _file_bytes(path: Path | str) -> int:
    if is_url(path):
        fs, inner = filesystem(str(path))
        return int(with_retries(str(path), lambda: fs.info(inner), remote=True)["size"])
    return Path(path).stat().st_size


def _parquet_names(folder: Path | str) -> list[str]:
    if is_url(folder):
        fs, inner = filesystem(str(folder))
        return [str(path).rpartition("/")[2] for path in fs.glob(f"{inner}/*.parquet")]
    return [path.name for path in Path(folder).glob("*.parquet")]


def _remove(path: Path | str) -> None:
    if is_url(path):
        fs, inner = filesystem(str(path))
        fs.rm_file(inner)
    else:
        Path(path).unlink()
