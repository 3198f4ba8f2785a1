"""Bytes as text, and compressed bytes as bytes, never more of them in memory than was asked for.

Text is decoded as UTF-8 first, whatever a file declares, because text of another encoding is almost never valid UTF-8;
after that what the file declares counts, and last a guess (uchardet).
"""

from __future__ import annotations

import codecs
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from resiliparse.parse.encoding import detect_encoding

from tilth.errors import DataError
from tilth.files import open_binary, open_stream

HEAD_BYTES = 8192
"""How much of a file is looked at to tell text from binary content."""
EXCERPT_BYTES = 400
XZ_MEMORY = 256 << 20
"""Most memory that an .xz file may ask for; `xz -9` asks for 65 MB."""

_CHUNK = 1 << 18
_PACKED_BYTES = 1 << 13
_BOMS_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_MAX_CONTROLS = 0.01


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


def preview(head: bytes) -> str:
    """Returns the beginning of what could not become a document, for a person to look at."""
    return "" if is_binary(head) else head[:EXCERPT_BYTES].decode("utf-8", "replace")


def decode(content: bytes, declared: str | None = None) -> str | None:
    """Decodes as UTF-8 (or UTF-16 by its mark), as declared, as guessed; None if that gives no text."""
    for encoding in ("utf-16",) if is_utf16(content) else ("utf-8-sig", declared, detect_encoding(content)):
        try:
            text = content.decode(encoding) if encoding else None
        except (UnicodeError, LookupError, ValueError):  # a declared name may hold anything
            continue
        if isinstance(text, str) and len(_CONTROLS.findall(text[:100_000])) <= _MAX_CONTROLS * min(len(text), 100_000):
            return text
    return None


def lines(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes, int]]:
    """Yields (line without its end, its bytes), at most `limit` of them in memory.

    A longer line gives its beginning only: its size is above `limit`. Everything before the position at which a
    compressed stream is cut or corrupt is yielded before the error is raised.
    """
    read = getattr(stream, "read1", stream.read)  # read() would lose a chunk that ends in an error
    tail, skipped = bytearray(), 0
    while chunk := read(_CHUNK):
        first, *rest = chunk.split(b"\n")
        if skipped:
            skipped += len(first)
        else:
            tail += first
            if len(tail) > limit:
                skipped = len(tail) - min(len(tail), EXCERPT_BYTES)
                del tail[EXCERPT_BYTES:]
        if not rest:
            continue
        yield bytes(tail), len(tail) + skipped
        for line in rest[:-1]:
            yield line, len(line)
        tail, skipped = bytearray(rest[-1]), 0
    if tail or skipped:
        yield bytes(tail), len(tail) + skipped


def open_unpacked(path: str) -> IO[bytes]:
    """Opens a file, decompressing it by its suffix; an .xz that asks for more than `XZ_MEMORY` raises LZMAError."""
    if path.endswith(".xz"):
        return cast("IO[bytes]", io.BufferedReader(_Xz(open_binary(path))))
    return open_stream(path)


class _Xz(io.RawIOBase):
    """The streams of an .xz file, unpacked within a bound of memory, which `lzma.LZMAFile` does not offer."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw = raw
        self.decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        self.begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while True:
            if self.decoder.eof:
                rest = self.decoder.unused_data.lstrip(b"\0") or self.raw.read(_CHUNK).lstrip(b"\0")
                if not rest:
                    return 0
                self.decoder, self.begun = lzma.LZMADecompressor(memlimit=XZ_MEMORY), True
                given = self.decoder.decompress(rest, len(view))
            elif self.decoder.needs_input:
                chunk = self.raw.read(_CHUNK)
                if not chunk:
                    if self.begun:
                        raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                    return 0
                self.begun = True
                given = self.decoder.decompress(chunk, len(view))
            else:
                given = self.decoder.decompress(b"", len(view))
            if given:
                view[: len(given)] = given
                return len(given)

    def close(self) -> None:
        self.raw.close()
        super().close()


def unpack(content: bytes, encoding: str, limit: int) -> bytes | None:
    """Undoes an HTTP content encoding; None if the result is longer than `limit`, of which at most that is made.

    Content that is not encoded although it is declared to be is returned as it is, as browsers take it.
    Raises: DataError if the content is cut or corrupt, or if the encoding is unknown.
    """
    if encoding in ("", "identity", "utf-8"):
        return content
    if encoding in ("gzip", "x-gzip"):
        return _inflate(content, 31, limit) if content.startswith(b"\x1f\x8b") else content
    if encoding == "deflate":
        is_zlib = len(content) > 1 and content[0] & 15 == 8 and int.from_bytes(content[:2], "big") % 31 == 0
        return _inflate(content, 15 if is_zlib else -15, limit)
    if encoding in ("br", "zstd"):
        return _unpack_with_arrow(content, "brotli" if encoding == "br" else "zstd", limit)
    raise DataError(f"its content encoding `{encoding[:40]}` is unknown")


def _inflate(content: bytes, window_bits: int, limit: int) -> bytes | None:
    pieces: list[bytes] = []
    left, position = limit + 1, 0
    while content:
        decoder = zlib.decompressobj(window_bits)
        while not decoder.eof:
            # A little at a time: zlib copies all that comes after a member, and there may be thousands of them.
            packed = content[position : position + _PACKED_BYTES]
            if not packed:
                raise DataError("its compressed content is cut")
            try:
                pieces.append(decoder.decompress(packed, left))
            except zlib.error as error:
                raise DataError(f"its compressed content is corrupt: {error}") from None
            position += len(packed) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
            left -= len(pieces[-1])
            if left <= 0:
                return None
        if not content.startswith(b"\x1f\x8b", position):  # gzip has members
            break
    return b"".join(pieces)


def _unpack_with_arrow(content: bytes, codec: str, limit: int) -> bytes | None:
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(content), codec) as stream:
            unpacked = stream.read(limit + 1)
    except OSError as error:
        raise DataError(f"its compressed content is corrupt: {error}") from None
    return unpacked if len(unpacked) <= limit else None
