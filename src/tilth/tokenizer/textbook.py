"""The tokenizers that textbooks begin with: characters, bytes, words. For lessons and comparison, in plain Python.

All three have the same small interface, so that a lesson can put any of them, or BPE, in the same place. What each one
lacks shows at once: characters and words meet what they have not seen, bytes make sequences long.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from tilth.errors import ConfigError, DataError

UNKNOWN = "<unk>"


class TextbookTokenizer(Protocol):
    """Text to ids and back. `Tokenizer` has it too."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`."""
        ...


class ByteTokenizer:
    """A token for each of the 256 bytes of UTF-8: nothing is ever unknown, and nothing is learned."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of `text`."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD.

        Raises: DataError naming an id that is no byte.
        """
        for token_id in ids:
            if not 0 <= token_id < 256:
                raise DataError(f"{token_id} is no token: there are 256 bytes.")
        return bytes(ids).decode("utf-8", "replace")


class _Listed(ABC):
    """A list of tokens, the first of which stands for everything that is not in it."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = (UNKNOWN, *tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            raise DataError("A token is in the list twice.")

    @property
    def vocab_size(self) -> int:
        """How many ids there are, with that of the unknown."""
        return len(self.tokens)

    @abstractmethod
    def _cut(self, text: str) -> list[str]:
        """The parts of `text` that are looked up."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`; 0 for what is not in the list."""
        return [self._ids.get(part, 0) for part in self._cut(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, with `<unk>` where it is lost.

        Raises: DataError naming an id that is no token.
        """
        for token_id in ids:
            if not 0 <= token_id < self.vocab_size:
                raise DataError(f"{token_id} is no token: the list has {self.vocab_size}.")
        return "".join([self.tokens[token_id] for token_id in ids])


class CharacterTokenizer(_Listed):
    """A token for each character (Unicode code point) that was seen, in the order of code points."""

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharacterTokenizer:
        """Lists the characters of `texts`."""
        return cls(sorted(set().union(*texts)))

    def _cut(self, text: str) -> list[str]:
        return list(text)


class WordTokenizer(_Listed):
    """A token for each frequent word, run of spaces or sign; every other one is `<unk>`."""

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> WordTokenizer:
        """Lists the `vocab_size` - 1 most frequent words of `texts`, equally frequent ones by spelling.

        Raises: ConfigError if `vocab_size` leaves no room for a word.
        """
        if vocab_size < 2:
            raise ConfigError(f"vocab_size {vocab_size} has no room for a word.", fix="Use at least 2.")
        counts = Counter(word for text in texts for word in _words(text))
        by_frequency = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(by_frequency[: vocab_size - 1])

    def _cut(self, text: str) -> list[str]:
        return _words(text)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|\s+|[^\w\s]", text)
