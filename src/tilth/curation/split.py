"""The last pass: duplicates out, the rest into `train/` and `held_out/`, one output shard for each part.

What is held out is decided by a hash of the file's name, so that no file stands on both sides, and a corpus that
grows keeps its held-out files. A corpus of few files is split by document instead, and something is held out however
small it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.global_dedup import dropped_documents
from tilth.curation.ledger import REJECTS, Drop, Row, Tally, reject_row, row_bytes
from tilth.curation.read import is_read
from tilth.curation.unit import first_document
from tilth.files import InputFile, write_json
from tilth.types import DOCUMENT_SCHEMA, Document

FEW_FILES_HELD_OUT = 10
"""By file only where that many are expected to be held out; else chance would decide how much."""
_FEW_DOCUMENTS_HELD_OUT = 100
_SCALE = 1 << 64


@dataclass(frozen=True)
class SplitRule:
    """Holds out a document if the hash of its key lies below a limit."""

    by_file: bool
    limit: int
    """Of 2^64."""
    seed: int

    def place(self, source: str) -> int:
        """Returns where in 0..2^64 the key of a document lies: its file's name, or its whole source."""
        key = source.split("#", 1)[0] if self.by_file else source
        return int.from_bytes(hashlib.blake2b(f"{self.seed}\0{key}".encode(), digest_size=8).digest(), "big")


def split_rule(names: Sequence[str], work: Path, files: Sequence[InputFile], config: CurationConfig) -> SplitRule:
    """Returns the rule for a corpus: at least one document is held out where there are two to divide."""
    fraction = config.held_out_fraction
    n_files = sum(is_read(file.name) for file in files)
    by_file = n_files * fraction >= FEW_FILES_HELD_OUT
    rule = SplitRule(by_file, int(fraction * _SCALE), config.seed)
    n_documents = sum(pq.read_metadata(work / "documents" / f"{name}.parquet").num_rows for name in names)
    if fraction == 0 or n_documents * fraction >= _FEW_DOCUMENTS_HELD_OUT:
        return rule
    places = sorted(
        {rule.place(str(row["source"])) for name in names for row, drop in _rows(name, work) if drop is None}
    )
    if len(places) < 2 or places[0] < rule.limit < places[-1]:
        return rule
    return SplitRule(by_file, max(rule.limit, places[0] + 1) if places[0] >= rule.limit else places[-1], config.seed)


def write_part(task: tuple[int, str], *, work: Path, out: Path, rule: SplitRule) -> None:
    """Writes the output shards of part `(place in the order, name)`, and last its mark with the counts."""
    place, name = task
    shard = storage.shard_name(place)
    splits: dict[str, list[Row]] = {"train": [], "held_out": []}
    rejects: list[Row] = []
    tally = Tally()
    kept_bytes = all_bytes = 0
    for row, drop in _rows(name, work):
        size = row_bytes(row)
        all_bytes += size
        if drop is not None:
            rejects.append(reject_row(row, "dedup", drop))
            continue
        kept_bytes += size
        splits["held_out" if rule.place(str(row["source"])) < rule.limit else "train"].append(row)
        document = Document.from_row(row)
        tally.kinds[str(document.meta.get("kind"))] += 1
        if document.language:
            tally.languages[document.language] += 1
    n_kept = sum(map(len, splits.values()))
    tally.add("dedup", n_kept + len(rejects), n_kept, all_bytes, kept_bytes)
    for split, rows in splits.items():
        _write(out / split / shard, pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA))
    earlier = pq.read_table(work / "rejects" / f"{name}.parquet")
    _write(out / "rejects" / shard, pa.concat_tables([earlier, pa.Table.from_pylist(rejects, schema=REJECTS)]))
    _write(out / "dead_letters" / shard, pq.read_table(work / "dead_letters" / f"{name}.parquet"))
    write_json(work / "final" / f"{name}.json", tally.row())


def _write(path: Path, table: pa.Table) -> None:
    if table.num_rows:
        storage.write_table(path, table)


def _rows(name: str, work: Path) -> Iterator[tuple[Row, Drop | None]]:
    """Yields the documents of a part, with the verdict on those that are duplicates."""
    drops = {int(row["document"]): row for row in dropped_documents(work, name).to_pylist()}
    number = first_document(name)
    with pq.ParquetFile(work / "documents" / f"{name}.parquet") as file:
        for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS):
            for row in cast("list[Row]", batch.to_pylist()):
                yield row, _verdict(drops[number]) if number in drops else None
                number += 1


def _verdict(row: Mapping[str, object]) -> Drop:
    survivor = f"{row['survivor_id']} ({row['survivor_source']})"
    if row["similarity"] is None:
        return Drop("exact_duplicate", f"of {survivor}")
    return Drop("near_duplicate", f"of {survivor}, Jaccard similarity {row['similarity']:.2f}")
