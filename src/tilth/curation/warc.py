"""Web archives: responses with HTML or text as pages and documents, by fastwarc.

Gzip is unpacked by Python instead of by fastwarc, because fastwarc takes a cut archive for one that ends there; a cut
in the middle of a record has to be said. Price: unpacking is some 2x slower, far from what extraction costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from tilth.curation.config import CurationConfig
from tilth.curation.found import Found, dead_letter, decode, document, page, printable, reject
from tilth.files import InputFile, open_stream

_RECORD_END = b"\r\n\r\n"
_TYPES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion


class _Tail:
    """A stream that remembers the last bytes read from it, which tell whether an archive ends where a record does."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.read_some = getattr(stream, "read1", stream.read)  # read() would lose a chunk that ends in an error
        self.tail = b""
        self.place = 0

    def read(self, size: int = -1) -> bytes:
        content = self.read_some(size)
        self.tail = (self.tail + content[-4:])[-4:]
        self.place += len(content)
        return content

    def tell(self) -> int:
        return self.place


def read_warc(file: InputFile, name: str, config: CurationConfig) -> Iterator[Found]:
    """Yields the responses, resources and conversions (WET) of an archive; requests and metadata are no documents.

    A record that is cut is a dead letter. Rejects: `http_status` (not 200), `not_text` (another content type, or
    undecodable), `document_too_long`, `empty_record`.
    """
    with open_stream(file.path) as stream:
        tail = _Tail(stream)
        number = 0
        for record in ArchiveIterator(tail, record_types=_TYPES, parse_http=False):  # pyright: ignore[reportArgumentType]
            number += 1
            source = f"{name}#{number}"
            if record.headers.get("Content-Length") is None:
                yield dead_letter(source, "cut: the record's header is not whole")
                return
            size = int(record.content_length)
            if size > config.max_document_bytes:
                yield reject(source, "document_too_long", f"{size:,} bytes", size=size)
                continue
            content = record.reader.read(size)
            if len(content) < size:
                yield dead_letter(source, f"cut: {len(content):,} of {size:,} bytes are there", size=len(content))
                return
            yield _record(record, content, source)
        if tail.tail and tail.tail != _RECORD_END:
            yield dead_letter(f"{name}#{number + 1}", "the archive is cut in the middle of a record")


def _record(record: Any, content: bytes, source: str) -> Found:
    size = len(content)
    url = record.headers.get("WARC-Target-URI")
    url = printable(url.strip("<>")) if url else None
    content_type = record.headers.get("Content-Type") or ""
    if record.is_http:
        response: Any = WarcRecord()
        response.is_http = True
        response.set_bytes_content(content)
        response.parse_http(auto_decode="all")
        status = response.http_headers.status_code if response.http_headers is not None else None
        if status != 200:
            return reject(source, "http_status", str(status), size=size)
        content, content_type = response.reader.read(), response.http_content_type or ""
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") or (not kind and content.lstrip().startswith(b"<")):
        return page(content, source, url=url) if content.strip() else reject(source, "empty_record", size=size)
    if kind == "text/plain":
        return document(decode(content), source, size=size, url=url)
    return reject(source, "not_text", kind or "no content type", size=size)
