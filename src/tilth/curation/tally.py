"""Counts of what passed each stage, kept in files beside the shards.

They are never only in memory, so that a run that was killed and resumed adds up to the same ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from tilth import storage
from tilth.curation.groups import share
from tilth.curation.result import DeadLetterNote, KeptExample, RejectCount, RejectExample, StageAmount

KEPT_EXAMPLES = 20
MOST_NOTES = 10
_COUNTERS = ("languages", "kinds", "code_languages", "language_bytes", "cut")


@dataclass
class Tally:
    """Documents and bytes through each stage, and what they were; adds up over shards."""

    stages: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Stage -> [documents in, documents out, bytes in, bytes out]."""
    languages: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    code_languages: Counter[str] = field(default_factory=Counter[str])
    language_bytes: Counter[str] = field(default_factory=Counter[str])
    """Language -> bytes of prose that passed the operators."""
    cut: Counter[str] = field(default_factory=Counter[str])
    """`files` that were cut, and the `documents` they became."""
    notes: list[str] = field(default_factory=list[str])
    """What the user should know about how files were read."""
    examples: list[KeptExample] = field(default_factory=list[KeptExample])
    """Of the kept documents those with the lowest hashes of their ids."""

    def add(self, stage: str, documents_in: int, documents_out: int, bytes_in: int, bytes_out: int) -> None:
        """Adds what passed a stage."""
        before = self.stages.get(stage, [0, 0, 0, 0])
        now = (documents_in, documents_out, bytes_in, bytes_out)
        self.stages[stage] = [a + b for a, b in zip(before, now, strict=True)]

    def merge(self, other: Mapping[str, Any]) -> None:
        """Adds a tally that was written by `row`."""
        for stage, counts in other["stages"].items():
            self.add(stage, *counts)
        for name in _COUNTERS:
            getattr(self, name).update(other[name])
        self.notes = [*self.notes, *other["notes"]][:MOST_NOTES]
        self.add_examples([KeptExample(**example) for example in other["examples"]])

    def add_examples(self, examples: Iterable[KeptExample]) -> None:
        """Takes those that are among the `KEPT_EXAMPLES` with the lowest hashes."""
        joined = [*self.examples, *examples]
        self.examples = sorted(joined, key=lambda example: (share(example.id, 0), example.source))[:KEPT_EXAMPLES]

    def row(self) -> dict[str, Any]:
        """Returns the tally as plain data for JSON."""
        counters = {name: dict(getattr(self, name)) for name in _COUNTERS}
        examples = [vars(example) for example in self.examples]
        return {"stages": self.stages, "notes": self.notes, "examples": examples} | counters

    def amounts(self, stages: Sequence[str]) -> tuple[StageAmount, ...]:
        """Returns the counts of the stages in their order."""
        rows = [(stage, self.stages.get(stage, [0, 0, 0, 0])) for stage in stages]
        return tuple(
            StageAmount(stage=stage, documents_in=a, documents_out=b, bytes_in=c, bytes_out=d)
            for stage, (a, b, c, d) in rows
        )


def collect_rejects(paths: Iterable[Path], stages: Sequence[str], n_examples: int = 10) -> tuple[RejectCount, ...]:
    """Counts reject files by stage and reason, in the order of the stages and then of size, with examples."""
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], list[RejectExample]] = {}
    for row in _rows(paths):
        key = str(row["stage"]), str(row["reason"])
        counts[key] += 1
        sizes[key] += int(row["bytes"])
        first = examples.setdefault(key, [])
        if len(first) < n_examples:
            first.append(RejectExample(**{name: row[name] or "" for name in ("source", "detail", "excerpt")}))
    order = {stage: index for index, stage in enumerate(stages)}
    keys = sorted(counts, key=lambda key: (order.get(key[0], len(order)), -counts[key], key[1]))
    return tuple(
        RejectCount(
            stage=stage,
            reason=reason,
            documents=counts[stage, reason],
            bytes=sizes[stage, reason],
            examples=tuple(examples[stage, reason]),
        )
        for stage, reason in keys
    )


def collect_dead_letters(paths: Iterable[Path], n_first: int = 20) -> tuple[int, tuple[DeadLetterNote, ...]]:
    """Returns how many dead letters the files hold, and the first ones."""
    count = 0
    first: list[DeadLetterNote] = []
    for row in _rows(paths):
        count += 1
        if len(first) < n_first:
            first.append(DeadLetterNote(**{name: row[name] or "" for name in ("stage", "source", "error")}))
    return count, tuple(first)


def count_dead_letters(paths: Iterable[Path], files: Collection[str]) -> tuple[int, int]:
    """Returns how many dead letters there are, and how many of them say that one of `files` could not be read on."""
    count = broken_off = 0
    for row in _rows(paths):
        count += 1
        broken_off += row["stage"] == "read" and row["source"] in files
    return count, broken_off


def most_frequent_error(paths: Iterable[Path]) -> tuple[str, int, str]:
    """Returns the error that most dead letters have, how many, and the source of the first of them."""
    counts: Counter[str] = Counter()
    sources: dict[str, str] = {}
    for row in _rows(paths):
        error = str(row["error"])
        counts[error] += 1
        sources.setdefault(error, str(row["source"]))
    ((error, count),) = counts.most_common(1)
    return error, count, sources[error]


def rejected_languages(paths: Iterable[Path]) -> Counter[str]:
    """Counts the languages of documents that were dropped as `other_language`."""
    details = (str(row["detail"]) for row in _rows(paths) if row["reason"] == "other_language")
    return Counter(detail.split()[0].rstrip(":") for detail in details if detail)


def typical_measure(paths: Iterable[Path], reason: str) -> float | None:
    """Returns the median measure of the documents that were dropped for a reason."""
    measures = sorted(row["measure"] for row in _rows(paths) if row["reason"] == reason and row["measure"] is not None)
    return measures[len(measures) // 2] if measures else None


def _rows(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=storage.ROW_GROUP_ROWS):
                yield from cast("list[dict[str, Any]]", batch.to_pylist())
