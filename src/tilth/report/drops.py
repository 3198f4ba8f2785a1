"""Dropped documents for the page: all of a small corpus, of a large one a sample that has some of every reason.

The sample is that of the lowest hashes of the documents' ids, so it is the same for the same corpus, whatever the order
of its files.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any

from tilth.curation.result import Ledger
from tilth.errors import DataError

MOST_DOCUMENTS = 2000
"""Dropped documents in a page at most."""
LEAST_OF_A_REASON = 50
"""So many of each reason are in the sample, where there are as many."""
REJECTS = "rejects"
_ROWS = 4096
_COLUMNS = ("id", "corpus", "source", "stage", "reason", "detail", "measure", "limit", "excerpt", "bytes")

Key = tuple[str, str]
"""Stage and reason."""
_Ranked = tuple[int, int, int]
"""Hash of the id, number of the file, number of the row."""


@dataclass(frozen=True, kw_only=True)
class DroppedDocument:
    """One document that was dropped."""

    source: str
    stage: str
    reason: str
    detail: str = ""
    """What the rule measured, beside its limit."""
    excerpt: str = ""
    bytes: int = 0
    id: str = ""
    corpus: str = ""


@dataclass(frozen=True, kw_only=True)
class Drops:
    """The documents that a curation dropped, or a sample of them."""

    total: int
    documents: tuple[DroppedDocument, ...]
    """By stage, reason and source."""
    only_examples: bool = False
    """They are those that the ledger names, not a sample of all."""


def read_drops(folder: Path, *, most: int = MOST_DOCUMENTS) -> Drops | None:
    """Reads the rejects of a curation; None where it left none.

    Raises: DataError naming a file that is no Parquet or lacks the columns `stage` and `reason`.
    """
    paths = sorted((folder / REJECTS).glob("*.parquet"))
    if not paths:
        return None
    counts = Counter[Key]()
    lowest: dict[Key, list[_Ranked]] = {}
    for file, path in enumerate(paths):
        for row, (id_, *key) in enumerate(_rows(path, ("id", "stage", "reason"))):
            stage, reason = map(_text, key)
            counts[stage, reason] += 1
            ranked = lowest.setdefault((stage, reason), [])
            ranked.append((zlib.crc32(_text(id_).encode("utf-8", "replace")), file, row))
            if len(ranked) >= 2 * most:  # so that memory stays small
                lowest[stage, reason] = nsmallest(most, ranked)
    chosen: dict[int, list[int]] = {}
    for key, number in shares(counts, most).items():
        for _, file, row in nsmallest(number, lowest[key]):
            chosen.setdefault(file, []).append(row)
    documents = [_document(*row) for file, rows in chosen.items() for row in _rows(paths[file], _COLUMNS, sorted(rows))]
    return Drops(total=counts.total(), documents=_sorted(documents))


def drops_of(ledger: Ledger) -> Drops:
    """Returns the examples in a ledger, where the rejects themselves are not at hand."""
    documents = [
        DroppedDocument(
            source=example.source,
            stage=reject.stage,
            reason=reject.reason,
            detail=example.detail,
            excerpt=example.excerpt,
        )
        for reject in ledger.rejects
        for example in reject.examples
    ]
    total = sum(reject.documents for reject in ledger.rejects)
    return Drops(total=total, documents=_sorted(documents), only_examples=True)


def shares(counts: Mapping[Key, int], most: int) -> dict[Key, int]:
    """Returns how many of each reason a sample of `most` holds: a guaranteed number, the rest in proportion."""
    if sum(counts.values()) <= most:
        return dict(counts)
    least = max(1, min(LEAST_OF_A_REASON, most // len(counts)))
    sure = Counter({key: min(count, least) for key, count in counts.items()})
    others = sum(counts.values()) - sure.total()
    spare = max(0, most - sure.total())
    return {key: sure[key] + spare * (count - sure[key]) // others for key, count in counts.items()}


def _sorted(documents: Iterable[DroppedDocument]) -> tuple[DroppedDocument, ...]:
    return tuple(sorted(documents, key=lambda one: (one.stage, one.reason, one.source, one.id, one.excerpt)))


def _document(
    id_: object,
    corpus: object,
    source: object,
    stage: object,
    reason: object,
    detail: object,
    measure: float | None,
    limit: float | None,
    excerpt: object,
    size: int | None,
) -> DroppedDocument:
    """From the columns in `_COLUMNS`."""
    return DroppedDocument(
        source=_text(source),
        stage=_text(stage),
        reason=_text(reason),
        detail=_text(detail) or _measured(measure, limit),
        excerpt=_text(excerpt),
        bytes=int(size or 0),
        id=_text(id_),
        corpus=_text(corpus),
    )


def _measured(measure: float | None, limit: float | None) -> str:
    if measure is None:
        return ""
    return f"{measure:.4g}" if limit is None else f"{measure:.4g} {'>' if measure > limit else '<'} {limit:.4g}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _rows(path: Path, columns: Sequence[str], rows: Sequence[int] | None = None) -> Iterator[tuple[Any, ...]]:
    """The values of the columns in each row, or in these rows; None in place of a column that the file lacks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = [name for name in columns if name in file.schema_arrow.names]
            missing = {"stage", "reason"} - set(there)
            if missing:
                raise DataError(f"{path} has no column `{min(missing)}`.", fix="Curate again into a new folder.")
            first = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=there):
                size = batch.num_rows
                if rows is not None:
                    inside = rows[bisect_left(rows, first) : bisect_left(rows, first + size)]
                    batch = batch.take(pa.array([row - first for row in inside], pa.int64()))
                empty = [None] * batch.num_rows
                yield from zip(
                    *(batch.column(name).to_pylist() if name in there else empty for name in columns), strict=True
                )
                first += size
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", fix="Curate again into a new folder.") from error
