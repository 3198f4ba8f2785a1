"""Which parts of a text are in the training text letter by letter.

The training text is read once, in blocks, as bytes; the short texts that are looked up are held. A position is a
candidate if its first `least_bytes` bytes begin like a window of a text, by their first, middle and last eight bytes in
a table; then the bytes themselves are compared, so the result is exact. It takes no index on disk and a fixed amount of
memory; the price is a pass over the training text for each call.
Source of the idea: OLMoTrace (Liu et al. 2025), there with a suffix array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tilth.types import Document

LEAST_BYTES = 16
BLOCK_BYTES = 4 << 20
MOST_DOCUMENTS = 1000
"""Documents that hold a span are counted up to this number."""
_TABLE_BITS = 18
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_END = b"\xff"
"""Between documents; UTF-8 has no such byte."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A span of a text, and where the training text holds it."""

    start: int
    end: int
    """Positions in the text, in bytes of UTF-8."""
    documents: int
    """Documents that hold it, counted up to `MOST_DOCUMENTS`."""
    document: Document
    """The first of them."""
    position: int
    """Where it begins in that document, in bytes."""


@dataclass(slots=True)
class _Found:
    document: Document
    position: int
    documents: set[str] = field(default_factory=set[str])


class VerbatimSearch:
    """Looks up texts in documents that are given one after the other."""

    def __init__(self, texts: Sequence[str], least_bytes: int = LEAST_BYTES) -> None:
        """`least_bytes` is at least 8: shorter spans are not looked for."""
        self.contents = [text.encode("utf-8", "surrogatepass") for text in texts]
        self.least = max(8, least_bytes)
        self.offsets = tuple(dict.fromkeys((0, self.least // 2 - 4, self.least - 8)))
        self.windows: dict[bytes, list[tuple[int, int]]] = {}
        """The first `least` bytes -> (text, position)."""
        for number, content in enumerate(self.contents):
            for start in range(len(content) - self.least + 1):
                window = content[start : start + self.least]
                if _says_something(window):
                    self.windows.setdefault(window, []).append((number, start))
        self.tables = [self._table(offset) for offset in self.offsets]
        self.found: list[dict[tuple[int, int], _Found]] = [{} for _ in texts]
        self.n_documents = self.n_bytes = 0
        self.block: list[Document] = []
        self.waiting: list[bytes] = []
        """The contents of the documents in `block`."""

    def _table(self, offset: int) -> NDArray[np.bool_]:
        table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        for window in self.windows:
            table[_numbers(window[offset : offset + 8])] = True
        return table

    def add(self, document: Document) -> None:
        """Looks for the texts in a document; `finish` does so in those that wait."""
        self.block.append(document)
        self.waiting.append(document.text.encode("utf-8", "surrogatepass"))
        self.n_documents += 1
        self.n_bytes += len(self.waiting[-1])
        if sum(map(len, self.waiting)) >= BLOCK_BYTES:
            self.finish()

    def finish(self) -> None:
        """Searches the documents that wait for a full block."""
        if self.windows and self.block:
            self._search(self.block, self.waiting)
        self.block, self.waiting = [], []

    def _search(self, block: Sequence[Document], contents: Sequence[bytes]) -> None:
        data = _END.join(contents) + _END
        if len(data) < self.least:
            return
        numbers = _numbers(data)
        n = len(data) - self.least + 1
        candidates = np.flatnonzero(self.tables[0][numbers[:n]])
        for table, offset in zip(self.tables[1:], self.offsets[1:], strict=True):
            candidates = candidates[table[numbers[candidates + offset]]]
        starts = np.cumsum([0, *(len(content) + 1 for content in contents)])
        owners = np.searchsorted(starts, candidates, side="right") - 1
        previous: set[tuple[int, int]] = set()
        last = -2
        for at, owner in zip(candidates.tolist(), owners.tolist(), strict=True):
            there = set(self.windows.get(data[at : at + self.least], ()))
            for number, start in there:
                # What begins one byte earlier in both is a part of a longer span.
                if at != last + 1 or (number, start - 1) not in previous:
                    before, after = self._extended(number, start, data, at)
                    span = start - before, start + after
                    found = self.found[number].setdefault(span, _Found(block[owner], at - before - int(starts[owner])))
                    if len(found.documents) < MOST_DOCUMENTS:
                        found.documents.add(block[owner].id)
            previous, last = there, at

    def _extended(self, number: int, start: int, data: bytes, at: int) -> tuple[int, int]:
        """Returns how many bytes before and after the two positions are equal."""
        content, before, after = self.contents[number], 0, self.least
        while before < min(start, at) and data[at - before - 1] == content[start - before - 1]:
            before += 1
        while start + after < len(content) and data[at + after] == content[start + after]:
            after += 1
        return before, after

    def matches(self, number: int) -> list[Match]:
        """Returns the spans of a text that are found, from word to word, none a part of another, in order."""
        content = self.contents[number]
        spans: dict[tuple[int, int], Match] = {}
        for (start, end), one in sorted(self.found[number].items()):
            first, last = _whole_words(content, start, end)
            if last - first < self.least or not _says_something(content[first:last]):
                continue
            spans[first, last] = Match(
                start=first,
                end=last,
                documents=self._holding(number, first, last),
                document=one.document,
                position=one.position + first - start,
            )
        kept: list[Match] = []
        for match in sorted(spans.values(), key=lambda match: (match.start, -match.end)):
            if not kept or match.end > kept[-1].end:
                kept.append(match)
        return kept

    def _holding(self, number: int, start: int, end: int) -> int:
        """Counts the documents whose span covers `start..end`."""
        covering = [one.documents for (a, b), one in self.found[number].items() if a <= start and end <= b]
        return min(len(set[str]().union(*covering)), MOST_DOCUMENTS)

    def share(self, number: int) -> float:
        """Returns the share of a text's bytes that are in a span."""
        covered = end = 0
        for match in self.matches(number):
            covered += match.end - max(match.start, end)
            end = match.end
        return covered / len(self.contents[number]) if self.contents[number] else 0.0


def _numbers(data: bytes) -> NDArray[np.int64]:
    """Returns a number below 2**_TABLE_BITS for the eight bytes from each position on."""
    eights = np.ndarray(shape=(len(data) - 7,), dtype="<u8", buffer=data, strides=(1,))
    return ((eights * _FACTOR) >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)


def _says_something(window: bytes) -> bool:
    """Whether it is more than indentation or a ruled line: at least half of it is letters, digits or not ASCII."""
    return 2 * sum(chr(byte).isalnum() or byte >= 0x80 for byte in window) >= len(window)


def _whole_words(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Takes off broken words at both ends, and white space around."""
    if start > 0 and _in_word(content, start):
        while start < end and _in_word(content, start):
            start += 1
    if end < len(content) and _in_word(content, end):
        while end > start and _in_word(content, end):
            end -= 1
    # Characters of several bytes stay whole.
    while start < end and content[start] & 0xC0 == 0x80:
        start += 1
    while end > start and end < len(content) and content[end] & 0xC0 == 0x80:
        end -= 1
    part = content[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def _in_word(content: bytes, at: int) -> bool:
    """Whether a word of ASCII letters and digits goes through position `at`."""
    return content[at - 1 : at].isalnum() and content[at : at + 1].isalnum()
