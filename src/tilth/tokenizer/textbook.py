"""The tokenizers that textbooks begin with: characters, bytes, words. For lessons and comparison, in plain Python.

Each is a `Tokenizer`, so that any of them can be used where BPE is. What each one lacks shows at
once: characters and words meet what they have not seen, bytes make sequences long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tilth.errors import ConfigError
from tilth.tokenizer.scheme import Ids, Scheme, Where, offsets_of
from tilth.tokenizer.split import last_cut, to_utf8
from tilth.tokenizer.tokenizer import Tokenizer
from tilth.tokenizer.vocabulary import Vocabulary

UNKNOWN = "<unk>"


class ListedVocabulary(Vocabulary):
    """Tokens that are looked up as they are, with id 0 for what is not among them if there is an `<unk>`."""


class LookUp(Scheme):
    """Cuts text and looks up each part."""

    def __init__(self, vocabulary: Vocabulary, cut: Callable[[bytes], list[bytes]]) -> None:
        super().__init__(vocabulary)
        self._cut = cut
        self._ids = {token: i for i, token in enumerate(vocabulary.tokens)}

    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of the parts; 0 for what is not in the list."""
        return np.array([self._ids.get(part, 0) for part in self._cut(text)], dtype=np.uint32)

    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Raises: ConfigError, always."""
        raise ConfigError("BPE-dropout needs a BPE vocabulary.", fix="Leave `dropout` at 0.")

    def segment_offsets(self, text: bytes, where: Where) -> NDArray[np.int64]:
        """Start and end of each part, shape (tokens, 2)."""
        return offsets_of(np.array([len(part) for part in self._cut(text)], dtype=np.int64))

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where a part ends in every context; 0: nowhere."""
        return last_cut(data)


class ByteTokenizer(Tokenizer):
    """A token for each of the 256 bytes of UTF-8: nothing is ever unknown, and nothing is learned."""

    def __init__(self, vocabulary: ListedVocabulary | None = None) -> None:
        """There is one vocabulary, so it need not be given."""
        tokens = tuple(bytes([byte]) for byte in range(256))
        listed = vocabulary or ListedVocabulary(tokens=tokens, merges=None, pattern="", special_tokens={})
        super().__init__(listed, LookUp(listed, _each_byte))


class CharacterTokenizer(Tokenizer):
    """A token for each character (Unicode code point) that was seen, in the order of code points."""

    def __init__(self, vocabulary: ListedVocabulary) -> None:
        super().__init__(vocabulary, LookUp(vocabulary, _each_character))

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharacterTokenizer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Lists the characters of `texts`."""
        return cls(_listed(sorted({character for text in texts for character in _each_character(to_utf8(text))})))


class WordTokenizer(Tokenizer):
    """A token for each frequent word, run of spaces or sign; every other one is `<unk>`."""

    def __init__(self, vocabulary: ListedVocabulary) -> None:
        super().__init__(vocabulary, LookUp(vocabulary, _each_word))

    @classmethod
    def train(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, texts: Iterable[str], vocab_size: int
    ) -> WordTokenizer:
        """Lists the `vocab_size` - 1 most frequent words of `texts`, equally frequent ones by spelling.

        Raises: ConfigError if `vocab_size` leaves no room for a word.
        """
        if vocab_size < 2:
            raise ConfigError(f"vocab_size {vocab_size} has no room for a word.", fix="Use at least 2.")
        counts = Counter(word for text in texts for word in _each_word(to_utf8(text)))
        by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(_listed(by_frequency[: vocab_size - 1]))


def _listed(tokens: Sequence[bytes]) -> ListedVocabulary:
    return ListedVocabulary(tokens=(UNKNOWN.encode(), *tokens), merges=None, pattern="", special_tokens={UNKNOWN: 0})


def _each_byte(text: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in text]


def _each_character(text: bytes) -> list[bytes]:
    return [character.encode("utf-8", "surrogateescape") for character in text.decode("utf-8", "surrogateescape")]


def _each_word(text: bytes) -> list[bytes]:
    words: list[str] = re.findall(r"\w+|\s+|[^\w\s]", text.decode("utf-8", "surrogateescape"))
    return [word.encode("utf-8", "surrogateescape") for word in words]
