"""Datasets: folders of Parquet shards with a manifest.

A dataset is a folder of Parquet shards (zstd) and a `dataset.json` that counts and hashes them. DuckDB, Polars, pandas
and `datasets` read the shards as they are (`folder/*.parquet`). A shard appears under its name only when it is whole:
its presence is the mark of its completion, and a killed writer leaves nothing half-done.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth.errors import DataError
from tilth.files import atomic_path, read_json, sha256_file, write_json
from tilth.types import SCHEMA_VERSION, Document, documents_table

MANIFEST = "dataset.json"
ROW_GROUP_ROWS = 1024
"""Rows in a Parquet row group: what a reader holds in memory at a time."""


def write_table(path: Path, table: pa.Table) -> None:
    """Writes one Parquet shard (zstd), whole or not at all; the same table gives the same bytes."""
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP_ROWS)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Parquet file of a dataset."""

    name: str
    documents: int
    bytes: int
    """Bytes of text (UTF-8), not of the file."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A folder of Parquet shards with its manifest."""

    folder: Path
    shards: tuple[Shard, ...]
    made_by: str = ""
    parents: tuple[str, ...] = field(default=())

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
    def open(cls, folder: Path) -> Dataset:
        """Opens a dataset by its manifest; the shards are not read.

        Raises: DataError if the folder holds no manifest, or one of another schema version.
        """
        path = folder / MANIFEST
        if not path.exists():
            inside = sorted(p.parent.name for p in folder.glob(f"*/{MANIFEST}"))
            raise DataError(
                f"{folder} is not a dataset: it has no {MANIFEST}.",
                fix=f"Name one of the datasets in it: {', '.join(inside)}."
                if inside
                else "`tilth curate INPUT --out FOLDER` makes one from text, JSONL, Parquet, HTML or WARC.",
            )
        manifest = read_json(path)
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema version {manifest.get('schema_version')!r}; this tilth reads {SCHEMA_VERSION}."
            )
        return cls(
            folder=folder,
            shards=tuple(Shard(**shard) for shard in manifest["shards"]),
            made_by=manifest["made_by"],
            parents=tuple(manifest["parents"]),
        )

    def path(self, shard: int) -> Path:
        """Returns the file of a shard."""
        return self.folder / self.shards[shard].name

    def batches(
        self,
        shard: int,
        columns: Sequence[str] | None = None,
        *,
        first_row: int = 0,
        rows: int = ROW_GROUP_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yields a shard's rows from `first_row` on, at most `rows` at a time, a row group in memory."""
        try:
            with pq.ParquetFile(self.path(shard)) as file:
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
                fix="Delete the folder and make the dataset again.",
            ) from None

    def documents(self) -> Iterator[Document]:
        """Yields all documents in order."""
        for shard in range(len(self.shards)):
            for batch in self.batches(shard):
                for row in batch.to_pylist():
                    yield Document.from_row(row)


def finish_dataset(folder: Path, *, shards: Sequence[str], made_by: str, parents: Sequence[str] = ()) -> Dataset:
    """Writes the manifest over exactly the named shards; other Parquet files in `folder` are removed.

    Shards without a document are removed: they say nothing, and readers stumble over them.
    """
    for path in folder.glob("*.parquet"):
        if path.name not in shards:
            path.unlink()
    finished: list[Shard] = []
    for path in (folder / name for name in shards):
        documents, text_bytes = _count(path)
        if documents == 0:
            path.unlink()
            continue
        finished.append(Shard(name=path.name, documents=documents, bytes=text_bytes, sha256=sha256_file(path)))
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
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, manifest)
    return dataset


def _count(path: Path) -> tuple[int, int]:
    documents = text_bytes = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=["text"]):
            documents += batch.num_rows
            lengths = pc.call_function("binary_length", [batch.column(0)])
            text_bytes += int(pc.call_function("sum", [lengths]).as_py() or 0)
    return documents, text_bytes


def write_dataset(
    folder: Path,
    documents: Iterable[Document],
    *,
    made_by: str,
    parents: Sequence[str] = (),
    shard_bytes: int = 64 << 20,
) -> Dataset:
    """Writes documents as a dataset, a new shard each time `shard_bytes` of text are full."""
    pending: list[Document] = []
    pending_bytes = n_shards = 0

    def flush() -> None:
        nonlocal pending, pending_bytes, n_shards
        write_table(folder / shard_name(n_shards), documents_table(pending))
        pending, pending_bytes, n_shards = [], 0, n_shards + 1

    for document in documents:
        pending.append(document)
        pending_bytes += len(document.text)
        if pending_bytes >= shard_bytes:
            flush()
    if pending:
        flush()
    shards = [shard_name(index) for index in range(n_shards)]
    return finish_dataset(folder, shards=shards, made_by=made_by, parents=parents)


def shard_name(index: int) -> str:
    """Returns the file name of shard `index`; names sort in order."""
    return f"shard-{index:05d}.parquet"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Writes rows as JSON lines (gzip where the name ends in `.gz`) and returns how many."""
    written = 0
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        stream: IO[bytes] = (
            cast("IO[bytes]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0)) if path.suffix == ".gz" else raw
        )
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
            written += 1
        if stream is not raw:
            stream.close()
    return written
