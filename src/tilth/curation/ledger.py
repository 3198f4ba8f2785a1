"""The book of what came in, what was dropped and why.

Operators judge one document at a time and say `Drop(reason, detail)`; `operate` runs them over Arrow batches, makes
the reject table, and turns an exception into a dead letter, so that one bad record never stops a shard. Counts are
kept in files beside the shards, never only in memory, so that a run that was killed and resumed adds up to the same
ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tilth import storage
from tilth.files import read_json, write_json
from tilth.types import DEAD_LETTER_SCHEMA, DOCUMENT_SCHEMA, REJECT_SCHEMA, Document, document_id

STAGES = ("read", "extract", "language", "rules", "dedup")
"""Stages in the order in which a document passes them."""
EXCERPT_CHARACTERS = 400
"""How much of a dropped document is kept for a person to judge the drop by."""
LEDGER = "ledger.json"

RAW_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("html", pa.large_binary()))
"""What the readers give: documents, or with `html` set pages whose text is yet to be extracted."""
REJECTS = REJECT_SCHEMA.append(pa.field("bytes", pa.int64(), nullable=False))
"""`tilth.types.REJECT_SCHEMA` and the size of what was dropped."""
DEAD_LETTERS = DEAD_LETTER_SCHEMA.append(pa.field("bytes", pa.int64(), nullable=False))
"""`tilth.types.DEAD_LETTER_SCHEMA` and the size of what was lost, where it is known."""

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Drop:
    """A judgement: the document goes, for a reason that a person can look up."""

    reason: str
    """A short name, the same for all documents that go for it (`too_few_words`)."""
    detail: str = ""
    """What was found in this one (`31 words`)."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an operator made of a batch."""

    kept: pa.RecordBatch
    """Rows of `DOCUMENT_SCHEMA`."""
    rejects: pa.Table
    """Rows of `REJECTS`."""
    dead_letters: pa.Table
    """Rows of `DEAD_LETTERS`."""


def operate(stage: str, judge: Callable[[Row], Document | Drop], batch: pa.RecordBatch) -> Outcome:
    """Judges each row of a batch: a document is kept, a `Drop` is rejected, an exception becomes a dead letter."""
    kept: list[Row] = []
    rejects: list[Row] = []
    dead_letters: list[Row] = []
    for row in batch.to_pylist():
        try:
            verdict = judge(row)
        except BaseException as error:
            if not is_broken_input(error):
                raise
            dead_letters.append(_note(row, stage) | {"error": describe(error)})
            continue
        if isinstance(verdict, Drop):
            rejects.append(_note(row, stage) | {"reason": verdict.reason, "detail": verdict.detail})
        else:
            kept.append(verdict.row())
    return Outcome(
        kept=pa.RecordBatch.from_pylist(kept, schema=DOCUMENT_SCHEMA),
        rejects=pa.Table.from_pylist(rejects, schema=REJECTS),
        dead_letters=pa.Table.from_pylist(dead_letters, schema=DEAD_LETTERS),
    )


def row_bytes(row: Row) -> int:
    """Returns the size of a raw or document row: bytes of its HTML, or of its text in UTF-8."""
    html = row.get("html")
    return len(html) if isinstance(html, bytes) else len(str(row["text"]).encode())


def reject_row(row: Row, stage: str, drop: Drop) -> Row:
    """Returns the row of `REJECTS` for a document row."""
    return _note(row, stage) | {"reason": drop.reason, "detail": drop.detail}


def file_reject(source: str, drop: Drop, *, size: int = 0, excerpt: str = "") -> Row:
    """Returns the row of `REJECTS` for a file or record that never became a document."""
    note = {"id": document_id(source, ""), "stage": "read", "source": source, "excerpt": excerpt[:EXCERPT_CHARACTERS]}
    return note | {"bytes": size, "reason": drop.reason, "detail": drop.detail}


def file_dead_letter(source: str, error: str, *, size: int = 0, excerpt: str = "") -> Row:
    """Returns the row of `DEAD_LETTERS` for a file or record that could not be read."""
    note = {"id": document_id(source, ""), "stage": "read", "source": source, "excerpt": excerpt[:EXCERPT_CHARACTERS]}
    return note | {"bytes": size, "error": error}


def is_broken_input(error: BaseException) -> bool:
    """Tells whether an error can come from a document: anything but the wish to stop.

    A panic of a parser that is written in Rust (fastwarc, resiliparse) arrives as a BaseException.
    """
    return not isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


