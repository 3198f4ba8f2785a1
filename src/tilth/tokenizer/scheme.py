"""How one kind of vocabulary encodes and decodes. `Tokenizer` calls it and checks the arguments first.

A text is cut at the tokens that are looked for in it, and a subclass says how a segment between them is encoded. The
rest is done here in Python; a subclass whose native core does more in one call overrides methods for speed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import DataError
from tilth.tokenizer.split import to_utf8
from tilth.tokenizer.stream import StreamDecoder
from tilth.tokenizer.vocabulary import Vocabulary

Ids = NDArray[np.uint16 | np.uint32]
Where = Literal["first", "later", "continued"]
"""Of a segment: at the beginning of a text, behind a token that was found, or the rest of a segment that was cut."""
Part = tuple[int | bytes, int, int]
"""The id of a token that was found, or the bytes between two, with start and end in bytes."""

_MAX_MATCHERS = 64


class Scheme(ABC):
    """How text becomes ids and back. Read-only, like the vocabulary that it is made of."""

    always_found: frozenset[str] = frozenset()
    """Tokens that are not special and are found in the text before it is cut."""

    def __init__(self, vocabulary: Vocabulary, token_ids: Mapping[str, int] | None = None) -> None:
        """`token_ids` are those of all tokens that may be looked for in text; None: the special tokens'."""
        self.vocabulary = vocabulary
        self._token_ids = vocabulary.special_tokens if token_ids is None else token_ids
        self._matchers: dict[frozenset[str], native.SpecialTokens] = {}

    @abstractmethod
    def encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text in which no token is looked for."""

    @abstractmethod
    def encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Ids of such text with merges left out at random.

        Raises: ConfigError if nothing is merged.
        """

    def decode(self, ids: NDArray[np.uint32]) -> bytes:
        """The bytes of one or more ids, all less than `vocab_size`.

        Raises: IndexError with an id that is not in use.
        """
        numbers: list[int] = ids.tolist()
        tokens = [self.vocabulary.tokens[token_id] for token_id in numbers]
        if not all(tokens):
            raise IndexError(numbers[tokens.index(b"")])
        return b"".join(tokens)

    def segment_offsets(self, text: bytes, where: Where) -> NDArray[np.int64]:
        """Start and end in `text` of each id of `encode_segment`, shape (tokens, 2)."""
        return offsets_of(self.token_lengths[self.encode_segment(text, where)])

    def safe_cut(self, data: bytes) -> int:
        """The last byte of `data` where it can be cut so that the parts have the ids of the whole; 0: nowhere."""
        return 0

    @property
    def merges(self) -> NDArray[np.uint32]:
        """Pairs of ids that merge, shape (merges, 2), first to last; none where merging goes by rank."""
        merges = self.vocabulary.merges
        return np.zeros((0, 2), dtype=np.uint32) if merges is None else merges

    def stream_decoder(self, token_bytes: Callable[[int], bytes]) -> StreamDecoder:
        """A decoder that takes ids one at a time; `token_bytes` gives the bytes of one."""
        return StreamDecoder(token_bytes)

    def encode(self, text: str | bytes, found: frozenset[str], *, continued: bool = False, threads: int = 1) -> Ids:
        """Ids of a text, or of its rest behind a `safe_cut` (`continued`), in which the tokens `found` are found."""
        first: Where = "continued" if continued else "first"
        parts = [
            np.array([part], dtype=np.uint32)
            if isinstance(part, int)
            else self.encode_segment(part, first if start == 0 else "later")
            for part, start, _ in self.parts(to_utf8(text), found)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint32), *parts])

    def encode_to_list(self, text: str | bytes, found: frozenset[str]) -> list[int]:
        """`encode` as a list."""
        return self.encode(text, found).tolist()

    def encode_into(self, text: str | bytes, found: frozenset[str], out: NDArray[Any], threads: int) -> int:
        """Writes ids into `out` if they fit; returns how many there are."""
        ids = self.encode(text, found, threads=threads)
        if len(ids) <= len(out):
            out[: len(ids)] = ids
        return len(ids)

    def encode_batch(self, texts: list[str | bytes], found: frozenset[str], threads: int) -> list[list[int]]:
        """`encode_to_list` of every text."""
        return [self.encode_to_list(text, found) for text in texts]

    def encode_batch_to_numpy(
        self, texts: list[str | bytes], found: frozenset[str], threads: int
    ) -> tuple[Ids, NDArray[np.int64]]:
        """The ids of all texts, and where those of each begin and end, shape (texts + 1,)."""
        arrays = [self.encode(text, found) for text in texts]
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in arrays], out=offsets[1:])
        return np.concatenate([np.zeros(0, np.uint16), *arrays]), offsets

    def encode_with_dropout(self, text: bytes, found: frozenset[str], dropout: float, seed: int) -> list[int]:
        """Ids of a text with merges left out at random."""
        ids: list[int] = []
        for part, start, _ in self.parts(text, found):
            if isinstance(part, int):
                ids.append(part)
            else:
                where: Where = "first" if start == 0 else "later"
                ids += self.encode_segment_with_dropout(part, where, dropout, seed + len(ids)).tolist()
        return ids

    def offsets(self, text: bytes, found: frozenset[str]) -> NDArray[np.int64]:
        """Start and end in `text` of each id of `encode`, shape (tokens, 2).

        Raises: DataError if the vocabulary's normalization changes the text.
        """
        offsets: list[NDArray[np.int64]] = [np.zeros((0, 2), dtype=np.int64)]
        for part, start, end in self.parts(text, found):
            if isinstance(part, int):
                offsets.append(np.array([[start, end]], dtype=np.int64))
                continue
            if text[start:end] != part:
                raise DataError(
                    "The vocabulary's normalization changes the text, so its tokens have no positions in it.",
                    fix="Normalize the text first.",
                )
            offsets.append(start + self.segment_offsets(part, "first" if start == 0 else "later"))
        return np.concatenate(offsets)

    def parts(self, data: bytes, found: Collection[str]) -> Iterator[Part]:
        """The tokens `found` in `data` and the segments between them, as they are encoded."""
        return self.split(data, frozenset(found) | self.always_found)

    def split(self, data: bytes, names: frozenset[str]) -> Iterator[Part]:
        """The tokens `names` in `data` and the bytes between them."""
        done = 0
        for token_id, start, end in self.find(data, names):
            if start > done:
                yield data[done:start], done, start
            yield token_id, start, end
            done = end
        if done < len(data):
            yield data[done:], done, len(data)

    def find(self, data: bytes, names: frozenset[str]) -> Iterator[tuple[int, int, int]]:
        """Id, start and end of the tokens `names` in `data`: leftmost first, then longest."""
        matcher, at = self.matcher(names), 0
        while matcher is not None and (match := matcher.find(data, at)) is not None:
            start, at, token_id = match
            yield token_id, start, at

    def matcher(self, names: frozenset[str]) -> native.SpecialTokens | None:
        """What finds `names` in text; None if there are none."""
        if not names:
            return None
        if names not in self._matchers:
            if len(self._matchers) >= _MAX_MATCHERS:
                self._matchers.clear()
            ids = self._token_ids
            self._matchers[names] = native.SpecialTokens([(name, ids.get(name, 0)) for name in sorted(names)])
        return self._matchers[names]

    @cached_property
    def token_lengths(self) -> NDArray[np.int64]:
        """Bytes of each token, shape (vocab_size,)."""
        return np.array([len(token) for token in self.vocabulary.tokens], dtype=np.int64)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start and end of each token, shape (tokens, 2), from the tokens' lengths."""
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1) if len(ends) else np.zeros((0, 2), dtype=np.int64)
