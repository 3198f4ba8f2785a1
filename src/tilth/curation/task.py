"""A task: some files through reading and the operators, into intermediate shards.

A task leaves shards, each of at most `shard_bytes` of text: kept documents, their sketch for deduplication, rejects
and dead letters. Its record (`tasks/<task>.json`, with its tally) is written last; a task without one is done again,
and gives the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tilth import storage
from tilth.curation.columns import BASE_SCHEMA, batch_of, fitted, unify
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import partitions, sketch
from tilth.curation.guard import Worked, batch_bytes, guarded
from tilth.curation.operators import DEAD_LETTERS, REJECTS, row_bytes
from tilth.curation.read import read_file
from tilth.curation.read_result import DeadLetter, FileReading, Read, ReadResult, Reject
from tilth.curation.tally import Tally
from tilth.files import InputFile, atomic_path, read_json, write_json

SHARD_BITS, ROW_BITS = 16, 24
"""A document's number is task, shard and row in one 64-bit integer; numbers sort in the order of the corpus."""

_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
_SHARD_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Task:
    """Files that one worker reads in one go."""

    index: int
    files: tuple[InputFile, ...]

    def record(self, work: Path) -> Path:
        """Returns the file whose presence says that the task is done."""
        return work / "tasks" / f"{self.index:05d}.json"


def task_records(work: Path) -> list[Path]:
    """Returns the records of all finished tasks, in order."""
    return sorted((work / "tasks").glob("*.json"), key=lambda path: int(path.stem))


def shard_names(work: Path) -> list[str]:
    """Returns the names of the intermediate shards of all finished tasks, in order."""
    names: list[str] = []
    for record in task_records(work):
        names += [f"{record.stem}-{shard:04d}" for shard in range(read_json(record)["shards"])]
    return names


def first_document(name: str) -> int:
    """Returns the number of the first document of a shard."""
    task, shard = name.split("-")
    return int(task) << (SHARD_BITS + ROW_BITS) | int(shard) << ROW_BITS


def shard_name(number: int) -> str:
    """Returns the name of the shard with this number (a document's number without its row)."""
    return f"{number >> SHARD_BITS:05d}-{number & ((1 << SHARD_BITS) - 1):04d}"


def run_task(task: Task, *, work: Path, config: CurationConfig, n_partitions: int) -> None:
    """Runs a task and leaves its shards and its record in `work`."""
    tally = Tally()
    operators = guarded(config)
    shards = _Shards(task, work, config, n_partitions)
    for reads in _batches(task, config):
        rejects = pa.Table.from_pylist([read.row for read in reads if isinstance(read, Reject)], schema=REJECTS)
        dead_letters = pa.Table.from_pylist(
            [read.row for read in reads if isinstance(read, DeadLetter)], schema=DEAD_LETTERS
        )
        batch = batch_of([read for read in reads if isinstance(read, Read)])
        size = batch_bytes(batch)
        lost = _sum(rejects) + _sum(dead_letters)
        tally.add("read", len(reads), batch.num_rows, size + lost, size)
        shards.add(Worked.of_tables(batch.slice(0, 0), rejects, dead_letters, config))
        _count_reads(tally, reads)
        for worked in operators.apply(batch) if batch.num_rows else ():
            for counts in worked.counts:
                tally.add(*counts)
            if config.detects_languages:
                _count_languages(tally, worked.kept)
            shards.add(worked)
        shards.flush_if_full()
    shards.flush()
    record = {
        "shards": shards.n_shards,
        "tally": tally.row(),
        "stages": operators.names,
        "columns": shards.columns,
    }
    write_json(task.record(work), record)


def _count_reads(tally: Tally, reads: list[ReadResult]) -> None:
    for read in reads:
        if isinstance(read, Read):
            tally.cut["documents"] += read.part > 0
            tally.cut["files"] += read.part == 1
            if read.note:
                tally.notes.append(read.note)


