"""Records of JSON lines and JSON as documents, and what records of any format have in common.

The text is in the field that `CurationConfig.text_field` names; else in the first of `TEXT_FIELDS` that a record has,
or it is a chat (`conversation`), or a web page in `html`. A record that has all columns of a dataset that tilth wrote
is that document again, with its id and source. Of other records `score_*` and `lineage` stay columns, and all other
fields are kept in `meta`, those of a chat among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import cast

import pyarrow as pa

from tilth.curation.broken_input import describe
from tilth.curation.config import CurationConfig
from tilth.curation.conversation import LISTS, chat_fields, chat_text, turns_of
from tilth.curation.decoding import lines, open_unpacked, printable
from tilth.curation.read_result import LINEAGE, SCORE, FileReading, ReadResult, Reject, lineage_list, score
from tilth.errors import DataError
from tilth.types import DOCUMENT_SCHEMA

TEXT_FIELDS = ("text", "content", "body", "raw_content")
"""Columns that hold the text; the first that is there counts."""
HTML_FIELD = "html"
"""Column that holds a web page, where there is no text column."""
JSON_FILE_BYTES = 32 << 20
"""Largest `.json` file of one array or object over several lines: its text is held whole."""
MOST_NESTED = 32
"""Most levels of lists and objects in a column; Arrow passes on no more than 64."""

_LINES = re.compile(r"\.(jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]*")


def read_json(reading: FileReading) -> Iterator[ReadResult]:
    """Yields the records of a file with a JSON object in each line, or of one JSON array or object.

    A malformed line is a dead letter, and the next is read. Rejects: `no_text_field`, `empty_record`, `line_too_long`.
    """
    if _LINES.search(reading.file.name) or not _is_one_value(reading):
        yield from _json_lines(reading)
    else:
        yield from _json_value(reading)


def _is_one_value(reading: FileReading) -> bool:
    """Tells whether a `.json` file holds one value over several lines: its first line is no object by itself."""
    with open_unpacked(reading.file.path) as stream:
        first = next((line for line, _ in lines(stream, 1 << 20) if line.strip()), b"{}")
    if first.lstrip().startswith(b"["):
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return first.strip() == b"{" or not first.rstrip().endswith(b"}")
    return False


def _json_lines(reading: FileReading) -> Iterator[ReadResult]:
    with open_unpacked(reading.file.path) as stream:
        for number, (line, size) in enumerate(lines(stream, reading.limit), 1):
            if size > reading.limit:
                detail = f"{size:,} bytes > {reading.limit:,}"
                yield reading.reject("line_too_long", detail, record=number, size=size, head=line, limit=reading.limit)
            elif line.strip():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield reading.dead_letter(f"malformed JSON: {error}", record=number, size=size, head=line)
                else:
                    yield record(reading, number, value, size=size)


def _json_value(reading: FileReading) -> Iterator[ReadResult]:
    with open_unpacked(reading.file.path) as stream:
        content = stream.read(JSON_FILE_BYTES + 1)
    if len(content) > JSON_FILE_BYTES:
        detail = f"over {JSON_FILE_BYTES:,} bytes in one JSON value; JSON lines have no such limit"
        yield reading.reject("document_too_long", detail, size=reading.file.bytes, head=content)
        return
    try:
        text = content.decode(json.detect_encoding(content), "surrogatepass").lstrip("\ufeff")
        if not text.lstrip().startswith("["):
            yield record(reading, None, json.loads(text), size=len(content))
            return
        # One element at a time: what comes before a malformed one is kept, and memory holds one parsed record.
        decoder = json.JSONDecoder()
        number, position = 0, _after_spaces(text, text.index("[") + 1)
        while not text.startswith("]", position):
            number += 1
            value, position = decoder.raw_decode(text, position)
            yield record(reading, number, value, size=0)
            position = _after_spaces(text, position)
        if text[position + 1 :].strip():
            raise ValueError(f"more follows after the array, at character {position + 1}")
    except (ValueError, RecursionError) as error:
        yield reading.dead_letter(f"malformed JSON: {error}", size=len(content), head=content)


def _after_spaces(text: str, position: int) -> int:
    match = _BETWEEN.match(text, position)
    return match.end() if match else position


def record(
    reading: FileReading,
    number: int | None,
    value: object,
    types: Mapping[str, pa.DataType] | None = None,
    *,
    size: int = 0,
    text_names: Sequence[str] | None = None,
) -> ReadResult:
    """Returns the read result of a record, given as a mapping of fields; a field of a wrong kind is a dead letter.

    `text_names` are the fields that hold the text, where a reader chose them itself.
    """
    if not isinstance(value, dict):
        return reading.reject("no_text_field", f"a {type(value).__name__}, not an object", record=number, size=size)
    fields = cast("dict[str, object]", value)
    try:
        if is_stored(fields, reading.config):
            length = len(str(fields["text"]).encode("utf-8", "surrogatepass"))
            if length > reading.limit:
                return too_long(reading, number, length)
            extra = {name: field for name, field in fields.items() if name not in DOCUMENT_SCHEMA.names}
            return reading.stored(number or 1, fields, types or _types(extra))
        return _foreign(reading, number, fields, text_names or text_fields(fields, reading.config))
    except DataError as error:
        return reading.dead_letter(describe(error), record=number, size=size)


def is_stored(names: Collection[str], config: CurationConfig) -> bool:
    """Tells whether a record is a document of a dataset that tilth wrote."""
    return config.text_field in (None, "text") and all(name in names for name in DOCUMENT_SCHEMA.names)


def text_fields(names: Collection[str], config: CurationConfig) -> tuple[str, ...]:
    """Returns the field that holds the text, or the fields of a chat; empty if there are none."""
    if config.text_field is not None:
        return (config.text_field,) if config.text_field in names else ()
    found = next((name for name in TEXT_FIELDS if name in names), None)
    if found is not None:
        return (found,)
    return chat_fields(names) or ((HTML_FIELD,) if HTML_FIELD in names else ())


def no_text_field(reading: FileReading, names: Collection[str], *, number: int | None = None, size: int = 0) -> Reject:
    """Returns the reject of a file or record whose fields hold no text that is known as such."""
    wanted = "no text field" if reading.config.text_field is None else f"no field `{reading.config.text_field}`"
    listed = ", ".join(map(str, names))[:300]
    detail = f"{wanted} among: {listed}; `--text-field NAME` says which one it is"
    return reading.reject("no_text_field", detail, record=number, size=size)


def too_long(reading: FileReading, number: int | None, size: int, head: bytes = b"") -> Reject:
    """Returns the reject of a record above the limit."""
    detail = f"{size:,} bytes > {reading.limit:,}"
    return reading.reject("document_too_long", detail, record=number, size=size, head=head, limit=reading.limit)


def _foreign(
    reading: FileReading, number: int | None, fields: Mapping[str, object], names: Sequence[str]
) -> ReadResult:
    if not names:
        return no_text_field(reading, fields, number=number)
    name = names[0]
    content = fields[name]
    if len(names) == 1 and name in LISTS and (turns := turns_of(content)) is not content:
        content, fields = turns, {**fields, name: turns}
    is_text = len(names) == 1 and not isinstance(content, list)
    if not is_text:
        content = chat_text(fields, names)
        if content is None:
            return reading.reject("empty_record", f"no chat in {', '.join(names)}", record=number)
    if isinstance(content, bytes):
        content = content.decode("utf-8", "replace")
    if not isinstance(content, str):
        return reading.reject("empty_record", f"`{name}` is {type(content).__name__}", record=number)
    content = printable(content)
    encoded = content.encode()
    size = len(encoded)
    if size > reading.limit:
        return too_long(reading, number, size, encoded)
    url = fields.get("url")
    url = printable(url) if isinstance(url, str) else None
    columns, meta = _columns_and_meta(fields, name if is_text else "")
    if name == HTML_FIELD and reading.config.text_field is None:
        if not content.strip():
            return reading.reject("empty_record", record=number, size=size)
        return reading.page(encoded, record=number, url=url, meta=meta, columns=columns)
    return reading.document(content, record=number, size=size, url=url, meta=meta, columns=columns)


def _columns_and_meta(fields: Mapping[str, object], text: str) -> tuple[dict[str, object], dict[str, object]]:
    columns: dict[str, object] = {}
    meta: dict[str, object] = {}
    for name, value in fields.items():
        if name == text or (name == "url" and isinstance(value, str)):
            continue
        if name.startswith(SCORE):
            columns[name] = score(name, value)
        elif name == LINEAGE and lineage_list(value) is not None:
            columns[name] = json.dumps(lineage_list(value), ensure_ascii=False)
        elif name == "meta" and isinstance(value, dict):
            meta |= cast("dict[str, object]", value)
        elif value is not None:
            meta[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return columns, meta


def _depth(kind: pa.DataType) -> int:
    return 1 + max((_depth(kind.field(index).type) for index in range(kind.num_fields)), default=0)


def _types(fields: Mapping[str, object]) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    for name, value in fields.items():
        try:
            name.encode()  # a lone surrogate cannot be in a column's name
            types[name] = pa.scalar(value).type
            if _depth(types[name]) > MOST_NESTED:
                raise DataError(f"`{name}` is nested too deep for a column")
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError, TypeError) as error:
            raise DataError(f"`{printable(name)}` cannot be a column: {error}") from None
    return types
