"""Byte-level BPE whose tokens may hold several words (SuperBPE).

Pieces are the stretches of text between two numbers or runs of symbols. Merges within words come first and only those
across words go over a whole piece, several times faster than merging it byte by byte, with the same ids.
"""

from __future__ import annotations

import numpy as np

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer.bpe import Bpe
from tilth.tokenizer.scheme import Ids, Where
from tilth.tokenizer.split import last_superword_cut, superword_digits
from tilth.tokenizer.vocabulary import Vocabulary


def has_superwords(vocabulary: Vocabulary) -> bool:
    """Whether it is one for `SuperwordBpe`: plain, of merges, and cut as for superwords."""
    is_plain = type(vocabulary) is Vocabulary and vocabulary.merges is not None and not vocabulary.ignore_merges
    return is_plain and superword_digits(vocabulary.pattern) is not None


class SuperwordBpe(Bpe):
    """Cut as `superword_pattern` says."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises: DataError naming the token or merge that cannot work."""
        super().__init__(vocabulary)
        self._digits = superword_digits(vocabulary.pattern) or 0
        special_ids = list(vocabulary.special_tokens.values())
        try:
            self._native = native.SuperwordEncoder(list(vocabulary.tokens), special_ids, self.merges, self._digits)
        except ValueError as error:
            raise DataError(f"The vocabulary cannot work: {error}.") from None

    def encode(self, text: str | bytes, found: frozenset[str], *, continued: bool = False, threads: int = 1) -> Ids:
        """Ids of a text; behind a `safe_cut` the rest is a text like any other."""
        return self._native.encode(text, self.matcher(found))

    def encode_batch(self, texts: list[str | bytes], found: frozenset[str], threads: int) -> list[list[int]]:
        """`encode_to_list` of every text, on `threads` threads."""
        return [ids.tolist() for ids in self._native.encode_batch(texts, self.matcher(found), threads)]

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""
        return self._native.encode(text, None)

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where a piece ends in every context; 0: nowhere."""
        return last_superword_cut(data)

    def pieces(self, text: bytes) -> list[str | bytes]:
        """What `text` is cut into before merging."""
        ends = np.asarray(native.superword_ends(text, self._digits)).tolist()
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
