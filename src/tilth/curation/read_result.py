"""What readers yield: documents and pages as rows, rejects and dead letters; and how they are made for one file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pyarrow as pa

from tilth.curation.config import CurationConfig
from tilth.curation.decoding import preview, printable
from tilth.curation.operators import Drop, Row, file_dead_letter, file_reject
from tilth.errors import DataError
from tilth.files import InputFile
from tilth.types import DOCUMENT_SCHEMA, Document, document_id, extend_lineage

GROUP = "_group"
"""Column that travels with a document until the split: what it is held out with (`CurationConfig.held_out_by`)."""
LINEAGE = "lineage"
SCORE = "score_"
MAX_NESTING = 32
"""Levels of lists and structs in a column; Arrow sends at most 64 between processes."""


@dataclass(frozen=True, slots=True)
class Read:
    """A document, or a page whose text is yet to be extracted."""

    row: dict[str, object]
    """`DOCUMENT_SCHEMA`, `lineage`, `GROUP`, `html` for a page, and the columns that came with it."""
    types: Mapping[str, pa.DataType] = field(default_factory=dict[str, pa.DataType])
    """Arrow types of the columns that came with it."""
    part: int = 0
    """Which part of a long text file it is, from 1; 0: a document by itself."""
    note: str = ""
    """What the user should know about how its file was read."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A file or record that is no document, as a row of `operators.REJECTS`."""

    row: Row


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A file or record that could not be read, as a row of `operators.DEAD_LETTERS`."""

    row: Row


ReadResult = Read | Reject | DeadLetter


class FileReading:
    """One file under way: names its records and makes their read results."""

    def __init__(self, file: InputFile, config: CurationConfig) -> None:
        self.file, self.config = file, config
        self.corpus = printable(file.corpus)
        self.name = printable(file.name)
        self.base = f"{self.corpus}/{self.name}" if self.corpus else self.name

    @property
    def limit(self) -> int:
        """Most bytes of a document."""
        return self.config.max_document_bytes

    def source(self, record: int | None = None) -> str:
        """Returns `<corpus>/<file>[#record]`; records are counted from 1."""
        return self.base if record is None else f"{self.base}#{record}"

    def reject(
        self,
        reason: str,
        detail: str = "",
        *,
        record: int | None = None,
        size: int = 0,
        head: bytes = b"",
        limit: float | None = None,
    ) -> Reject:
        """Returns the reject of a file or record of `size` bytes that begins with `head`; `limit` is one of bytes."""
        drop = Drop(reason, detail, None if limit is None else size, limit)
        source, excerpt = self.source(record), preview(head)
        return Reject(file_reject(source, drop, corpus=self.corpus, size=size, excerpt=excerpt))

    def dead_letter(self, error: str, *, record: int | None = None, size: int = 0, head: bytes = b"") -> DeadLetter:
        """Returns the dead letter of a file or record of `size` bytes that begins with `head`."""
        return DeadLetter(file_dead_letter(self.source(record), error, size=size, excerpt=preview(head)))

    def document(
        self,
        text: str | None,
        *,
        record: int | None = None,
        size: int,
        url: str | None = None,
        meta: Mapping[str, object] | None = None,
        group: str | None = None,
        columns: Mapping[str, object] | None = None,
        part: int = 0,
    ) -> ReadResult:
        """Returns a document with clean line ends, or the reject `not_text` (None) or `empty_record`."""
        if text is None:
            return self.reject("not_text", "no encoding fits", record=record, size=size)
        text = printable(text).replace("\r\n", "\n").replace("\r", "\n").strip()
        if not text:
            return self.reject("empty_record", record=record, size=size)
        read = self._read(text, None, record, url, meta, group, columns)
        return replace(read, part=part) if part else read

    def page(
        self,
        html: bytes,
        *,
        record: int | None = None,
        url: str | None = None,
        meta: Mapping[str, object] | None = None,
        columns: Mapping[str, object] | None = None,
    ) -> Read:
        """Returns a page: its id is that of its HTML, its text comes with extraction."""
        return self._read("", html, record, url, meta, None, columns)

    def _read(
        self,
        text: str,
        html: bytes | None,
        record: int | None,
        url: str | None,
        meta: Mapping[str, object] | None,
        group: str | None,
        columns: Mapping[str, object] | None,
    ) -> Read:
        source = self.source(record)
        document = Document.make(text, source, corpus=self.corpus, content=html, url=url)
        row: dict[str, object] = dict(document.row())
        row["meta"] = meta_json({"kind": "prose"} | dict(meta or {}))
        columns = dict(columns or {})
        # Without the corpus's name, so that a text is on the same side of the split in whichever corpus it comes.
        group = document_id("", text if html is None else html) if group is None else group
        lineage = cast("str | None", columns.pop(LINEAGE, None))
        row[LINEAGE] = extend_lineage(lineage, stage="read", corpus=self.corpus, source=source, group=group)
        row[GROUP] = self.group(group)
        if html is not None:
            row["html"] = html
        return Read(row | columns, {name: pa.float64() for name in columns})

    def group(self, document: str) -> str:
        """Returns the key that decides about the split: `document`, the hash of its content, or its file."""
        return document if self.config.held_out_by == "document" else self.base

    def stored(self, record: int, row: Mapping[str, object], types: Mapping[str, pa.DataType]) -> Read:
        """Returns a row of a dataset that tilth wrote: id, source and all columns are kept, lineage is extended.

        Raises: DataError if a column does not hold what it should.
        """
        for name in ("id", "text"):
            if not isinstance(row[name], str) or not row[name]:
                raise DataError(f"`{name}` is {_kind(row[name])}, not text")
        kept: dict[str, object] = {"source": self.source(record)}
        for name in DOCUMENT_SCHEMA.names:
            value = row[name]
            if name != "meta" and value is not None:
                kept[name] = printable(_text(name, value))
            elif name not in kept:
                kept[name] = None
        kept["meta"] = meta_json(_stored_meta(row["meta"]))
        extra = {name: value for name, value in row.items() if name not in (*DOCUMENT_SCHEMA.names, GROUP, "html")}
        for name in extra:
            if name.startswith(SCORE):
                extra[name] = score(name, extra[name])
        lineage = lineage_list(extra.pop(LINEAGE, None))
        if lineage is None:
            raise DataError("`lineage` is no JSON list")
        kept[LINEAGE] = extend_lineage(
            json.dumps(lineage, ensure_ascii=False), stage="read", corpus=self.corpus, source=self.source(record)
        )
        part_of = next((entry["group"] for entry in lineage if isinstance(entry.get("group"), str)), kept["id"])
        kept[GROUP] = self.group(str(part_of))
        if self.config.held_out_by != "document":
            kept[GROUP] = _file_of(str(kept["source"]))
        known = {name: pa.float64() if name.startswith(SCORE) else types[name] for name in extra}
        deep = [name for name, kind in known.items() if not _is_flat(kind, MAX_NESTING)]
        if deep:
            raise DataError(f"`{deep[0]}` is nested deeper than {MAX_NESTING} levels")
        return Read(kept | extra, known)


def meta_json(meta: Mapping[str, object]) -> str:
    """Returns metadata as a JSON object in valid Unicode; what JSON does not know is written as text.

    Raises: DataError if it is nested too deep.
    """
    try:
        try:
            written = json.dumps(meta, ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)
        except (ValueError, TypeError):  # not finite, or keys of several kinds
            written = json.dumps(_plain(meta), ensure_ascii=False, sort_keys=True, default=str)
    except RecursionError:
        raise DataError("the record is nested too deep") from None
    return printable(written)


def score(name: str, value: object) -> float | None:
    """Returns the value of a `score_` column.

    Raises: DataError if it is no number.
    """
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise DataError(f"`{name}` is {_kind(value)}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise DataError(f"`{name}` is too large for a number") from None


def lineage_list(value: object) -> list[dict[str, object]] | None:
    """Returns the entries of a `lineage` column; None if it holds something else."""
    if value is None or value == "":
        return []
    try:
        entries = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    if not isinstance(entries, list):
        return None
    rows = cast("list[object]", entries)
    return cast("list[dict[str, object]]", rows) if all(isinstance(entry, dict) for entry in rows) else None


def _stored_meta(value: object) -> dict[str, object]:
    if value is None or value == "":
        return {}
    try:
        meta = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise DataError(f"`meta` is no JSON: {error}") from None
    if not isinstance(meta, dict):
        raise DataError(f"`meta` is {_kind(meta)}, not an object")
    return cast("dict[str, object]", meta)


def _is_flat(kind: Any, depth: int) -> bool:
    """Tells whether lists and structs are nested in a type at most `depth` levels deep."""
    return depth >= 0 and all(_is_flat(kind.field(index).type, depth - 1) for index in range(kind.num_fields))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"`{name}` is {_kind(value)}, not text")
    return value


def _kind(value: object) -> str:
    return "missing" if value is None else "empty" if value == "" else f"a {type(value).__name__}"


def _file_of(source: str) -> str:
    file, mark, record = source.rpartition("#")
    return file if mark and record.isdigit() else source


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    return value
