"""Byte-level BPE whose tokens may hold several words (SuperBPE): the ids of `Tokenizer`, several times faster.

`Tokenizer` can encode these vocabularies, too, but takes the stretches of text between two numbers, which are the
pieces here, byte by byte. Here merges within words come first and only those across words go over the whole piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.tokenizer.arrow import as_texts
from tilth.tokenizer.split import superword_digits
from tilth.tokenizer.tokenizer import Special, Tokenizer, available_cores
from tilth.tokenizer.vocabulary import Vocabulary


def has_superwords(vocabulary: Vocabulary) -> bool:
    """Whether it is one for `SuperwordTokenizer`: plain, of merges, and cut as for superwords."""
    is_plain = type(vocabulary) is Vocabulary and vocabulary.merges is not None and not vocabulary.ignore_merges
    return is_plain and superword_digits(vocabulary.pattern) is not None


class SuperwordTokenizer(Tokenizer):
    """A `Tokenizer` of several words a token. Made by `Tokenizer.train` and `Tokenizer.load`."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Raises: DataError naming the token or merge that cannot work."""
        super().__init__(vocabulary)
        digits = superword_digits(vocabulary.pattern)
        assert vocabulary.merges is not None and digits is not None
        special_ids = list(vocabulary.special_tokens.values())
        merges = np.ascontiguousarray(vocabulary.merges)
        self._superwords = native.SuperwordEncoder(list(vocabulary.tokens), special_ids, merges, digits)

    def encode_batch(
        self,
        texts: Sequence[str | bytes],
        threads: int | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> list[list[int]]:
        """`encode` of every text, on `threads` threads (None: one for each core that this process may use).

        An Arrow array of strings is taken as well.
        Raises: DataError as `encode`, naming the text; RuntimeError if a thread cannot start.
        """
        texts = as_texts(texts)
        matcher = self._matcher_for_all(texts, allowed_special, disallowed_special)
        threads = threads if threads is not None else available_cores()
        return [ids.tolist() for ids in self._superwords.encode_batch(list(texts), matcher, max(1, threads))]

    def _ids_array(
        self, text: str | bytes, matcher: native.SpecialTokens | None, threads: int
    ) -> NDArray[np.uint16] | NDArray[np.uint32]:
        return self._superwords.encode(text, matcher)

    def _encode(self, text: str | bytes, matcher: native.SpecialTokens | None) -> list[int]:
        ids: list[Any] = self._superwords.encode(text, matcher).tolist()
        return ids
