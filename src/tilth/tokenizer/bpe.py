"""Byte-level BPE: GPT-2, Llama-3, and what `Tokenizer.train` makes.

With a pattern that the core knows, the core does all of it in one call. A custom regex runs in Python, two orders
of magnitude slower, and the core gets the pieces.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer.scheme import Ids, Scheme, Where
from tilth.tokenizer.split import Splitter, last_cut, pattern_name
from tilth.tokenizer.vocabulary import Vocabulary


def byte_level_bpe(vocabulary: Vocabulary) -> Bpe:
    """The scheme of a byte-level vocabulary.

    Raises: DataError naming the token or merge that cannot work; ConfigError if the pattern is no regex.
    """
    name = pattern_name(vocabulary.pattern)
    return RegexBpe(vocabulary) if name is None else PatternBpe(vocabulary, name)


class Bpe(Scheme):
    """Byte-level BPE of text that is cut into pieces first."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        self.encoder = _encoder(vocabulary)

    @abstractmethod
    def pieces(self, text: bytes) -> list[str | bytes]:
        """What `text` is cut into before merging."""

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""
        return np.array(self.encoder.encode_pieces(self.pieces(text)), dtype=np.uint32)

    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Ids of such text with merges left out at random."""
        return self._dropout.encode_pieces(self.pieces(text), dropout, seed)

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes of ids."""
        try:
            return self.encoder.decode(ids)
        except IndexError as error:
            raise IndexError(int(str(error))) from None

    @property
    def merges(self) -> NDArray[np.uint32]:
        """Pairs of ids that merge, shape (merges, 2), first to last."""
        return self.encoder.merges()

    @cached_property
    def _dropout(self) -> native.BpeDropout:
        special_ids = list(self.vocabulary.special_tokens.values())
        return native.BpeDropout(list(self.vocabulary.tokens), special_ids, self.merges)


class RegexBpe(Bpe):
    """Cut by a custom regex. Nothing is known about it, so a text is encoded whole, on one thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._splitter = Splitter(vocabulary.pattern)
        super().__init__(vocabulary)

    def pieces(self, text: bytes) -> list[str | bytes]:
        """What `text` is cut into before merging."""
        return [*self._splitter.pieces(text)]


class PatternBpe(Bpe):
    """Cut by a pattern that the core knows."""

    def __init__(self, vocabulary: Vocabulary, pattern: str) -> None:
        super().__init__(vocabulary)
        self._pattern = pattern
        self._fits_uint16 = len(vocabulary.tokens) <= 1 << 16

    def encode(self, text: str | bytes, found: frozenset[str], *, continued: bool = False, threads: int = 1) -> Ids:
        """Ids of a text; behind a `safe_cut` the rest is a text like any other."""
        if self._fits_uint16:
            return self.encoder.encode_to_uint16(text, self._pattern, self.matcher(found), threads)
        return self.encoder.encode_to_uint32(text, self._pattern, self.matcher(found), threads)

    def encode_to_list(self, text: str | bytes, found: frozenset[str]) -> list[int]:
        """`encode` as a list."""
        return self.encoder.encode(text, self._pattern, self.matcher(found))

    def encode_into(self, text: str | bytes, found: frozenset[str], out: NDArray[Any], threads: int) -> int:
        """Writes ids into `out` if they fit, with no array between where its type allows."""
        dtype = out.dtype
        if not (dtype.kind == "u" and dtype.itemsize in (2, 4) and dtype.isnative and out.flags.c_contiguous):
            return super().encode_into(text, found, out, threads)
        return self.encoder.encode_into(text, self._pattern, self.matcher(found), out, threads)

    def encode_batch(self, texts: list[str | bytes], found: frozenset[str], threads: int) -> list[list[int]]:
        """`encode_to_list` of every text, on `threads` threads."""
        return self.encoder.encode_batch(texts, self._pattern, self.matcher(found), threads)

    def encode_batch_to_numpy(
        self, texts: list[str | bytes], found: frozenset[str], threads: int
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids of all texts, and where those of each begin and end, shape (texts + 1,)."""
        if self._fits_uint16:
            return self.encoder.encode_batch_to_uint16(texts, self._pattern, self.matcher(found), threads)
        return self.encoder.encode_batch_to_uint32(texts, self._pattern, self.matcher(found), threads)

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""
        return self.encoder.encode_to_uint32(text, self._pattern, None, 1)

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where a piece ends in every context; 0: nowhere."""
        return last_cut(data)

    def pieces(self, text: bytes) -> list[str | bytes]:
        """What `text` is cut into before merging."""
        ends = native.piece_ends(text, self._pattern).tolist()
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _encoder(vocabulary: Vocabulary) -> native.BpeEncoder:
    special_ids = list(vocabulary.special_tokens.values())
    try:
        if vocabulary.merges is None:
            return native.BpeEncoder.from_ranks(list(vocabulary.tokens), special_ids)
        return native.BpeEncoder(
            list(vocabulary.tokens),
            special_ids,
            np.ascontiguousarray(vocabulary.merges),
            vocabulary.ignore_merges,
        )
    except ValueError as error:
        raise DataError(f"The vocabulary cannot work: {error}.") from None
