"""Web archives: responses with HTML or text as pages and documents.

Records are found here instead of by fastwarc, because a record that is broken must not take the next ones along:
after a false length, a header that is no header, or a corrupt gzip member, reading continues at the next `WARC/1.`
(or `0.`). The price is that Python looks at each record's header (some 20 microseconds, far from what extraction
takes), and that an archive which is stored inside a record longer than a document is read as part of this one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO

from tilth.curation.broken_input import describe, is_broken_input
from tilth.curation.decoding import decode, open_unpacked, printable, unpack
from tilth.curation.read_result import FileReading, ReadResult
from tilth.errors import DataError
from tilth.files import open_binary

HEADER_BYTES = 1 << 18
"""Longest header of a record, and of the HTTP response in it."""
TYPES = ("response", "resource", "conversion")
"""Records that hold documents; requests, metadata and the like do not."""

_CHUNK = 1 << 18
_HISTORY = 1 << 20
_MAX_RESYNCS = 1000
_GZIP = b"\x1f\x8b\x08"
_BEGIN = re.compile(rb"WARC/[01]\.\d{1,2}\r?\n")
_BEGIN_WITHIN = re.compile(rb"(?<=\n)WARC/[01]\.\d{1,2}\r?\n[A-Za-z-]{1,40}:")
_BEGIN_BYTES = 64
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LINE_ENDS = b"\r\n"
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")


def read_warc(reading: FileReading) -> Iterator[ReadResult]:
    """Yields the responses, resources and conversions (WET) of an archive; requests and metadata are no documents.

    A record that is cut or broken is a dead letter. Rejects: `http_status` (not 200), `not_text` (another content
    type, or undecodable), `document_too_long`, `empty_record`.
    """
    window = _Window(_chunks(reading.file.path))
    number = 0
    while True:
        window.skip_line_ends()
        if not window.fill(1):
            if window.error:
                number += 1
                yield reading.dead_letter(window.error, record=number)
            if not window.next_segment():
                return
            continue
        result, counts = _next_record(reading, window, number + 1)
        number += counts
        if result is not None:
            yield result


def _next_record(reading: FileReading, window: _Window, number: int) -> tuple[ReadResult | None, bool]:
    """Reads one record; returns its read result, if it has one, and whether it counts as a record."""

    def broken(error: str, size: int = 0) -> tuple[ReadResult, bool]:
        return reading.dead_letter(error, record=number, size=size), True

    if not (window.fill(7) and window.data.startswith((b"WARC/1.", b"WARC/0."), window.start)):
        skipped = window.seek_record(0)
        if not window.available():
            cause = window.take_error()
            return broken(f"no WARC record begins here: {skipped:,} bytes{cause}", skipped)
        return broken(f"no WARC record begins here: {skipped:,} bytes are skipped", skipped)
    head, length = window.header()
    if head is None:
        window.seek_record(1)
        return broken(f"the record's header is cut or too long{window.take_error()}")
    fields = _fields(head)
    size_text = fields.get("content-length", "")
    wanted = fields.get("warc-type", "").lower() in TYPES
    if not (size_text.isascii() and size_text.isdigit() and len(size_text) < 19):
        window.seek_record(length)
        return broken(f"its Content-Length is {size_text[:40]!r}" if size_text else "it has no Content-Length")
    size = int(size_text)
    if size > reading.limit:
        window.skip(length, size)
        if not wanted:
            return None, False
        return reading.reject("document_too_long", f"{size:,} bytes", record=number, size=size), True
    if not window.fill(length + size):
        there = window.available() - length
        if window.seek_record(length) < there:
            return broken("its Content-Length goes past the next record", there)
        return broken(f"cut: {there:,} of {size:,} bytes are there{window.take_error()}", there)
    if not window.is_boundary(length + size):
        skipped = window.seek_record(length)
        return broken(f"its Content-Length of {size:,} is wrong{window.take_error()}", skipped)
    content = window.take(length, size)
    if not wanted:
        return None, False
    try:
        return _document(reading, fields, content, number), True
    except DataError as error:
        return reading.dead_letter(describe(error), record=number, size=size, head=content), True


class _Window:
    """A part of a stream in memory; a stream that breaks off and is found again comes in segments."""

    def __init__(self, chunks: Iterator[bytes | str]) -> None:
        self.chunks = chunks
        self.data = bytearray()
        self.start = 0
        self.error = ""
        self.ended = self.exhausted = False

    def available(self) -> int:
        return len(self.data) - self.start

    def fill(self, size: int) -> bool:
        """Reads until `size` bytes are there; returns False where the segment ends before."""
        while self.available() < size and not self.ended:
            if self.start > _CHUNK:
                del self.data[: self.start]
                self.start = 0
            chunk = next(self.chunks, None)
            if isinstance(chunk, bytes):
                self.data += chunk
            else:
                self.ended, self.exhausted, self.error = True, chunk is None, chunk or ""
        return self.available() >= size

    def next_segment(self) -> bool:
        """Goes to what comes after a break; returns False at the end of the stream."""
        self.data, self.start = bytearray(), 0
        self.ended, self.error = self.exhausted, ""
        return not self.exhausted

    def take_error(self) -> str:
        """Returns why the segment ended, once, as the end of a sentence, if all of it was read."""
        if self.available() or not self.error:
            return ""
        error, self.error = f" ({self.error})", ""
        return error

    def skip_line_ends(self) -> None:
        while self.fill(1) and self.data[self.start] in _LINE_ENDS:
            self.start += 1

    def header(self) -> tuple[bytes | None, int]:
        """Returns the header that begins here, and its bytes with the blank line after it; None where it is cut."""
        for size in (1 << 12, HEADER_BYTES):
            self.fill(size)
            end = _HEADER_END.search(self.data, self.start, min(self.start + size, len(self.data)))
            if end:
                return bytes(self.data[self.start : end.start()]), end.end() - self.start
        return None, 0

    def is_boundary(self, offset: int) -> bool:
        """Tells whether a record may end at an offset: two line ends follow, or another record, or the end."""
        self.fill(offset + 64)
        behind = bytes(self.data[self.start + offset : self.start + offset + 64])
        rest = behind.lstrip(_LINE_ENDS)
        return behind.startswith(b"\r\n\r\n") or not rest or rest.startswith((b"WARC/1.", b"WARC/0."))

    def take(self, offset: int, size: int) -> bytes:
        """Returns `size` bytes from an offset, and continues behind them."""
        begin = self.start + offset
        self.start = begin + size
        return bytes(self.data[begin : self.start])

    def seek_record(self, offset: int) -> int:
        """Goes to the next beginning of a record from an offset on, or to the segment's end; returns what it skips."""
        skipped = 0
        self.fill(min(offset, self.available()))
        self.start += min(offset, self.available())
        while self.fill(_BEGIN_BYTES) or self.available():
            begin = _BEGIN.search(self.data, self.start)
            if begin:
                skipped += begin.start() - self.start
                self.start = begin.start()
                return skipped
            if self.ended:
                skipped += self.available()
                self.start = len(self.data)
                return skipped
            kept = min(_BEGIN_BYTES, self.available())  # a beginning may be cut by the end of the window
            skipped += self.available() - kept
            self.start = len(self.data) - kept
            self.fill(kept + 1)
        return skipped

    def skip(self, offset: int, size: int) -> None:
        """Skips a record's content without holding it, but not what looks like another record within it."""
        self.start += offset
        left = size
        while left > 0 and self.fill(1):
            self.fill(min(left, _CHUNK))
            end = min(self.start + left, len(self.data))
            begin = _BEGIN_WITHIN.search(self.data, self.start, end)
            if begin and begin.start() > self.start:
                self.start = begin.start()
                return
            step = end - self.start
            step = step if step == left or self.ended else max(step - _BEGIN_BYTES, 1)
            self.start += step
            left -= step


