"""Files of every kind as documents, one after another, whatever their state.

What is in memory at a time is bounded by `max_document_bytes`, so that a corpus may be larger than memory. A prose
file longer than a chapter is cut at blank lines into several documents, so that a library in one text file is read as
well as a folder of books; the price is that a book is not one document (but all of it is on one side of the split).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.config import CurationConfig
from tilth.curation.decoding import HEAD_BYTES, decode, is_binary, is_utf16, lines, open_unpacked
from tilth.curation.parquet import read_parquet
from tilth.curation.read_result import FileReading, Read, ReadResult, Reject
from tilth.curation.records import read_json
from tilth.curation.warc import read_warc
from tilth.files import InputFile, open_binary
from tilth.paths import is_url
from tilth.types import document_id

PART_BYTES = 400_000
"""A prose file longer than this is cut into documents of about this size, at blank lines."""

_PACKED = (".gz", ".zst", ".bz2", ".xz")
_CODE_SUFFIXES = (
    ".asm .bash .bat .c .cc .clj .cmake .cpp .cs .csh .cu .cxx .dart .erl .ex .exs .f .f90 .fish .fs .go .h .hpp .hs"
    " .hxx .java .jl .js .jsx .kt .lisp .lua .m .ml .mm .nim .php .pl .pm .proto .ps1 .py .pyi .pyx .r .rb .rs .s"
    " .scala .sh .sql .swift .tcl .ts .tsx .v .vb .vim .zig .zsh"
)
_PROSE_SUFFIXES = ".txt .text .md .markdown .rst .adoc .asciidoc .org .tex .textile .wiki .pod"
_CODE = frozenset(_CODE_SUFFIXES.split())
_PROSE = frozenset(_PROSE_SUFFIXES.split())
_HTML = frozenset({".html", ".htm", ".xhtml"})
_JSON = frozenset({".jsonl", ".ndjson", ".json"})
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
    packed = path.suffix in _PACKED
    stem = path.with_suffix("") if packed else path
    if stem.suffix in _WARC:
        return read_warc
    if stem.suffix == ".parquet" and not packed:
        return read_parquet
    if stem.suffix in _JSON:
        return read_json
    if stem.suffix in _HTML:
        return _read_html
    if stem.suffix in _CODE:
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
        return reading.reject("document_too_long", f"over {reading.limit:,} bytes", size=size, head=content)
    return content


def _read_prose(reading: FileReading) -> Iterator[ReadResult]:
    with open_unpacked(reading.file.path) as stream:
        head = stream.read(HEAD_BYTES)
    if is_binary(head):
        yield reading.reject("binary_file", PurePosixPath(reading.name).suffix, size=reading.file.bytes)
        return
    if is_utf16(head):
        content = _whole(reading)
        yield content if isinstance(content, Reject) else reading.document(decode(content), size=len(content))
        return
    waiting: bytes | None = None
    n_parts = 0
    group: str | None = None
    for part in _parts(reading):
        if isinstance(part, Reject):
            yield part
            continue
        if waiting is not None:  # there are several, so each is numbered
            result = reading.document(decode(waiting), record=n_parts, size=len(waiting), group=group)
            # All parts of a file are one group: that of its first part, whatever the file is called.
            group = document_id("", str(result.row["text"])) if group is None and isinstance(result, Read) else group
            yield result
        waiting, n_parts = part, n_parts + 1
    if waiting is not None:
        record = None if n_parts == 1 else n_parts
        yield reading.document(decode(waiting), record=record, size=len(waiting), group=group)


def _parts(reading: FileReading) -> Iterator[bytes | Reject]:
    part: list[bytes] = []
    part_bytes = 0
    with open_unpacked(reading.file.path) as stream:
        for number, (line, size) in enumerate(lines(stream, reading.limit), 1):
            if size > reading.limit:
                yield reading.reject("line_too_long", f"line {number}: {size:,} bytes", size=size, head=line)
                continue
            part.append(line)
            part_bytes += size + 1
            if part_bytes >= 2 * PART_BYTES or (part_bytes >= PART_BYTES and not line.strip()):
                yield b"\n".join(part)
                part, part_bytes = [], 0
    if any(line.strip() for line in part):
        yield b"\n".join(part)