def _count_languages(tally: Tally, kept: pa.RecordBatch) -> None:
    sizes = pc.call_function("binary_length", [kept.column("text")]).to_pylist()
    for language, size in zip(kept.column("language").to_pylist(), sizes, strict=True):
        if language is not None:
            tally.language_bytes[language] += size


def _batches(task: Task, config: CurationConfig) -> Iterator[list[ReadResult]]:
    """Yields read results, a few hundred documents or a few megabytes at a time."""
    reads: list[ReadResult] = []
    size = 0
    for file in task.files:
        for result in read_file(file, config):
            read = result
            if isinstance(read, Read) and "html" in read.row and not config.all_operators:
                read = FileReading(file, config).reject("no_text", "no operator extracts its text")
            reads.append(read)
            size += row_bytes(read.row) if isinstance(read, Read) else 0
            if len(reads) >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield reads
                reads, size = [], 0
    if reads:
        yield reads


def _sum(table: pa.Table) -> int:
    return int(pc.call_function("sum", [table["bytes"]]).as_py() or 0)


class _Shards:
    """Collects what became of batches, and writes a shard each time enough has come together."""

    def __init__(self, task: Task, work: Path, config: CurationConfig, n_partitions: int) -> None:
        self.task, self.work, self.config, self.n_partitions = task, work, config, n_partitions
        self.n_shards = 0
        self.columns: dict[str, str] = {}
        """Column -> a source that has it, for errors about columns that do not go together."""
        self._clear()

    def _clear(self) -> None:
        self.worked: list[Worked] = []
        self.kept = self.rows = self.bytes = 0

    def add(self, worked: Worked) -> None:
        if worked.kept.num_rows:
            source = str(worked.kept.column("source")[0].as_py())
            for name in worked.kept.schema.names:
                self.columns.setdefault(name, source)
        self.worked.append(worked)
        self.kept += worked.kept.num_rows
        self.rows += worked.kept.num_rows + worked.rejects.num_rows + worked.dead_letters.num_rows
        self.bytes += worked.kept.nbytes

    def flush_if_full(self) -> None:
        if self.bytes >= self.config.shard_bytes or self.rows >= _SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        name = f"{self.task.index:05d}-{self.n_shards:04d}"
        batches = [worked.kept for worked in self.worked if worked.kept.num_rows]
        schema = unify([(BASE_SCHEMA, {}), *((batch.schema, _sources(batch)) for batch in batches)])
        documents = [fitted(pa.Table.from_batches([batch]), schema) for batch in batches]
        table = pa.concat_tables(documents) if documents else pa.Table.from_pylist([], schema=schema)
        storage.write_table(self.work / "documents" / f"{name}.parquet", table)
        for kind in ("rejects", "dead_letters"):
            tables: list[pa.Table] = [getattr(worked, kind) for worked in self.worked]
            storage.write_table(self.work / kind / f"{name}.parquet", pa.concat_tables(tables))
        sketches = partitions(self._sketch(first_document(name)), self.n_partitions)
        _write_batches(self.work / "sketches" / f"{name}.arrow", sketches)
        self.n_shards += 1
        self._clear()

    def _sketch(self, first: int) -> pa.Table:
        """Returns the sketch of the shard's documents, numbered from `first`."""
        tables = [sketch([], first, self.config)]
        for worked in self.worked:
            if worked.kept.num_rows:
                position = worked.sketch.schema.get_field_index("document")
                numbers = pc.call_function("add", [worked.sketch["document"], pa.scalar(first, pa.int64())])
                field = worked.sketch.schema.field(position)
                tables.append(worked.sketch.set_column(position, field, numbers))
                first += worked.kept.num_rows
        return pa.concat_tables(tables)


def _sources(batch: pa.RecordBatch) -> dict[str, str]:
    return dict.fromkeys(batch.schema.names, str(batch.column("source")[0].as_py()))


def _write_batches(path: Path, tables: list[pa.Table]) -> None:
    """Writes an Arrow file with a record batch for each table, also for an empty one."""
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, tables[0].schema) as writer,
    ):
        for table in tables:
            batches = table.combine_chunks().to_batches()
            writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema))
