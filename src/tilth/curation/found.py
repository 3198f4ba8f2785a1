"""What readers yield, and how bytes become text on the way.

A reader yields documents, pages (HTML whose text is yet to be extracted), rejects and dead letters. Text is decoded
as UTF-8 first, whatever a file declares, because text of another encoding is almost never valid UTF-8; after that
what the file declares counts, and last a guess (uchardet).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

from resiliparse.parse.encoding import detect_encoding

from tilth.curation.ledger import Drop, Row, file_dead_letter, file_reject
from tilth.types import Document

HEAD_BYTES = 8192
"""How much of a file is looked at to tell text from binary content."""

_EXCERPT_BYTES = 400
_CHUNK_BYTES = 1 << 18
_BOMS_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_MAX_CONTROLS = 0.01


@dataclass(frozen=True, slots=True)
class Page:
    """A web page: a document without text yet, and its HTML."""

    document: Document
    html: bytes


@dataclass(frozen=True, slots=True)
class Reject:
    """A file or record that is no document, as a row of `ledger.REJECTS`."""

    row: Row


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A file or record that could not be read, as a row of `ledger.DEAD_LETTERS`."""

    row: Row


Found = Document | Page | Reject | DeadLetter


def reject(source: str, reason: str, detail: str = "", *, size: int = 0, head: bytes = b"") -> Reject:
    """Returns the reject of a file or record of `size` bytes that begins with `head`."""
    return Reject(file_reject(source, Drop(reason, detail), size=size, excerpt=_preview(head)))


def dead_letter(source: str, error: str, *, size: int = 0, head: bytes = b"") -> DeadLetter:
    """Returns the dead letter of a file or record of `size` bytes that begins with `head`."""
    return DeadLetter(file_dead_letter(source, error, size=size, excerpt=_preview(head)))


def document(
    text: str | None, source: str, *, size: int, url: str | None = None, meta: Mapping[str, object] | None = None
) -> Found:
    """Returns a document with clean line ends, or the reject `not_text` (None) or `empty_record`."""
    if text is None:
        return reject(source, "not_text", "no encoding fits", size=size)
    text = printable(text).replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        return reject(source, "empty_record", size=size)
    return Document.make(text, source, url=url, meta={"kind": "prose"} | dict(meta or {}))


def page(html: bytes, source: str, *, url: str | None = None, meta: Mapping[str, object] | None = None) -> Page:
    """Returns a page; its text and id come with extraction."""
    return Page(Document.make("", source, url=url, meta={"kind": "prose"} | dict(meta or {})), html)


def printable(text: str) -> str:
    """Returns the text in valid Unicode: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_utf16(head: bytes) -> bool:
    """Tells by the byte order mark."""
    return head.startswith(_BOMS_16)


def is_binary(head: bytes) -> bool:
    """Tells binary content by a zero byte, which no text but UTF-16 holds."""
    return b"\0" in head[:HEAD_BYTES] and not is_utf16(head)


def decode(content: bytes, declared: str | None = None) -> str | None:
    """Decodes as UTF-8 (or UTF-16 by its mark), as declared, as guessed; None if that gives no text."""
    for encoding in ("utf-16",) if is_utf16(content) else ("utf-8-sig", declared, detect_encoding(content)):
        try:
            text = content.decode(encoding) if encoding else None
        except (UnicodeDecodeError, LookupError):
            continue
        if text is not None and len(_CONTROLS.findall(text[:100_000])) <= _MAX_CONTROLS * min(len(text), 100_000):
            return text
    return None


def lines(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes, int]]:
    """Yields (line without its end, its bytes), at most `limit` of them in memory.

    A longer line gives its beginning only: its size is above `limit`. Everything before a cut or corrupt place of a
    compressed stream is yielded before the error is raised.
    """
    read = getattr(stream, "read1", stream.read)  # read() would lose a chunk that ends in an error
    tail, skipped = b"", 0
    while chunk := read(_CHUNK_BYTES):
        first, *rest = chunk.split(b"\n")
        if skipped:
            skipped += len(first)
        else:
            tail += first
            if len(tail) > limit:
                tail, skipped = tail[:_EXCERPT_BYTES], len(tail) - min(len(tail), _EXCERPT_BYTES)
        if not rest:
            continue
        yield tail, len(tail) + skipped
        for line in rest[:-1]:
            yield line, len(line)
        tail, skipped = rest[-1], 0
    if tail or skipped:
        yield tail, len(tail) + skipped


def _preview(head: bytes) -> str:
    return "" if is_binary(head) else head[:_EXCERPT_BYTES].decode("utf-8", "replace")
