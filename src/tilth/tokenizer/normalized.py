"""Byte-level BPE behind a Unicode normalization and added tokens of all kinds: GPT-NeoX, Pythia, Qwen2.

The normal forms are those of Python's `unicodedata` (Unicode 14.0 in Python 3.11, 15.0 in 3.12, 15.1 in 3.13), which
differ from `tokenizers` (Unicode 16.0) only in characters that the older version does not have. A text that the
normalization changes does not come back from its ids: the vocabulary was made that way. Some of these vocabularies
lack the bytes that UTF-8 never has; with them, each bad byte of a text is read as U+FFFD.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.tokenizer.bpe import byte_level_bpe
from tilth.tokenizer.scheme import Ids, Where
from tilth.tokenizer.segmented import SegmentedScheme, SegmentedVocabulary
from tilth.tokenizer.split import last_cut
from tilth.tokenizer.vocabulary import Vocabulary

NORMAL_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_NEVER_IN_UTF8 = frozenset([0xC0, 0xC1, *range(0xF5, 0x100)])
_Form = Literal["NFC", "NFD", "NFKC", "NFKD"]


def missing_bytes(vocabulary: Vocabulary) -> frozenset[int]:
    """The bytes that have no token, if all of them are such as no UTF-8 has; otherwise none."""
    added = set(vocabulary.special_tokens.values())
    if isinstance(vocabulary, SegmentedVocabulary):
        added |= {token.token_id for token in vocabulary.added}
    there = {token[0] for i, token in enumerate(vocabulary.tokens) if len(token) == 1 and i not in added}
    missing = frozenset(range(256)) - there
    return missing if missing <= _NEVER_IN_UTF8 else frozenset()


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalizedVocabulary(SegmentedVocabulary):
    """A byte-level vocabulary with a normal form and added tokens."""

    normal_form: str | None = None
    """One of `NORMAL_FORMS`, or None."""

    def fingerprint(self, merges: NDArray[np.uint32]) -> str:
        """SHA-256 (hex) of all that decides which ids a text gets."""
        extra = Vocabulary(
            tokens=(super().fingerprint(merges).encode(),),
            merges=None,
            pattern=repr((self.added, self.normal_form)),
            special_tokens={},
        )
        return extra.fingerprint(np.zeros((0, 2), dtype=np.uint32))


class NormalizedBpe(SegmentedScheme):
    """Byte-level BPE of text that is normalized first."""

    vocabulary: NormalizedVocabulary

    def __init__(self, vocabulary: NormalizedVocabulary) -> None:
        """Raises: DataError naming the token or merge that cannot work."""
        super().__init__(vocabulary)
        missing = missing_bytes(vocabulary)
        self._errors = "replace" if missing else "surrogateescape"
        for token in vocabulary.added:
            if token.normalized and self.normalize(token.text.encode()) != token.text.encode():
                raise DataError(f"The added token {token.text!r} is not in {vocabulary.normal_form} itself.")
        # Ids behind the last one are bytes that never occur.
        self._plain = byte_level_bpe(
            Vocabulary(
                tokens=(*vocabulary.tokens, *[bytes([byte]) for byte in sorted(missing)]),
                merges=vocabulary.merges,
                pattern=vocabulary.pattern,
                special_tokens={token.text: token.token_id for token in vocabulary.added} | vocabulary.special_tokens,
                ignore_merges=vocabulary.ignore_merges,
            )
        )
        # A token that is found only once the text is normalized might be divided.
        self._may_cut = not any(last_cut(name.encode()) for name in self.found_normalized)

    def normalize(self, text: bytes) -> bytes:
        """The normal form of a segment."""
        if text.isascii():
            return text
        characters = text.decode("utf-8", self._errors)
        if self.vocabulary.normal_form is not None:
            characters = unicodedata.normalize(cast(_Form, self.vocabulary.normal_form), characters)
        return characters.encode("utf-8", "surrogateescape")

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of normalized text in which no token is looked for."""
        return self._plain.encode_segment(text, where)

    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Ids of such text with merges left out at random."""
        return self._plain.encode_segment_with_dropout(text, where, dropout, seed)

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes of ids."""
        return self._plain.decode(ids)

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where it can be cut so that the parts have the ids of the whole; 0: nowhere."""
        return self._plain.safe_cut(data) if self._may_cut else 0

    @property
    def merges(self) -> NDArray[np.uint32]:
        """Pairs of ids that merge, shape (merges, 2), first to last."""
        return self._plain.merges
