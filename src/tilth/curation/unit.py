"""A unit of work: some files through read, extract, language and rules, into intermediate shards.

A unit leaves parts, each of at most `shard_bytes` of text: kept documents, their sketch for deduplication, rejects
and dead letters. The mark (`units/<unit>.json`, with its tally) is written last; a unit without one is done again,
and gives the same files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import partitions, sketch
from tilth.curation.extraction import extract_batch
from tilth.curation.found import DeadLetter, Found, Page, Reject
from tilth.curation.language import identify_batch
from tilth.curation.ledger import DEAD_LETTERS, RAW_SCHEMA, REJECTS, Outcome, Row, Tally, row_bytes
from tilth.curation.read import read_file
from tilth.curation.rules import judge_batch
from tilth.files import InputFile, atomic_path, read_json, write_json
from tilth.types import DOCUMENT_SCHEMA

PART_BITS, ROW_BITS = 16, 24
"""A document's number is unit, part and row in one 64-bit integer; numbers sort in the order of the corpus."""

_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
_PART_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Files that one worker reads in one go."""

    index: int
    files: tuple[InputFile, ...]

    def mark(self, work: Path) -> Path:
        """Returns the file whose presence says that the unit is done."""
        return work / "units" / f"{self.index:05d}.json"


def part_names(work: Path) -> list[str]:
    """Returns the names of the parts of all finished units, in order."""
    names: list[str] = []
    for mark in sorted((work / "units").glob("*.json"), key=lambda path: int(path.stem)):
        names += [f"{mark.stem}-{part:04d}" for part in range(read_json(mark)["parts"])]
    return names


def first_document(name: str) -> int:
    """Returns the number of the first document of a part."""
    unit, part = name.split("-")
    return int(unit) << (PART_BITS + ROW_BITS) | int(part) << ROW_BITS


def part_name(number: int) -> str:
    """Returns the name of the part with this number (a document's number without its row)."""
    return f"{number >> PART_BITS:05d}-{number & ((1 << PART_BITS) - 1):04d}"


def work_unit(unit: Unit, *, work: Path, config: CurationConfig, n_partitions: int) -> None:
    """Works a unit and leaves its parts and mark in `work`."""
    tally = Tally()
    parts = _Parts(unit, work, config, n_partitions)
    for outcome in _outcomes(unit, config, tally):
        parts.add(outcome)
    parts.flush()
    write_json(unit.mark(work), {"parts": parts.n_parts, "tally": tally.row()})


def _outcomes(unit: Unit, config: CurationConfig, tally: Tally) -> Iterator[Outcome]:
    """Yields what becomes of each batch of raw documents, and counts it."""
    for found in _batches(unit, config):
        rejects, dead_letters = [found.rejects], [found.dead_letters]
        batch = found.kept
        before = _size(batch)
        lost = (sum(table["bytes"].to_pylist()) for table in (found.rejects, found.dead_letters))
        documents_in = batch.num_rows + found.rejects.num_rows + found.dead_letters.num_rows
        tally.add("read", documents_in, batch.num_rows, before + sum(lost), before)
        for stage in ("extract", "language", "rules"):
            outcome = _operate(stage, batch, config)
            after = _size(outcome.kept)
            tally.add(stage, batch.num_rows, outcome.kept.num_rows, before, after)
            rejects.append(outcome.rejects)
            dead_letters.append(outcome.dead_letters)
            batch, before = outcome.kept, after
        yield Outcome(kept=batch, rejects=pa.concat_tables(rejects), dead_letters=pa.concat_tables(dead_letters))


def _operate(stage: str, batch: pa.RecordBatch, config: CurationConfig) -> Outcome:
    if stage == "extract":
        return extract_batch(batch)
    if stage == "language":
        return identify_batch(batch, config.languages)
    return judge_batch(batch, config)


def _batches(unit: Unit, config: CurationConfig) -> Iterator[Outcome]:
    """Yields what the reader finds, a few hundred documents or a few megabytes at a time, as raw batches."""
    rows: dict[type[Found], list[Row]] = {}
    count = size = 0
    for file in unit.files:
        for found in read_file(file, config):
            kind, row = _raw_row(found)
            rows.setdefault(kind, []).append(row)
            count, size = count + 1, size + (row_bytes(row) if "text" in row else 0)
            if count >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield _raw_batch(rows)
                rows, count, size = {}, 0, 0
    if count:
        yield _raw_batch(rows)


def _raw_row(found: Found) -> tuple[type, Row]:
    if isinstance(found, Reject | DeadLetter):
        return type(found), found.row
    if isinstance(found, Page):
        return Page, found.document.row() | {"html": found.html}
    return Page, found.row() | {"html": None}


def _raw_batch(rows: dict[type, list[Row]]) -> Outcome:
    return Outcome(
        kept=pa.RecordBatch.from_pylist(rows.get(Page, []), schema=RAW_SCHEMA),
        rejects=pa.Table.from_pylist(rows.get(Reject, []), schema=REJECTS),
        dead_letters=pa.Table.from_pylist(rows.get(DeadLetter, []), schema=DEAD_LETTERS),
    )


def _size(batch: pa.RecordBatch) -> int:
    return sum(
        row_bytes(row) for row in batch.select([c for c in batch.schema.names if c in ("text", "html")]).to_pylist()
    )


class _Parts:
    """Gathers outcomes and writes a part each time enough has come together."""

    def __init__(self, unit: Unit, work: Path, config: CurationConfig, n_partitions: int) -> None:
        self.unit, self.work, self.config, self.n_partitions = unit, work, config, n_partitions
        self.n_parts = 0
        self._clear()

    def _clear(self) -> None:
        self.kept: list[pa.RecordBatch] = []
        self.rejects: list[pa.Table] = []
        self.dead_letters: list[pa.Table] = []
        self.rows = self.bytes = 0

    def add(self, outcome: Outcome) -> None:
        self.kept.append(outcome.kept)
        self.rejects.append(outcome.rejects)
        self.dead_letters.append(outcome.dead_letters)
        self.rows += outcome.kept.num_rows + outcome.rejects.num_rows + outcome.dead_letters.num_rows
        self.bytes += outcome.kept.nbytes
        if self.bytes >= self.config.shard_bytes or self.rows >= _PART_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self.rows:
            return
        name = f"{self.unit.index:05d}-{self.n_parts:04d}"
        documents = pa.Table.from_batches(self.kept, schema=DOCUMENT_SCHEMA)
        storage.write_table(self.work / "documents" / f"{name}.parquet", documents)
        storage.write_table(self.work / "rejects" / f"{name}.parquet", pa.concat_tables(self.rejects))
        storage.write_table(self.work / "dead_letters" / f"{name}.parquet", pa.concat_tables(self.dead_letters))
        texts = documents["text"].to_pylist()
        table = sketch(texts, first_document(name), self.config)
        _write_batches(self.work / "sketches" / f"{name}.arrow", partitions(table, self.n_partitions))
        self.n_parts += 1
        self._clear()


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
