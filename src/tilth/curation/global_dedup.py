"""Deduplication across all shards of a corpus, over files: the reduce half of `dedup`.

Sketches are reduced one partition at a time to pairs; pairs are compared one shard at a time (that of the later
document), reading only the row groups that hold candidates; the verdicts meet in one process, which decides what is
dropped and writes `drops.parquet`. Each step leaves a file and is skipped where that is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import I64, SKETCH_SCHEMA, Pairs, choose, find_pairs, resemblances, shingles
from tilth.curation.task import ROW_BITS, first_document, shard_name
from tilth.execute import Context, map_shards

DROPS_SCHEMA = pa.schema(
    [
        pa.field("document", pa.int64(), nullable=False),
        pa.field("survivor_id", pa.string(), nullable=False),
        pa.field("survivor_source", pa.string(), nullable=False),
        pa.field("similarity", pa.float64()),
    ]
)
"""What is dropped, sorted by document number; similarity is null for an exact copy."""

_PAIRS_SCHEMA = pa.schema([("earlier", pa.int64()), ("later", pa.int64()), ("exact", pa.bool_())])
_NEAR_SCHEMA = pa.schema([("earlier", pa.int64()), ("later", pa.int64()), ("similarity", pa.float64())])


@dataclass(frozen=True)
class _Comparison:
    """Candidate pairs whose later document is in shard `name`."""

    name: str
    candidates: I64


def find_duplicates(
    names: Sequence[str],
    work: Path,
    n_partitions: int,
    config: CurationConfig,
    context: Context,
    exclude: I64 | None = None,
) -> None:
    """Leaves `work/drops.parquet` (`DROPS_SCHEMA`): the duplicates among the documents of all shards.

    The documents `exclude` are dropped for another reason: no other is a duplicate of them.
    """
    if (work / "drops.parquet").exists():
        return
    missing = [number for number in range(n_partitions) if not _pairs_path(work, number).exists()]
    for _ in map_shards(partial(_reduce, names=names, work=work), missing, context, name="find duplicates"):
        pass
    pairs = Pairs.join([_read_pairs(_pairs_path(work, number)) for number in range(n_partitions)])
    if exclude is not None and len(exclude):
        pairs = Pairs(exact=_without(pairs.exact, exclude), candidates=_without(pairs.candidates, exclude))
    exact = pairs.exact
    comparisons = _by_shard(pairs.candidates, names)
    todo = [task for task in comparisons if not _near_path(work, task.name).exists()]
    for _ in map_shards(partial(_compare, work=work, config=config), todo, context, name="compare"):
        pass
    near = [pq.read_table(_near_path(work, task.name)) for task in comparisons]
    rows = [(row["earlier"], row["later"], row["similarity"]) for table in near for row in table.to_pylist()]
    _write_drops(choose(exact, rows), work)


def _without(pairs: I64, documents: I64) -> I64:
    return pairs[~np.isin(pairs, documents).any(axis=1)]


def dropped_documents(work: Path, name: str) -> pa.Table:
    """Returns the rows of `drops.parquet` that concern a shard."""
    first = first_document(name)
    last = first + (1 << ROW_BITS)
    return pq.read_table(work / "drops.parquet", filters=[("document", ">=", first), ("document", "<", last)])


def _pairs_path(work: Path, partition: int) -> Path:
    return work / "pairs" / f"{partition:05d}.parquet"


def _near_path(work: Path, name: str) -> Path:
    return work / "near" / f"{name}.parquet"


def _reduce(partition: int, *, names: Sequence[str], work: Path) -> None:
    batches: list[pa.RecordBatch] = []
    for name in names:
        with pa.memory_map(str(work / "sketches" / f"{name}.arrow")) as file:
            batches.append(pa.ipc.open_file(file).get_batch(partition))
    pairs = find_pairs(pa.Table.from_batches(batches, schema=SKETCH_SCHEMA))
    both = np.concatenate([pairs.exact, pairs.candidates])
    exact = np.arange(len(both)) < len(pairs.exact)
    table = pa.table({"earlier": both[:, 0], "later": both[:, 1], "exact": exact}, schema=_PAIRS_SCHEMA)
    storage.write_table(_pairs_path(work, partition), table)


def _read_pairs(path: Path) -> Pairs:
    table = pq.read_table(path)
    both = np.stack([table["earlier"].to_numpy(), table["later"].to_numpy()], axis=1)
    exact = table["exact"].to_numpy()
    return Pairs(exact=both[exact], candidates=both[~exact])


def _by_shard(candidates: I64, names: Sequence[str]) -> list[_Comparison]:
    shard_of_later = candidates[:, 1] >> ROW_BITS
    by_number = {first_document(name) >> ROW_BITS: name for name in names}
    return [
        _Comparison(by_number[int(number)], candidates[shard_of_later == number])
        for number in np.unique(shard_of_later)
    ]


def _compare(task: _Comparison, *, work: Path, config: CurationConfig) -> None:
    needed = np.unique(task.candidates)
    hashed = {
        document: shingles(str(row["text"]), config.shingle_words)
        for document, row in document_rows(needed.tolist(), work, ["text"])
    }
    found = resemblances(task.candidates, hashed, config.near_duplicate_threshold or 1.0)
    columns = list(zip(*found, strict=True)) if found else [(), (), ()]
    table = pa.table(dict(zip(_NEAR_SCHEMA.names, map(list, columns), strict=True)), schema=_NEAR_SCHEMA)
    storage.write_table(_near_path(work, task.name), table)


def _write_drops(dropped: dict[int, tuple[int, float | None]], work: Path) -> None:
    survivors = sorted({survivor for survivor, _ in dropped.values()})
    known = dict(document_rows(survivors, work, ["id", "source"]))
    rows = [
        {
            "document": document,
            "survivor_id": known[survivor]["id"],
            "survivor_source": known[survivor]["source"],
            "similarity": similarity,
        }
        for document, (survivor, similarity) in sorted(dropped.items())
    ]
    storage.write_table(work / "drops.parquet", pa.Table.from_pylist(rows, schema=DROPS_SCHEMA))


def document_rows(
    documents: Sequence[int], work: Path, columns: Sequence[str]
) -> Iterable[tuple[int, dict[str, object]]]:
    """Yields (number, row) of documents, reading of each shard only the row groups that hold some."""
    by_shard: dict[int, list[int]] = defaultdict(list)
    for document in documents:
        by_shard[document >> ROW_BITS].append(document)
    for number, wanted in sorted(by_shard.items()):
        first = number << ROW_BITS
        name = shard_name(number)
        with pq.ParquetFile(work / "documents" / f"{name}.parquet") as file:
            group_rows = storage.ROW_GROUP_ROWS
            by_group: dict[int, list[int]] = defaultdict(list)
            for document in wanted:
                by_group[(document - first) // group_rows].append(document)
            for group, members in sorted(by_group.items()):
                table = file.read_row_group(group, columns=list(columns))
                rows = [document - first - group * group_rows for document in members]
                yield from zip(members, table.take(rows).to_pylist(), strict=True)
