"""The last pass: duplicates out, the rest into `train/` and `held_out/`, one output shard for each intermediate one.

A document is held out if the hash of its group is below a threshold. A group is a document (with all parts of its text
file), a file or a site; its key is the hash of the content as read, the file's name within the corpus, or the URL's
host, and depends on neither order nor machine. So a corpus that grows never moves a document across, as long as the
threshold stays. Near duplicates are not one group: of two that fall on different sides, the first in order is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.config import CurationConfig
from tilth.curation.global_dedup import dropped_documents
from tilth.curation.operators import REJECTS, Drop, Row, kind, reject_row, row_bytes
from tilth.curation.read_result import GROUP, LINEAGE
from tilth.curation.result import Split
from tilth.curation.tally import Tally
from tilth.curation.task import first_document
from tilth.files import write_json
from tilth.types import extend_lineage

SPLITS = ("train", "held_out")
_SCALE = 1 << 53
"""Hashes have 53 bits, so that a float holds each of them, as a share of the hash space, exactly."""


def share(group: str, seed: int) -> float:
    """Returns the hash of a group as a share of the hash space, in 0..1."""
    digest = hashlib.blake2b(f"{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / _SCALE


def is_held_out(row: Row, split: Split) -> bool:
    """Tells on which side a document is."""
    return share(group_of(row, split.by), split.seed) < split.threshold


def group_of(row: Row, by: str) -> str:
    """Returns the key of a document's group."""
    if by == "site" and row.get("url"):
        try:
            host = urlsplit(str(row["url"])).hostname
        except ValueError:
            host = None
        if host:
            return host.lower()
    return str(row[GROUP])


def make_split(names: Sequence[str], work: Path, config: CurationConfig) -> tuple[Split, str]:
    """Returns the split of a corpus, and a line for the user where the threshold was raised (else "").

    The threshold is `held_out_fraction`, whatever the size of the corpus. Only if nothing is below it, and there are
    two groups to divide, is it raised so that one group is held out.
    """
    fraction, by, seed = config.held_out_fraction, config.held_out_by, config.seed
    split = Split(by=by, threshold=fraction, seed=seed)
    if fraction == 0:
        return split, ""
    lowest, n_groups = 1.0, set[float]()
    for row, drop in _all_rows(names, work, [GROUP, "url"]):
        if drop is None:
            value = share(group_of(row, by), seed)
            lowest = min(lowest, value)
            if lowest < fraction:
                return split, ""
            if len(n_groups) < 2:
                n_groups.add(value)
    if len(n_groups) < 2:
        return split, ""
    threshold = lowest + 1 / _SCALE
    line = (
        f"No {by} falls below the held-out fraction of {fraction:g} in so small a corpus: the one with the lowest hash "
        f"is held out. `--held-out-fraction {threshold!r}` keeps it held out when the corpus grows."
    )
    return Split(by=by, threshold=threshold, seed=seed), line


@dataclass(frozen=True, kw_only=True)
class OutputShard:
    """An intermediate shard, and the number of the output shards that it becomes."""

    index: int
    name: str

    @property
    def file(self) -> str:
        """Name of its files in the datasets, and in the tables of rejects and dead letters."""
        return storage.shard_name(self.index)


def write_shard(
    task: OutputShard, *, work: Path, out: Path, split: Split, schema: pa.Schema, operators: Sequence[str]
) -> None:
    """Writes the output shards of an intermediate one, and last its record with the counts."""
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    rejects: list[Row] = []
    tally = Tally()
    kept_bytes = all_bytes = 0
    for row, drop in _rows(task.name, work):
        size = row_bytes(row)
        all_bytes += size
        if drop is not None:
            rejects.append(reject_row(row, "dedup", drop))
            continue
        kept_bytes += size
        side = "held_out" if is_held_out(row, split) else "train"
        lineage = extend_lineage(
            cast("str | None", row[LINEAGE]), stage="curate", operators=list(operators), split=side
        )
        splits[side].append(dict(row) | {LINEAGE: lineage})
        tally.kinds["code" if kind(row) == "code" else "prose"] += 1
        if row["language"]:
            tally.languages[str(row["language"])] += 1
    n_kept = sum(map(len, splits.values()))
    tally.add("dedup", n_kept + len(rejects), n_kept, all_bytes, kept_bytes)
    stored = pa.schema([field for field in schema if field.name != GROUP])
    written = [side for side, rows in splits.items() if rows]
    for side, rows in splits.items():
        _write(out / side / task.file, pa.Table.from_pylist(rows, schema=stored))
    earlier = pq.read_table(work / "rejects" / f"{task.name}.parquet")
    _write(out / "rejects" / task.file, pa.concat_tables([earlier, pa.Table.from_pylist(rejects, schema=REJECTS)]))
    _write(out / "dead_letters" / task.file, pq.read_table(work / "dead_letters" / f"{task.name}.parquet"))
    write_json(work / "final" / f"{task.name}.json", tally.row() | {"splits": written})


def _write(path: Path, table: pa.Table) -> None:
    if table.num_rows:
        storage.write_table(path, table)


def _all_rows(names: Sequence[str], work: Path, columns: Sequence[str]) -> Iterator[tuple[Row, Drop | None]]:
    for name in names:
        yield from _rows(name, work, columns)


def _rows(name: str, work: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[Row, Drop | None]]:
    """Yields the documents of a shard, with the verdict on those that are duplicates."""
    drops = {int(row["document"]): row for row in dropped_documents(work, name).to_pylist()}
    number = first_document(name)
    with pq.ParquetFile(work / "documents" / f"{name}.parquet") as file:
        for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS, columns=columns and list(columns)):
            for row in cast("list[Row]", batch.to_pylist()):
                yield row, _verdict(drops[number]) if number in drops else None
                number += 1


def _verdict(row: Mapping[str, object]) -> Drop:
    survivor = f"{row['survivor_id']} ({row['survivor_source']})"
    if row["similarity"] is None:
        return Drop("exact_duplicate", f"of {survivor}")
    return Drop("near_duplicate", f"of {survivor}, Jaccard similarity {row['similarity']:.2f}")
