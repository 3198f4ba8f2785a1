"""Texts as sparse TF-IDF vectors of hashed words and word pairs, and their cosines; numpy only, nothing to download.

Cosines are exact: terms are told apart by 64-bit hashes instead of being folded into a few columns, and the dense
block that is multiplied holds a few thousand terms at a time. The trade-off: they see shared words, not shared
meaning; a paraphrase in other words is a different text to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.curation.dedup import TextHashes

MOST_WORDS = 1000
"""Words of a text that are read, from its beginning: long texts take no more memory than short ones."""
_BLOCK_TERMS = 4096
_PAIR = np.uint64(0x9E3779B97F4A7C15)
_NO_WORDS = np.uint64(1)
"""The term of a text without words: such texts equal each other, and nothing else."""

_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TermVectors:
    """Vectors of length 1; entries are sorted by term, each term's in the order of the texts."""

    n_texts: int
    text: _I64
    """Entry -> number of its text."""
    starts: _I64
    """Term -> its first entry; one more at the end."""
    weight: _F64

    def cosines(self, rows: range, columns: range) -> _F64:
        """Returns the cosines of some texts with others, (rows, columns)."""
        found = np.zeros((len(rows), len(columns)))
        counts = np.diff(self.starts)
        shared = np.flatnonzero(counts > 1)  # what only one text has is in no product but its own
        for begin in range(0, len(shared), _BLOCK_TERMS):
            terms = shared[begin : begin + _BLOCK_TERMS]
            entries = np.concatenate([np.arange(int(self.starts[t]), int(self.starts[t + 1])) for t in terms])
            column = np.repeat(np.arange(len(terms)), counts[terms])
            block = np.zeros((self.n_texts, len(terms)))
            block[self.text[entries], column] = self.weight[entries]
            found += block[rows.start : rows.stop] @ block[columns.start : columns.stop].T
        same = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
        found[same - rows.start, same - columns.start] = 1.0
        return np.minimum(found, 1.0)


def term_vectors(texts: Sequence[str]) -> TermVectors:
    """Returns the vectors of texts: (1 + ln count) * (1 + ln(texts / texts with the term)), scaled to length 1.

    A set that is given twice has the same vectors: the weight of a term depends on shares, not on counts of texts.
    """
    pieces = [_terms(text) for text in texts]
    text = np.repeat(np.arange(len(pieces)), [len(terms) for terms, _ in pieces])
    hashes = np.concatenate([np.empty(0, np.uint64), *(terms for terms, _ in pieces)])
    counts = np.concatenate([np.empty(0), *(count for _, count in pieces)])
    order = np.argsort(hashes, kind="stable")
    hashes, text, counts = hashes[order], text[order], counts[order]
    begins = np.flatnonzero(np.concatenate([np.ones(min(len(hashes), 1), bool), hashes[1:] != hashes[:-1]]))
    starts = np.append(begins, len(hashes)).astype(np.int64)
    with_term = np.diff(starts)
    rarity = 1 + np.log(len(pieces) / np.maximum(with_term, 1))
    weight = (1 + np.log(counts)) * np.repeat(rarity, with_term)
    length = np.sqrt(np.bincount(text, weights=weight**2, minlength=len(pieces)))
    return TermVectors(n_texts=len(pieces), text=text, starts=starts, weight=weight / length[text])


def _terms(text: str) -> tuple[npt.NDArray[np.uint64], _F64]:
    """Returns the different terms of a text, sorted, and their counts."""
    words = TextHashes(text).words[:MOST_WORDS]
    if not len(words):
        return np.array([_NO_WORDS]), np.ones(1)
    pairs = (words[:-1] * np.uint64(3)) ^ (words[1:] + _PAIR)
    ordered = np.sort(np.concatenate([words, pairs]))
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[first], np.diff(np.append(first, len(ordered))).astype(np.float64)