# Compressed streams


def _chunks(path: str) -> Iterator[bytes | str]:
    """Yields an archive's bytes; text says that they broke off, why, and that what follows is not connected."""
    if path.endswith(".gz"):
        with open_binary(path) as raw:
            yield from gunzip(raw)
        return
    try:
        with open_unpacked(path) as stream:
            read = getattr(stream, "read1", stream.read)  # read() would lose a chunk that ends in an error
            while chunk := read(_CHUNK):
                yield chunk
    except BaseException as error:
        if not is_broken_input(error):
            raise
        yield describe(error)


def gunzip(raw: IO[bytes]) -> Iterator[bytes | str]:
    """Yields what the members of a gzip file hold; after a corrupt one, reading continues at the next."""
    members = _Members(raw)
    for _ in range(_MAX_RESYNCS):
        try:
            yield from members.unpacked()
            return
        except (zlib.error, EOFError) as error:
            yield describe(error)
        if not members.resync():
            return
    yield f"over {_MAX_RESYNCS} corrupt gzip members"


class _Members:
    def __init__(self, raw: IO[bytes]) -> None:
        self.raw = raw
        self.pending = b""
        self.history = b""  # packed bytes of the member under way, its last `_HISTORY`

    def unpacked(self) -> Iterator[bytes]:
        while self._begin_member():
            decoder = zlib.decompressobj(31)
            while not decoder.eof:
                if not self.pending:
                    self.pending = self.raw.read(_CHUNK)
                    if not self.pending:
                        raise EOFError("the archive is cut in the middle of a gzip member")
                    self.history = (self.history + self.pending)[-_HISTORY:]
                content = decoder.decompress(self.pending, _CHUNK)
                self.pending = decoder.unconsumed_tail
                if content:
                    yield content
            self.pending = decoder.unused_data

    def _begin_member(self) -> bool:
        self.pending = self.pending.lstrip(b"\0")
        while len(self.pending) < 3:
            more = self.raw.read(_CHUNK)
            if not more:
                break
            self.pending = (self.pending + more).lstrip(b"\0")
        self.history = self.pending
        return bool(self.pending)

    def resync(self) -> bool:
        """Goes to what looks like the next member; returns False where there is none."""
        data = self.history[1:]
        while True:
            begin = data.find(_GZIP)
            if begin >= 0:
                self.pending = data[begin:]
                return True
            more = self.raw.read(_CHUNK)
            if not more:
                return False
            data = data[-2:] + more


