"""The texts that an assay reads: opened, cut to a size, and rid of what holds held-out text.

Documents are taken in the order of their ids, which is random and stable, until `max_bytes` are full: so memory is
bounded however large the dataset is, and the same documents are read each time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from tilth.assay.result import TextSize
from tilth.curation.config import CurationConfig
from tilth.curation.decontamination import SAVED, EvaluationIndex
from tilth.curation.evaluation_sets import Item
from tilth.curation.inputs import input_files
from tilth.curation.read import read_file
from tilth.curation.read_result import DeadLetter, Read
from tilth.errors import DataError
from tilth.paths import is_url
from tilth.results import read_result, write_result
from tilth.storage import MANIFEST, Dataset, finish_dataset, shard_name, write_table
from tilth.training.held_out import held_out_excerpt
from tilth.types import DOCUMENT_SCHEMA, Document

Texts = Dataset | Path | str
"""A dataset, its folder, or files that hold texts: JSON lines, Parquet, CSV, plain text; a folder of them."""
SYNTHESIZED = "synthesize"
"""Stage of the entry of a lineage that names the seed document."""
_SHARD_BYTES = 16 << 20
_SIZES = "sizes.json"
_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("lineage", pa.string()))


def open_texts(texts: Texts, work: Path) -> Dataset:
    """Opens a dataset; files are read into one first, in the folder `work`.

    Raises: DataError if there is no text, or a web page whose text would have to be extracted.
    """
    if isinstance(texts, Dataset):
        found = texts
    elif is_url(texts) or (Path(texts) / MANIFEST).is_file():
        found = Dataset.open(texts)
    elif Path(texts).is_dir() and (inside := sorted(Path(texts).glob(f"*/{MANIFEST}"))):
        raise DataError(
            f"{texts} is no dataset, but holds some.", fix=f"Give {' or '.join(str(path.parent) for path in inside)}."
        )
    else:
        found = _read_files(texts, work)
    if not found.n_bytes:
        raise DataError(f"{found.folder} holds no text.", fix="Give a dataset with text.")
    return found


def _read_files(texts: Path | str, work: Path) -> Dataset:
    if (work / MANIFEST).is_file():
        return Dataset.open(work)
    shutil.rmtree(work, ignore_errors=True)
    names: list[str] = []
    rows: list[Mapping[str, object]] = []
    size = 0
    for row in _rows(texts):
        rows.append(row)
        size += len(str(row["text"]))
        if size >= _SHARD_BYTES:
            names.append(_write(work, len(names), rows))
            rows, size = [], 0
    if rows:
        names.append(_write(work, len(names), rows))
    if not names:
        raise DataError(f"No text was found in {texts}.", fix="Give JSON lines, Parquet, CSV or text files.")
    return finish_dataset(work, shards=names, made_by="assay")


def _rows(texts: Path | str) -> Iterator[Mapping[str, object]]:
    config = CurationConfig()
    for file in input_files(texts):
        for result in read_file(file, config):
            if isinstance(result, DeadLetter):
                raise DataError(f"{file.path} cannot be read: {result.row.get('error')}.", fix="Repair or remove it.")
            if isinstance(result, Read):
                if result.row.get("html") is not None:
                    raise DataError(
                        f"{file.path} holds web pages, whose text is to be extracted first.",
                        fix=f"`tilth curate {texts} --out FOLDER` does that; then give FOLDER/train.",
                    )
                yield result.row


def _write(folder: Path, number: int, rows: list[Mapping[str, object]]) -> str:
    name = shard_name(number)
    wanted = [{field: row.get(field) for field in _SCHEMA.names} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / name, pa.Table.from_pylist(wanted, schema=_SCHEMA))
    return name


# What is measured of them


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The documents of a dataset that are measured, as a dataset of their own."""

    size: TextSize
    contaminated: int
    """Documents left out because they hold text of the held-out set."""
    folder: str

    @property
    def dataset(self) -> Dataset:
        """Opens it."""
        return Dataset.open(self.folder)

    def documents(self, max_bytes: int | None = None) -> list[Document]:
        """Returns the documents in the order of their ids, until they hold `max_bytes`."""
        return held_out_excerpt(self.dataset.documents(), max_bytes or self.size.measured_bytes)

    def texts(self, max_bytes: int | None = None) -> list[str]:
        """Returns their texts."""
        return [document.text for document in self.documents(max_bytes)]


