"""Dropped documents for the page: all of a small corpus, of a large one a sample that has some of every reason.

The sample is that of the lowest hashes of the documents' ids, so it is the same for the same corpus, whatever the order
of its files.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import Any, cast

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
        for row, one in enumerate(_rows(path, ("id", "stage", "reason"))):
            key = _key(one)
            counts[key] += 1
            ranked = lowest.setdefault(key, [])
            ranked.append((zlib.crc32(_text(one.get("id")).encode("utf-8", "replace")), file, row))
            if len(ranked) >= 2 * most:  # so that memory stays small
                lowest[key] = nsmallest(most, ranked)
    chosen: dict[int, set[int]] = {}
    for key, number in shares(counts, most).items():
        for _, file, row in nsmallest(number, lowest[key]):
            chosen.setdefault(file, set()).add(row)
    documents = [
        _document(one)
        for file, rows in chosen.items()
        for row, one in enumerate(_rows(paths[file], _COLUMNS))
        if row in rows
    ]
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
    return Drops(total=sum(reject.documents for reject in ledger.rejects), documents=_sorted(documents))


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


def _key(row: Mapping[str, Any]) -> Key:
    return _text(row["stage"]), _text(row["reason"])


def _document(row: Mapping[str, Any]) -> DroppedDocument:
    stage, reason = _key(row)
    return DroppedDocument(
        source=_text(row.get("source")),
        stage=stage,
        reason=reason,
        detail=_text(row.get("detail")) or _measured(row.get("measure"), row.get("limit")),
        excerpt=_text(row.get("excerpt")),
        bytes=int(row.get("bytes") or 0),
        id=_text(row.get("id")),
        corpus=_text(row.get("corpus")),
    )


def _measured(measure: float | None, limit: float | None) -> str:
    if measure is None:
        return ""
    return f"{measure:.4g}" if limit is None else f"{measure:.4g} {'>' if measure > limit else '<'} {limit:.4g}"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _rows(path: Path, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file with those of the columns that it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            missing = {"stage", "reason"} - there
            if missing:
                raise DataError(f"{path} has no column `{min(missing)}`.", fix="Curate again into a new folder.")
            for batch in file.iter_batches(batch_size=_ROWS, columns=[name for name in columns if name in there]):
                yield from cast("list[dict[str, Any]]", batch.to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", fix="Curate again into a new folder.") from error