# Records


def _fields(head: bytes) -> dict[str, str]:
    """Returns the fields of a header by their names in lower case; of several with one name, the first."""
    fields: dict[str, str] = {}
    for line in head.splitlines()[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.strip().decode("latin-1").lower(), value.strip().decode("utf-8", "replace"))
    return fields


def _document(reading: FileReading, fields: dict[str, str], content: bytes, number: int) -> ReadResult:
    size = len(content)
    url = printable(fields["warc-target-uri"].strip("<>")) if fields.get("warc-target-uri") else None
    content_type = fields.get("content-type", "")
    if content_type.lower().startswith("application/http"):
        status, http, body = _response(content)
        if status != 200:
            return reading.reject("http_status", str(status), record=number, size=size)
        unpacked = _body(http, body, reading.limit)
        if unpacked is None:
            detail = f"over {reading.limit:,} bytes when unpacked"
            return reading.reject("document_too_long", detail, record=number, size=size)
        content, content_type = unpacked, http.get("content-type", "")
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") or (not kind and content.lstrip().startswith(b"<")):
        if not content.strip():
            return reading.reject("empty_record", record=number, size=size)
        return reading.page(content, record=number, url=url)
    if kind == "text/plain":
        return reading.document(decode(content), record=number, size=size, url=url)
    return reading.reject("not_text", (kind or "no content type")[:100], record=number, size=size)


def _response(content: bytes) -> tuple[int, dict[str, str], bytes]:
    status = _STATUS.match(content)
    if not status:
        raise DataError("it holds no HTTP response")
    end = _HEADER_END.search(content, 0, HEADER_BYTES)
    head, body = (content[: end.start()], content[end.end() :]) if end else (content[:HEADER_BYTES], b"")
    return int(status.group(1)), _fields(head), body


def _body(fields: dict[str, str], body: bytes, limit: int) -> bytes | None:
    """Returns a response's body without its encodings; None if it is longer than `limit`."""
    transfer = [word.strip() for word in fields.get("transfer-encoding", "").lower().split(",")]
    if "chunked" in transfer:
        body = _without_chunks(body)
    encodings = [word.strip() for word in fields.get("content-encoding", "").lower().split(",")]
    encodings += [word for word in transfer if word != "chunked"]
    if len(encodings) > 8:
        raise DataError(f"it has {len(encodings)} content encodings")
    for encoding in reversed(encodings):
        unpacked = unpack(body, encoding, limit)
        if unpacked is None:
            return None
        body = unpacked
    return body if len(body) <= limit else None


def _without_chunks(body: bytes) -> bytes:
    """Joins the chunks of a body; one that does not begin with a chunk was joined when it was archived."""
    pieces: list[bytes] = []
    position = 0
    while True:
        head = _CHUNK_SIZE.match(body, position)
        if not head:
            if not pieces:
                return body
            raise DataError(f"a chunk of its body has no size: {body[position : position + 20]!r}")
        size, begin = int(head.group(1), 16), head.end()
        if size == 0:
            return b"".join(pieces)
        if begin + size > len(body):
            raise DataError("the last chunk of its body is cut")
        pieces.append(body[begin : begin + size])
        position = begin + size
        position += (
            2 if body[position : position + 2] == b"\r\n" else 1 if body[position : position + 1] == b"\n" else 0
        )
