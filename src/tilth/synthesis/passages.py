"""Passages of a document: pieces that a prompt can hold, with their bytes, so that a sample's span is exact.

A passage is a slice of the document's text as it is, never joined from parts that lie apart. Limits are in estimated
tokens (`post.estimate_tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tilth.synthesis.define import Span
from tilth.synthesis.post import BYTES_PER_TOKEN, TOKENS_PER_WORD

_PARAGRAPH_END = re.compile(r"\n[ \t\r]*\n\s*")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]*\s+|[。！？]+[”’」』）]*\s*|\n\s*")
_WORD_END = re.compile(r"\s+")
_BLANK = np.array([chr(code).isspace() for code in range(0x3002)])
"""Which characters are blank, by their code; the last of those is U+3000."""

Range = tuple[int, int]
"""Begin and end in the text, in characters."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A slice of a document's text."""

    text: str
    span: Span


class _Tokens:
    """Estimated tokens of any slice of a text without reading it again; the text's words and bytes are counted once."""

    def __init__(self, text: str) -> None:
        self.text = text
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
        blank = np.concatenate([[True], _BLANK[np.minimum(codes, len(_BLANK) - 1)]])
        self.n_bytes: list[int] = [0, *np.cumsum(widths).tolist()]
        self.n_words: list[int] = [0, *np.cumsum(blank[:-1] & ~blank[1:]).tolist()]

    def of(self, begin: int, end: int) -> float:
        within = 0 < begin < end and not (self.text[begin - 1].isspace() or self.text[begin].isspace())
        return max(
            TOKENS_PER_WORD * (self.n_words[end] - self.n_words[begin] + within),
            (self.n_bytes[end] - self.n_bytes[begin]) / BYTES_PER_TOKEN,
        )

    def passage(self, begin: int, end: int) -> Passage | None:
        """The slice without blanks at its ends; None where nothing is left."""
        piece = self.text[begin:end]
        begin += len(piece) - len(piece.lstrip())
        end -= len(piece) - len(piece.rstrip())
        if begin >= end:
            return None
        return Passage(self.text[begin:end], (self.n_bytes[begin], self.n_bytes[end]))


def split_passages(text: str, *, max_tokens: int, min_tokens: int = 0) -> list[Passage]:
    """Returns passages of at most `max_tokens`: paragraphs, joined with their neighbours while they fit.

    A longer paragraph is split at its sentences, a longer sentence at words, and a longer word in pieces. Passages of
    fewer than `min_tokens` are left out. Together they hold every letter of the text where `min_tokens` is 0.
    """
    tokens = _Tokens(text)
    ranges = _split(tokens, (0, len(text)), max_tokens, (_PARAGRAPH_END, _SENTENCE_END, _WORD_END))
    return _passages(tokens, ranges, min_tokens)


def join_lines(text: str, *, max_tokens: int, min_tokens: int = 0) -> list[Passage]:
    """Returns passages of whole lines, joined with their neighbours up to `max_tokens`; longer lines are left out.

    Source: the pre-processing of Nemotron-CC in NeMo Curator. No passage goes across a line that was left out.
    """
    tokens = _Tokens(text)
    lines = _between(text, (0, len(text)), re.compile(r"\n"))
    fitting = (line for line in lines if tokens.of(*line) <= max_tokens)  # across a longer one, nothing can be joined
    return _passages(tokens, _join(tokens, fitting, max_tokens), min_tokens)


def first_characters(text: str, limit: int) -> Passage:
    """Returns the beginning of a text, up to `limit` characters, cut at the end of a sentence or else of a word.

    A sentence's end counts in the second half only, so that no short first sentence stands for the whole.
    """
    tokens = _Tokens(text[: limit + 1])
    end = min(len(text), limit)
    if len(text) > limit:
        ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, limit + 1) if match.end() > limit // 2]
        ends = [at for at in ends if at <= limit] or [match.start() for match in _WORD_END.finditer(text, 1, limit + 1)]
        end = ends[-1] if ends else limit
    return tokens.passage(0, end) or Passage("", (0, 0))


def _between(text: str, where: Range, boundary: re.Pattern[str]) -> Iterator[Range]:
    """Ranges that end after each boundary; together they are `where`."""
    begin, last = where
    for match in boundary.finditer(text, *where):
        if match.end() > begin:
            yield begin, match.end()
            begin = match.end()
    if begin < last:
        yield begin, last


def _split(tokens: _Tokens, where: Range, most: int, boundaries: tuple[re.Pattern[str], ...]) -> list[Range]:
    """Ranges of at most so many tokens; what had to be split is joined again as far as it fits, level by level."""
    if tokens.of(*where) <= most:
        return [where]
    if not boundaries:
        step = max(1, int(most * BYTES_PER_TOKEN / 4))  # no character has more than four bytes
        return [(begin, min(begin + step, where[1])) for begin in range(where[0], where[1], step)]
    pieces = _between(tokens.text, where, boundaries[0])
    return _join(tokens, (part for piece in pieces for part in _split(tokens, piece, most, boundaries[1:])), most)


def _join(tokens: _Tokens, pieces: Iterable[Range], most: int) -> list[Range]:
    """Joins ranges that follow each other, as many as fit."""
    joined: list[Range] = []
    for begin, end in pieces:
        if joined and tokens.of(joined[-1][0], end) <= most:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _passages(tokens: _Tokens, ranges: Iterable[Range], least: int) -> list[Passage]:
    found = (tokens.passage(*where) for where in ranges if tokens.of(*where) >= least)
    return [passage for passage in found if passage is not None]