def describe(error: BaseException) -> str:
    """Returns an error as one line that is the same on every machine (no absolute paths)."""
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _note(row: Row, stage: str) -> dict[str, object]:
    html = row.get("html")
    if isinstance(html, bytes):
        excerpt = html[:EXCERPT_CHARACTERS].decode("utf-8", "replace")
    else:
        excerpt = str(row["text"])[:EXCERPT_CHARACTERS]
    return {
        "id": row["id"],
        "stage": stage,
        "source": row["source"],
        "excerpt": excerpt,
        "bytes": row_bytes(row),
    }


@dataclass
class Tally:
    """Documents and bytes through each stage, and what languages and kinds they were; adds up over shards."""

    stages: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Stage -> [documents in, documents out, bytes in, bytes out]."""
    languages: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])

    def add(self, stage: str, documents_in: int, documents_out: int, bytes_in: int, bytes_out: int) -> None:
        """Adds what passed a stage."""
        before = self.stages.get(stage, [0, 0, 0, 0])
        now = (documents_in, documents_out, bytes_in, bytes_out)
        self.stages[stage] = [a + b for a, b in zip(before, now, strict=True)]

    def merge(self, other: Mapping[str, Any]) -> None:
        """Adds a tally that was written by `row`."""
        for stage, counts in other["stages"].items():
            self.add(stage, *counts)
        self.languages.update(other["languages"])
        self.kinds.update(other["kinds"])

    def row(self) -> dict[str, object]:
        """Returns the tally as plain data for JSON."""
        return {"stages": self.stages, "languages": dict(self.languages), "kinds": dict(self.kinds)}


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The account of a curation: `ledger.json`."""

    inputs: list[dict[str, Any]]
    """By file type: name, files, bytes."""
    stages: list[dict[str, Any]]
    """In order: stage, documents_in, documents_out, bytes_in, bytes_out."""
    drops: list[dict[str, Any]]
    """By stage and reason: documents, bytes, up to three examples."""
    dead_letters: list[dict[str, Any]]
    """The first twenty: stage, source, error."""
    n_dead_letters: int
    languages: dict[str, int]
    """Language -> prose documents that were found in it and kept."""
    kinds: dict[str, int]
    """`code` and `prose` -> documents kept."""
    train: dict[str, int]
    held_out: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Reads the ledger of a curated folder.

        Raises: DataError if it is not there.
        """
        return cls(**read_json(folder / LEDGER))

    def write(self, folder: Path) -> None:
        """Writes `ledger.json`."""
        write_json(folder / LEDGER, asdict(self))

    def table(self) -> list[tuple[str, str, int, int]]:
        """Returns rows to print, (stage, reason, documents, bytes): what came in, each drop, what was kept."""
        first = self.stages[0] if self.stages else {"documents_in": 0, "bytes_in": 0}
        rows = [("read", "found", int(first["documents_in"]), int(first["bytes_in"]))]
        rows += [(drop["stage"], drop["reason"], drop["documents"], drop["bytes"]) for drop in self.drops]
        if self.n_dead_letters:
            rows.append(("any", "dead letters", self.n_dead_letters, 0))
        rows.append(("kept", "train", self.train["documents"], self.train["bytes"]))
        rows.append(("kept", "held out", self.held_out["documents"], self.held_out["bytes"]))
        return rows


def collect_drops(paths: Iterable[Path], n_examples: int = 3) -> list[dict[str, Any]]:
    """Counts reject files by stage and reason, in the order of the stages and then of size, with examples."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _rows(paths):
        stage, reason = str(row["stage"]), str(row["reason"])
        entry = found.setdefault(
            (stage, reason), {"stage": stage, "reason": reason, "documents": 0, "bytes": 0, "examples": []}
        )
        entry["documents"] += 1
        entry["bytes"] += row["bytes"]
        if len(entry["examples"]) < n_examples:
            entry["examples"].append({name: row[name] or "" for name in ("source", "detail", "excerpt")})
    order = {stage: place for place, stage in enumerate(STAGES)}
    return sorted(
        found.values(), key=lambda entry: (order[entry["stage"]], -int(entry["documents"]), str(entry["reason"]))
    )


def collect_dead_letters(paths: Iterable[Path], n_first: int = 20) -> tuple[int, list[dict[str, Any]]]:
    """Returns how many dead letters the files hold, and the first ones."""
    count = 0
    first: list[dict[str, Any]] = []
    for row in _rows(paths):
        count += 1
        if len(first) < n_first:
            first.append({name: row[name] or "" for name in ("stage", "source", "error")})
    return count, first


def _rows(paths: Iterable[Path]) -> Iterable[dict[str, Any]]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS):
                yield from cast("list[dict[str, Any]]", batch.to_pylist())
