"""The documents that a run works on: those of a dataset or some of them, or numbered empty ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from typing import Any, cast

from tilth.errors import ConfigError, DataError
from tilth.storage import Dataset
from tilth.synthesis.define import Recipe
from tilth.types import DOCUMENT_SCHEMA, Document, document_id

NUMBERED_SHARD = 1000
"""Empty documents that make a shard, where there is no dataset."""
_LONGEST_VALUE = 10_000
"""Characters of a text in an extra column that travels along."""


@dataclass(frozen=True, kw_only=True)
class SeedDocument:
    """A document to work on, and where it is."""

    index: int
    """Its place among those that are worked on, from 0."""
    shard: int
    row: int
    """In its shard."""
    document: Document
    lineage: tuple[Mapping[str, object], ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    """Other columns that are numbers or short texts, such as `score_<name>`."""


@dataclass(frozen=True, kw_only=True)
class SourceDocuments:
    """The documents, shard by shard. It pickles."""

    dataset: Dataset | None
    counts: tuple[int, ...]
    """Documents of each shard that are worked on."""
    chosen: Mapping[int, frozenset[int]] | None = None
    """Shard -> rows; None: all."""

    @classmethod
    def choose(cls, dataset: Dataset | None, n: int | None, recipe: Recipe) -> SourceDocuments:
        """Returns the documents of a run: all, or the `n` with the lowest hashes of their ids.

        Raises: ConfigError where a recipe has no documents to work on; DataError for an empty dataset.
        """
        if dataset is None:
            return cls._numbered(n, recipe)
        if not dataset.n_documents:
            raise DataError(f"{dataset.folder} holds no document.", fix="Give a dataset with text.")
        if n is None or n >= dataset.n_documents:
            return cls(dataset=dataset, counts=tuple(shard.documents for shard in dataset.shards))
        lowest = nsmallest(n, _hashes(dataset))
        chosen = {shard: frozenset(row for _, of, row in lowest if of == shard) for shard in range(len(dataset.shards))}
        return cls(dataset=dataset, counts=tuple(len(rows) for rows in chosen.values()), chosen=chosen)

    @classmethod
    def _numbered(cls, n: int | None, recipe: Recipe) -> SourceDocuments:
        if recipe.needs_documents:
            raise ConfigError(
                f"The recipe `{recipe.name}` works on documents, and no dataset is given.",
                fix="Give the folder of a dataset; `tilth curate INPUT --out FOLDER` makes one from text.",
            )
        if n is None:
            raise ConfigError(
                f"The recipe `{recipe.name}` runs without documents: how many samples to draw is not said.",
                fix="Give `--documents N`.",
            )
        full, rest = divmod(n, NUMBERED_SHARD)
        return cls(dataset=None, counts=(*[NUMBERED_SHARD] * full, *([rest] if rest else [])))

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def n_shards(self) -> int:
        """Shards of the dataset, those without a chosen document too."""
        return len(self.counts)

    @property
    def fingerprint(self) -> str:
        """That of the dataset; empty where there is none."""
        return "" if self.dataset is None else self.dataset.fingerprint

    @property
    def folder(self) -> Path | str | None:
        """That of the dataset."""
        return None if self.dataset is None else self.dataset.folder

    def __iter__(self) -> Iterator[SeedDocument]:
        for shard in range(self.n_shards):
            yield from self.of_shard(shard)

    def of_shard(self, shard: int) -> Iterator[SeedDocument]:
        """Yields the documents of a shard, in order."""
        index = sum(self.counts[:shard])
        if self.dataset is None:
            for row in range(self.counts[shard]):
                yield _numbered_document(index + row, shard, row)
            return
        if not self.counts[shard]:
            return
        wanted = None if self.chosen is None else self.chosen[shard]
        for row, fields in enumerate(self._rows(shard)):
            if wanted is None or row in wanted:
                yield self._seed(fields, index, shard, row)
                index += 1

    def _seed(self, fields: Mapping[str, Any], index: int, shard: int, row: int) -> SeedDocument:
        for name, what, is_valid in _JSON_COLUMNS:
            if fields.get(name) and not is_valid(fields[name]):
                raise DataError(
                    f"{self.folder}: the column `{name}` of the document {fields['id']} is not {what}, as JSON.",
                    fix="Rename the column: in a dataset, this one has a meaning.",
                )
        extra = {
            name: value
            for name, value in fields.items()
            if name not in DOCUMENT_SCHEMA.names and name != "lineage" and _travels(value)
        }
        lineage = tuple(json.loads(fields["lineage"])) if fields.get("lineage") else ()
        document = Document.from_row(fields)
        return SeedDocument(index=index, shard=shard, row=row, document=document, lineage=lineage, extra=extra)

    def _rows(self, shard: int) -> Iterator[Mapping[str, Any]]:
        assert self.dataset is not None
        for batch in self.dataset.batches(shard):
            yield from batch.to_pylist()


def _hashes(dataset: Dataset) -> Iterator[tuple[bytes, int, int]]:
    for shard in range(len(dataset.shards)):
        row = 0
        for batch in dataset.batches(shard, ["id"]):
            for identifier in batch.column(0).to_pylist():
                yield hashlib.sha256(str(identifier).encode()).digest()[:16], shard, row
                row += 1


def _is_object(text: object) -> bool:
    return isinstance(_read(text), dict)


def _is_list_of_objects(text: object) -> bool:
    value = _read(text)
    return isinstance(value, list) and all(isinstance(one, dict) for one in cast("list[object]", value))


def _read(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


_JSON_COLUMNS = (("meta", "an object", _is_object), ("lineage", "a list of objects", _is_list_of_objects))


def _travels(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)  # else the samples' `meta`, where it ends up, would be no JSON
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= _LONGEST_VALUE)


def _numbered_document(number: int, shard: int, row: int) -> SeedDocument:
    identifier = document_id("number", str(number))
    document = Document(id=identifier, text="", source=f"{number:08d}")
    return SeedDocument(index=number, shard=shard, row=row, document=document)
