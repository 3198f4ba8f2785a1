"""Files of every kind as documents, one after another, whatever their state.

What is in memory at a time is bounded by `max_document_bytes` (Parquet: by a row group), so that a corpus may be
larger than memory. A prose file longer than a chapter is cut at blank lines into several documents, so that a library
in one text file is read as well as a folder of books; the price is that a book is not one document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from tilth.curation.config import CurationConfig
from tilth.curation.found import (
    HEAD_BYTES,
    Found,
    Reject,
    dead_letter,
    decode,
    document,
    is_binary,
    is_utf16,
    lines,
    page,
    printable,
    reject,
)
from tilth.curation.ledger import describe, is_broken_input
from tilth.curation.records import read_json, read_parquet
from tilth.curation.warc import read_warc
from tilth.files import InputFile, open_binary, open_stream

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

Reader = Callable[[InputFile, str, CurationConfig], Iterator[Found]]


def read_file(file: InputFile, config: CurationConfig) -> Iterator[Found]:
    """Yields what a file holds, in order; never raises for the state of the file, and always yields something.

    A document's `source` is the file's name, with `#n` (line, row, record or part, from 1) where a file holds
    several. Rejects: `unsupported_type`, `binary_file`, `empty_file`, `no_documents`, `empty_record`, `not_text`,
    `no_text_field`, `http_status`, `line_too_long`, `document_too_long`. What cannot be read (no permission, a cut
    stream, malformed JSON) is a dead letter; what came before it stays.
    """
    name = printable(file.name)
    found = False
    try:
        for item in _reader(file.name)(file, name, config):
            found = True
            yield item
        if not found:
            yield reject(name, "no_documents" if file.bytes else "empty_file", size=file.bytes)
    except BaseException as error:  # whatever a broken file does to a parser, the other files go on
        if not is_broken_input(error):
            raise
        yield dead_letter(name, describe(error))


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


def _read_unsupported(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    with open_binary(file.path) as stream:
        head = stream.read(HEAD_BYTES)
    suffix = PurePosixPath(name).suffix or "no suffix"
    if head:
        yield reject(name, "binary_file" if is_binary(head) else "unsupported_type", suffix, size=file.bytes, head=head)


def _read_html(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    content = _whole(file, name, config)
    yield content if isinstance(content, Reject) else page(content, name)


def _read_code(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    content = _whole(file, name, config)
    if isinstance(content, Reject):
        yield content
        return
    cookie = _CODING.search(content[:400])
    text = decode(content, cookie.group(1).decode() if cookie else None)
    yield document(text, name, size=len(content), meta={"kind": "code"})


def _whole(file: InputFile, name: str, config: CurationConfig) -> bytes | Reject:
    with open_stream(file.path) as stream:
        content = stream.read(config.max_document_bytes + 1)
    if not content.strip():
        return reject(name, "empty_file", size=file.bytes)
    if is_binary(content):
        return reject(name, "binary_file", PurePosixPath(name).suffix, size=file.bytes)
    if len(content) > config.max_document_bytes:
        detail = f"over {config.max_document_bytes:,} bytes"
        return reject(name, "document_too_long", detail, size=file.bytes, head=content)
    return content


def _read_prose(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    with open_stream(file.path) as stream:
        head = stream.read(HEAD_BYTES)
    if is_binary(head):
        yield reject(name, "binary_file", PurePosixPath(name).suffix, size=file.bytes)
        return
    if is_utf16(head):
        content = _whole(file, name, config)
        yield content if isinstance(content, Reject) else document(decode(content), name, size=len(content))
        return
    first: bytes | None = None
    n_parts = 0
    for part in _parts(file, name, config):
        if isinstance(part, Reject):
            yield part
            continue
        if first is not None:  # there are several, so each is numbered
            yield document(decode(first), f"{name}#{n_parts}", size=len(first))
        first, n_parts = part, n_parts + 1
    if first is not None:
        yield document(decode(first), name if n_parts == 1 else f"{name}#{n_parts}", size=len(first))


def _parts(file: InputFile, name: str, config: CurationConfig) -> Iterator[bytes | Reject]:
    part: list[bytes] = []
    part_bytes = 0
    with open_stream(file.path) as stream:
        for number, (line, size) in enumerate(lines(stream, config.max_document_bytes), 1):
            if size > config.max_document_bytes:
                yield reject(name, "line_too_long", f"line {number}: {size:,} bytes", size=size, head=line)
                continue
            part.append(line)
            part_bytes += size + 1
            if part_bytes >= 2 * PART_BYTES or (part_bytes >= PART_BYTES and not line.strip()):
                yield b"\n".join(part)
                part, part_bytes = [], 0
    if any(line.strip() for line in part):
        yield b"\n".join(part)