def excerpt(
    name: str,
    dataset: Dataset,
    folder: Path,
    max_bytes: int,
    *,
    without: EvaluationIndex | None = None,
    first: Collection[str] = (),
) -> Excerpt:
    """Writes the excerpt of a dataset, or returns the one that is there; `without`: of the held-out text.

    `first`: ids of documents that come before all others.
    Raises: DataError if no text is left.
    """
    if (folder / _SIZES).is_file():
        return replace(read_result(Excerpt, folder / _SIZES), folder=str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    chosen = _chosen(dataset, max_bytes, first)
    kept = chosen if without is None else [d for d in chosen if without.find(d.text) is None]
    if not kept:
        raise DataError(
            f"All {len(chosen):,} documents that were read of the {name} hold text of the held-out set.",
            fix="Give held-out text that is in neither the dataset nor its source.",
        )
    lineages = lineages_of(dataset, {document.id for document in kept})
    rows: list[Mapping[str, object]] = [{**d.row(), "lineage": lineages.get(d.id)} for d in kept]
    written = finish_dataset(folder, shards=[_write(folder, 0, rows)], made_by="assay", parents=(dataset.fingerprint,))
    size = TextSize(
        name=name,
        documents=dataset.n_documents,
        bytes=dataset.n_bytes,
        measured_documents=written.n_documents,
        measured_bytes=written.n_bytes,
        fingerprint=dataset.fingerprint,
    )
    found = Excerpt(size=size, contaminated=len(chosen) - len(kept), folder="")
    write_result(folder / _SIZES, found)
    return replace(found, folder=str(folder))


def _chosen(dataset: Dataset, max_bytes: int, first: Collection[str]) -> list[Document]:
    if not first:
        return held_out_excerpt(dataset.documents(), max_bytes)
    named = held_out_excerpt((one for one in dataset.documents() if one.id in first), max_bytes)
    room = max_bytes - sum(len(one.text.encode("utf-8", "surrogatepass")) for one in named)
    others = any(one.text and one.id not in first for one in dataset.documents())
    if room <= 0 or not others:
        return named
    return [*named, *held_out_excerpt((one for one in dataset.documents() if one.id not in first), room)]


def held_out_index(documents: list[Document], folder: Path) -> EvaluationIndex:
    """Returns the index of held-out documents that finds their text in others; kept in `folder`."""
    if not (folder / SAVED).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        EvaluationIndex(Item(name=document.id, prompts=(document.text,)) for document in documents).save(folder)
    return EvaluationIndex.load(folder)


def lineages_of(dataset: Dataset, ids: set[str]) -> dict[str, str]:
    """Returns the `lineage` column of some documents: id -> JSON; nothing where there is no such column."""
    found: dict[str, str] = {}
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard):
            if "lineage" not in batch.schema.names:
                break
            for identifier, lineage in zip(
                batch.column("id").to_pylist(), batch.column("lineage").to_pylist(), strict=True
            ):
                if lineage is not None and identifier in ids:
                    found[str(identifier)] = str(lineage)
    return found


@dataclass(frozen=True, kw_only=True)
class Seed:
    """The document that a sample was made from, and the part of it."""

    id: str
    span: tuple[int, int] | None = None
    """In bytes; None: all of it."""


def seed_of(lineage: str) -> Seed | None:
    """Returns the seed document that the latest synthesis of a lineage names; None if it was not synthesised."""
    for entry in reversed(lineage_entries(lineage)):
        if entry.get("stage") == SYNTHESIZED and entry.get("source_id"):
            return Seed(id=str(entry["source_id"]), span=_span(entry.get("span")))
    return None


def lineage_entries(lineage: str) -> list[dict[str, Any]]:
    """Returns the entries of a lineage, the oldest first. Raises: DataError for what is no JSON list of objects."""
    try:
        entries = json.loads(lineage)
    except (ValueError, RecursionError):
        entries = None
    if isinstance(entries, list):
        found = cast("list[Any]", entries)
        if all(isinstance(entry, dict) for entry in found):
            return found
    raise DataError(
        f"A `lineage` is no JSON list of objects: {lineage[:80]!r}.",
        fix="Repair the column `lineage`, or leave it out.",
    )


def _span(value: object) -> tuple[int, int] | None:
    match value:
        case None:
            return None
        case [int(first), int(last)]:
            return first, last
        case _:
            raise DataError(
                f"The `span` in a `lineage` is {value!r}, not two numbers.",
                fix="Repair the column `lineage`, or leave it out.",
            )


def texts_of(dataset: Dataset, ids: set[str]) -> dict[str, str]:
    """Returns the texts of some documents, in one pass over a dataset: id -> text."""
    found: dict[str, str] = {}
    for shard in range(len(dataset.shards)):
        for batch in dataset.batches(shard, ["id", "text"]):
            for number, identifier in enumerate(batch.column("id").to_pylist()):
                if identifier in ids:
                    found[str(identifier)] = str(batch.column("text")[number].as_py())
    return found
