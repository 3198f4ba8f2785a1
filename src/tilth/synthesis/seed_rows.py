"""A dataset with something more in the `meta` of its rows, or with fewer rows: what choosing seeds comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tilth.identity import claim
from tilth.storage import MANIFEST, Dataset, finish_dataset, shard_name, write_table

MetaOf = Callable[[int], Mapping[str, object] | None]
"""Number of a row in the dataset -> what goes into its `meta`; None: the row is left out."""


def with_meta(dataset: Dataset, out: Path | str, meta_of: MetaOf, *, made_by: str, identity: object) -> Dataset:
    """Writes the rows of a dataset for which there is something to note, in their order, with all their columns.

    Memory: a shard's chosen rows. A killed call is begun anew by the same call.
    Raises: ConfigError if `out` holds something else.
    """
    out = Path(out)
    there = [name.name for name in (*out.glob("*.parquet"), out / MANIFEST) if name.exists()]
    if claim(out, identity, kind="dataset", outputs=there):
        for name in there:
            (out / name).unlink()
    first, names = 0, list[str]()
    for shard in range(len(dataset.shards)):
        chosen: list[pa.RecordBatch] = []
        for batch in dataset.batches(shard):
            chosen.append(_noted(batch, first, meta_of))
            first += batch.num_rows
        table = pa.Table.from_batches(chosen)
        if table.num_rows:
            names.append(shard_name(len(names)))
            write_table(out / names[-1], table)
    return finish_dataset(out, shards=names, made_by=made_by, parents=(dataset.fingerprint,))


def _noted(batch: pa.RecordBatch, first: int, meta_of: MetaOf) -> pa.RecordBatch:
    notes = [meta_of(first + row) for row in range(batch.num_rows)]
    kept = [row for row, note in enumerate(notes) if note is not None]
    taken = batch.take(pa.array(kept, pa.int64()))
    before: list[Any] = taken.column("meta").to_pylist() if "meta" in taken.schema.names else [None] * len(kept)
    meta = [
        json.dumps((json.loads(old) if old else {}) | dict(notes[row] or {}), ensure_ascii=False, sort_keys=True)
        for row, old in zip(kept, before, strict=True)
    ]
    column = pa.array(meta, pa.string())
    if "meta" not in taken.schema.names:
        return taken.append_column("meta", column)
    return taken.set_column(taken.schema.get_field_index("meta"), "meta", column)
