"""The last pass: drops out, the rest into `train/` and `held_out/`, one output shard for each intermediate one.

What is held out was chosen before (`held_out`): whole documents by the hashes of their groups, or ends of long ones.
Near duplicates are not one group: of two that fall on different sides, the first in order is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.code_languages import code_language
from tilth.curation.groups import group_of, share
from tilth.curation.held_out import HeldOut
from tilth.curation.operators import REJECTS, Row, corpus_of, kind, reject_row, row_bytes
from tilth.curation.read_result import GROUP, LINEAGE
from tilth.curation.result import KeptExample, Split
from tilth.curation.tally import KEPT_EXAMPLES, Tally
from tilth.curation.verdicts import LANGUAGES, Verdicts
from tilth.files import write_json
from tilth.types import document_id, extend_lineage

SPLITS = ("train", "held_out")
_EXCERPT_CHARACTERS = 400


def is_held_out(row: Row, split: Split) -> bool:
    """Tells on which side a document is, by the hash of its group."""
    return share(group_of(row, split.by), split.seed) < split.threshold


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
    task: OutputShard,
    *,
    verdicts: Verdicts,
    out: Path,
    held_out: HeldOut,
    schema: pa.Schema,
    operators: Sequence[str],
) -> None:
    """Writes the output shards of an intermediate one, and last its record with the counts."""
    work = verdicts.work
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    rejects: list[Row] = []
    tally = Tally()
    languages = verdicts.choice is not None
    for number, row, stage, drop in verdicts.rows(task.name):
        size = row_bytes(row)
        for name in (LANGUAGES, "dedup") if languages else ("dedup",):
            left = drop is None or name != stage
            tally.add(name, 1, left, size, size * left)
            if not left:
                break
        if drop is not None:
            rejects.append(reject_row(row, stage, drop))
            continue
        for side, piece in _sides(number, row, held_out, operators):
            splits[side].append(piece)
        _count(tally, row)
    for side, rows in splits.items():
        tally.add_examples(_examples(rows, side))
    stored = pa.schema([field for field in schema if field.name != GROUP])
    written = [side for side, rows in splits.items() if rows]
    for side, rows in splits.items():
        _write(out / side / task.file, pa.Table.from_pylist(rows, schema=stored))
    earlier = pq.read_table(work / "rejects" / f"{task.name}.parquet")
    _write(out / "rejects" / task.file, pa.concat_tables([earlier, pa.Table.from_pylist(rejects, schema=REJECTS)]))
    _write(out / "dead_letters" / task.file, pq.read_table(work / "dead_letters" / f"{task.name}.parquet"))
    write_json(work / "final" / f"{task.name}.json", tally.row() | {"splits": written})


def _sides(number: int, row: Row, held_out: HeldOut, operators: Sequence[str]) -> list[tuple[str, Row]]:
    """Returns a document with its side; one that is cut comes as two, with their byte ranges in the lineage."""
    lineage = cast("str | None", row[LINEAGE])
    position = held_out.cuts.get(number)
    if not position:
        side = "held_out" if position == 0 or is_held_out(row, held_out.split) else "train"
        entry = extend_lineage(lineage, stage="curate", operators=list(operators), split=side)
        return [(side, dict(row) | {LINEAGE: entry})]
    text = str(row["text"])
    cut, end = len(text[:position].encode()), len(text.encode())
    pieces: list[tuple[str, Row]] = []
    for side, piece, span in (("train", text[:position].rstrip(), [0, cut]), ("held_out", text[position:], [cut, end])):
        entry = extend_lineage(
            lineage, stage="curate", operators=list(operators), split=side, part_of=row["id"], bytes=span
        )
        pieces.append((side, dict(row) | {"id": document_id(corpus_of(row), piece), "text": piece, LINEAGE: entry}))
    return pieces


def _count(tally: Tally, row: Row) -> None:
    is_code = kind(row) == "code"
    tally.kinds["code" if is_code else "prose"] += 1
    if is_code:
        tally.code_languages[code_language(str(row["source"]))] += 1
    if row["language"]:
        tally.languages[str(row["language"])] += 1


def _examples(rows: Sequence[Row], side: str) -> list[KeptExample]:
    lowest = sorted(rows, key=lambda row: share(str(row["id"]), 0))[:KEPT_EXAMPLES]
    return [
        KeptExample(
            source=str(row["source"]),
            id=str(row["id"]),
            excerpt=str(row["text"])[:_EXCERPT_CHARACTERS],
            bytes=row_bytes(row),
            split=side,
            language=str(row["language"] or ""),
        )
        for row in lowest
    ]


def _write(path: Path, table: pa.Table) -> None:
    if table.num_rows:
        storage.write_table(path, table)
