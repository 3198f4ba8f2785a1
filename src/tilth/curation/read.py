"""Files of every kind as documents, one after another, whatever their state.

What is in memory at a time is bounded by `max_document_bytes`, so that a corpus may be larger than memory. A long prose
file is cut at headings or chapters into several documents (`sections`), so that a library in one text file is read as
well as a folder of articles; the parts of a file are one group for the split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from tilth.curation import sections
from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.code_languages import LANGUAGE_OF_SUFFIX, PACKED
from tilth.curation.config import CurationConfig
from tilth.curation.decoding import HEAD_BYTES, decode, is_binary, is_utf16, lines, open_unpacked
from tilth.curation.parquet import read_parquet
from tilth.curation.read_result import FileReading, Read, ReadResult, Reject
from tilth.curation.records import read_json
from tilth.curation.tabular import read_csv
from tilth.curation.warc import read_warc
from tilth.files import InputFile, open_binary
from tilth.paths import is_url
from tilth.types import document_id

_PROSE_SUFFIXES = ".txt .text .md .markdown .rst .adoc .asciidoc .org .tex .textile .wiki .pod"
_PROSE = frozenset(_PROSE_SUFFIXES.split())
_HTML = frozenset({".html", ".htm", ".xhtml"})
_JSON = frozenset({".jsonl", ".ndjson", ".json"})
_CSV = frozenset({".csv", ".tsv"})
_WARC = frozenset({".warc", ".wet"})
_PROSE_NAME = re.compile(r"(readme|licen[sc]e|copying|changes|changelog|news|authors|history|notice)$")
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)

Reader = Callable[[FileReading], Iterator[ReadResult]]


def read_file(file: InputFile, config: CurationConfig) -> Iterator[ReadResult]:
    """Yields what a file holds, in order, and always something.

    A document's `source` is `<corpus>/<file>`, with `#n` (line, row, record or part, from 1) where a file holds
    several. Rejects: `unsupported_type`, `binary_file`, `empty_file`, `no_documents`, `empty_record`, `not_text`,
    `no_text_field`, `http_status`, `line_too_long`, `document_too_long`, `repeated_value`, and `not_read` for what
    the listing skipped (a FIFO, a link out of the corpus). What cannot be decoded or parsed (a cut stream, malformed
    JSON), and a local file that may not be read, is a dead letter; what came before it is kept.
    Raises: whatever is no fault of the content, such as a disk that fails, or a key that ran out; a note names the
    file.
    """
    reading = FileReading(file, config)
    if file.skipped:
        yield reading.reject("not_read", file.skipped, size=file.bytes)
        return
    empty = True
    try:
        for result in _reader(file.name)(reading):
            empty = False
            yield result
        if empty:
            yield reading.reject("no_documents" if file.bytes else "empty_file", size=file.bytes)
    except BaseException as error:
        if not (_is_forbidden(error, file) or is_broken_input(error)):
            if isinstance(error, Exception):
                error.add_note(f"while reading {reading.source()}")
            raise
        yield reading.dead_letter(describe(error))


def _is_forbidden(error: BaseException, file: InputFile) -> bool:
    """Tells whether a local file may not be read. Remote ones are refused where a key is wrong or ran out."""
    return isinstance(error, PermissionError) and not is_url(file.path)


def is_read(name: str) -> bool:
    """Tells from its name whether a file of this kind is read at all."""
    return _reader(name) is not _read_unsupported


def _reader(name: str) -> Reader:
    path = PurePosixPath(name.lower())
    packed = path.suffix in PACKED
    stem = path.with_suffix("") if packed else path
    if stem.suffix in _WARC:
        return read_warc
    if stem.suffix == ".parquet" and not packed:
        return read_parquet
    if stem.suffix in _JSON:
        return read_json
    if stem.suffix in _CSV:
        return read_csv
    if stem.suffix in _HTML:
        return _read_html
    if stem.suffix in LANGUAGE_OF_SUFFIX:
        return _read_code
    if stem.suffix in _PROSE or _PROSE_NAME.match(stem.name) or (packed and not stem.suffix):
        return _read_prose
    return _read_unsupported


def _read_unsupported(reading: FileReading) -> Iterator[ReadResult]:
    with open_binary(reading.file.path) as stream:
        head = stream.read(HEAD_BYTES)
    suffix = PurePosixPath(reading.name).suffix or "no suffix"
    if head:
        reason = "binary_file" if is_binary(head) else "unsupported_type"
        yield reading.reject(reason, suffix, size=reading.file.bytes, head=head)


def _read_html(reading: FileReading) -> Iterator[ReadResult]:
    content = _whole(reading)
    yield content if isinstance(content, Reject) else reading.page(content)


def _read_code(reading: FileReading) -> Iterator[ReadResult]:
    content = _whole(reading)
    if isinstance(content, Reject):
        yield content
        return
    cookie = _CODING.search(content[:400])
    text = decode(content, cookie.group(1).decode() if cookie else None)
    yield reading.document(text, size=len(content), meta={"kind": "code"})


def _whole(reading: FileReading) -> bytes | Reject:
    size = reading.file.bytes
    with open_unpacked(reading.file.path) as stream:
        content = stream.read(reading.limit + 1)
    if not content.strip():
        return reading.reject("empty_file", size=size)
    if is_binary(content):
        return reading.reject("binary_file", PurePosixPath(reading.name).suffix, size=size)
    if len(content) > reading.limit:
        detail = f"{max(size, len(content)):,} bytes > {reading.limit:,}"
        return reading.reject("document_too_long", detail, size=size, head=content, limit=reading.limit)
    return content


def _read_prose(reading: FileReading) -> Iterator[ReadResult]:
    with open_unpacked(reading.file.path) as stream:
        head = stream.read(HEAD_BYTES)
    if is_binary(head):
        yield reading.reject("binary_file", PurePosixPath(reading.name).suffix, size=reading.file.bytes)
        return
    rejects: list[Reject] = []
    waiting: bytes | None = None
    n_parts = 0
    group: str | None = None
    for part in sections.cut(_prose_lines(reading, rejects, is_utf16(head))):
        yield from rejects
        rejects.clear()
        if waiting is not None:  # there are several, so each is numbered
            result = reading.document(decode(waiting), record=n_parts, size=len(waiting), group=group, part=n_parts)
            # All parts of a file are one group: that of its first part, whatever the file is called.
            group = document_id("", str(result.row["text"])) if group is None and isinstance(result, Read) else group
            yield result
        waiting, n_parts = part, n_parts + 1
    yield from rejects
    if waiting is not None:
        several = n_parts > 1
        record = n_parts if several else None
        yield reading.document(
            decode(waiting), record=record, size=len(waiting), group=group, part=n_parts if several else 0
        )


def _prose_lines(reading: FileReading, rejects: list[Reject], utf16: bool) -> Iterator[bytes]:
    """Yields the lines of a file; those above the limit go to `rejects`."""
    if utf16:
        content = _whole(reading)
        text = None if isinstance(content, Reject) else decode(content)
        if isinstance(content, Reject):
            rejects.append(content)
        elif text is None:
            rejects.append(reading.reject("not_text", "no encoding fits", size=len(content)))
        yield from (text or "").encode("utf-8", "surrogatepass").split(b"\n")
        return
    with open_unpacked(reading.file.path) as stream:
        for number, (line, size) in enumerate(lines(stream, reading.limit), 1):
            if size > reading.limit:
                detail = f"line {number}: {size:,} bytes > {reading.limit:,}"
                rejects.append(reading.reject("line_too_long", detail, size=size, head=line, limit=reading.limit))
            else:
                yield line
