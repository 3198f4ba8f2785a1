"""Records of JSON lines, JSON and Parquet as documents.

The text stands in the first of `TEXT_FIELDS` that a record has, or as a web page in `html`. A record's own id is kept
in `meta["id"]`; datasets that tilth wrote keep all their metadata. Other columns are left behind: they would make the
shards as wide as the widest input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from tilth.curation.config import CurationConfig
from tilth.curation.found import Found, dead_letter, document, lines, page, printable, reject
from tilth.files import InputFile, open_binary, open_stream
from tilth.types import DOCUMENT_SCHEMA

TEXT_FIELDS = ("text", "content", "body", "raw_content")
"""Columns that hold the text; the first that is there counts."""
HTML_FIELD = "html"
"""Column that holds a web page, where there is no text column."""
JSON_FILE_BYTES = 64 << 20
"""Largest `.json` file of one array or object over several lines: it is parsed whole."""

_PARQUET_ROWS = 256
_LINES = re.compile(r"\.(jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)


def read_json(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    """Yields the records of a file with a JSON object in each line, or of one JSON array or object.

    A malformed line is a dead letter and the next goes on. Rejects: `no_text_field`, `empty_record`, `line_too_long`.
    """
    if _LINES.search(name) or not _is_one_value(file):
        yield from _json_lines(file, name, config)
    else:
        yield from _json_value(file, name, config)


def _is_one_value(file: InputFile) -> bool:
    """Tells whether a `.json` file holds one value over several lines: its first line is no object by itself."""
    with open_stream(file.path) as stream:
        first = next((line for line, _ in lines(stream, 1 << 20) if line.strip()), b"{}")
    if first.lstrip().startswith(b"["):
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return first.strip() == b"{" or not first.rstrip().endswith(b"}")
    return False


def _json_lines(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    with open_stream(file.path) as stream:
        for number, (line, size) in enumerate(lines(stream, config.max_document_bytes), 1):
            source = f"{name}#{number}"
            if size > config.max_document_bytes:
                yield reject(source, "line_too_long", f"{size:,} bytes", size=size, head=line)
            elif line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield dead_letter(source, f"malformed JSON: {error}", size=size, head=line)
                else:
                    yield _record(value, source, config.max_document_bytes)


def _json_value(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    with open_stream(file.path) as stream:
        content = stream.read(JSON_FILE_BYTES + 1)
    if len(content) > JSON_FILE_BYTES:
        detail = f"over {JSON_FILE_BYTES:,} bytes in one JSON value; JSON lines have no such limit"
        yield reject(name, "document_too_long", detail, size=file.bytes, head=content)
        return
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        yield dead_letter(name, f"malformed JSON: {error}", size=len(content), head=content)
        return
    if not isinstance(value, list):
        yield _record(value, name, config.max_document_bytes)
        return
    for number, record in enumerate(cast("list[object]", value), 1):
        yield _record(record, f"{name}#{number}", config.max_document_bytes)


def read_parquet(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    """Yields the rows of a Parquet file, also of a dataset that tilth wrote, a few at a time.

    Rejects: `no_text_field` for the file, with the columns it has; `empty_record`, `document_too_long` for rows.
    """
    with open_binary(file.path) as stream, pq.ParquetFile(cast(pa.NativeFile, stream)) as parquet:
        columns = list(parquet.schema_arrow.names)
        if _text_field(dict.fromkeys(columns)) is None:
            yield reject(name, "no_text_field", f"columns: {', '.join(columns)}", size=file.bytes)
            return
        wanted = [c for c in columns if c in (*TEXT_FIELDS, HTML_FIELD, *DOCUMENT_SCHEMA.names)]
        number = 0
        for batch in parquet.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield _record(row, f"{name}#{number}", config.max_document_bytes)


def _text_field(record: Mapping[str, object]) -> str | None:
    return next((field for field in (*TEXT_FIELDS, HTML_FIELD) if field in record), None)


def _record(value: object, source: str, max_bytes: int) -> Found:
    if not isinstance(value, dict):
        return reject(source, "no_text_field", f"a {type(value).__name__}, not an object")
    record = cast("dict[str, object]", value)
    field = _text_field(record)
    if field is None:
        return reject(source, "no_text_field", f"fields: {', '.join(map(str, record))}"[:300])
    content = record[field]
    if isinstance(content, bytes):
        content = content.decode("utf-8", "replace")
    if not isinstance(content, str):
        return reject(source, "empty_record", f"`{field}` is {type(content).__name__}")
    content = printable(content)
    encoded = content.encode()
    if len(encoded) > max_bytes:
        return reject(source, "document_too_long", f"{len(encoded):,} bytes", size=len(encoded), head=encoded)
    url = record.get("url")
    url = printable(url) if isinstance(url, str) else None
    meta = _meta(record)
    if field == HTML_FIELD:
        return page(encoded, source, url=url, meta=meta)
    return document(content, source, size=len(encoded), url=url, meta=meta)


def _meta(record: Mapping[str, object]) -> dict[str, object]:
    """Returns the record's id, and of a document of ours all metadata."""
    meta: dict[str, object] = {}
    if all(name in record for name in DOCUMENT_SCHEMA.names):
        stored = record["meta"]
        meta = dict(json.loads(stored)) if isinstance(stored, str) and stored else {}
        meta["source"] = record["source"]
    if isinstance(record.get("id"), str | int):
        meta["id"] = record["id"]
    return {key: printable(item) if isinstance(item, str) else item for key, item in meta.items()}
