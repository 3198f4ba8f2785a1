"""Tokenizers other than plain byte-level BPE, behind the class `Tokenizer`: text in segments between added tokens.

A child says how one segment is encoded and how ids become bytes. The rules for added tokens are those of `tokenizers`:
they are found first in the text as it is, then, those marked so, in the normalized text.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.tokenizer.arrow import as_texts
from tilth.tokenizer.split import to_utf8
from tilth.tokenizer.tokenizer import Special, Tokenizer
from tilth.tokenizer.vocabulary import Vocabulary

Ids = NDArray[np.uint16 | np.uint32]
Where = Literal["first", "later", "continued"]
"""Of a segment: at the beginning of a text, behind an added token, or the rest of a segment that was cut."""

# Unicode's White_Space, in UTF-8.
_SPACE = rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_SPACES = re.compile(_SPACE + rb"*")
_MAX_MATCHERS = 64
_ONE_SPACE = re.compile(_SPACE)


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before anything else is done to it."""

    text: str
    token_id: int
    special: bool = True
    """False: it belongs to ordinary text, and is always found."""
    normalized: bool = False
    """It is looked for in the normalized text."""
    lstrip: bool = False
    """White space in front of it goes away with it."""
    rstrip: bool = False
    """White space behind it goes away with it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedVocabulary(Vocabulary):
    """A vocabulary with added tokens of all kinds; every special token is one of them."""

    added: tuple[AddedToken, ...] = ()


class SegmentedTokenizer(Tokenizer):
    """Cuts text at added tokens; `_encode_segment` encodes what lies between."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._special_names = frozenset(vocabulary.special_tokens)
        self._matchers: dict[frozenset[str], native.SpecialTokens] = {}
        added = vocabulary.added if isinstance(vocabulary, SegmentedVocabulary) else ()
        self._added = {token.text: token for token in added}
        self._always = frozenset(token.text for token in added if not token.special)
        self._normalized = frozenset(token.text for token in added if token.normalized)
        self._strips = any(token.lstrip or token.rstrip for token in added)
        self._ids = {**{token.text: token.token_id for token in added}, **vocabulary.special_tokens}

    @abstractmethod
    def _encode_segment(self, text: bytes, where: Where) -> Ids:
        """Ids of text without added tokens."""

    @abstractmethod
    def _segment_offsets(self, text: bytes, where: Where) -> NDArray[np.int64]:
        """Start and end in `text` of each id of `_encode_segment`, shape (tokens, 2)."""

    @abstractmethod
    def _encode_segment_with_dropout(self, text: bytes, where: Where, dropout: float, seed: int) -> Ids:
        """Ids of text without added tokens, with merges left out at random."""

    @abstractmethod
    def _bytes_of(self, ids: Sequence[int]) -> bytes:
        """The bytes of ids that are all tokens."""

    def _normalize(self, text: bytes) -> bytes:
        return text

    def encode(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> list[int]:
        """The ids of `text`, by the rules of `Tokenizer.encode`."""
        names = self._allowed(text, allowed_special, disallowed_special)
        return self._encode_text(text, names).tolist()

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """The ids of `text`, special tokens in it as ordinary text."""
        return self._encode_text(text, frozenset()).tolist()

    def encode_to_numpy(
        self,
        text: str | bytes,
        out: NDArray[Any] | None = None,
        dtype: DTypeLike | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
        threads: int | None = 1,
    ) -> NDArray[Any]:
        """The ids of `text` as an array, shape (tokens,), by the rules of `Tokenizer.encode_to_numpy`.

        One text takes one thread here, whatever `threads` says.
        """
        ids = self._encode_text(text, self._allowed(text, allowed_special, disallowed_special))
        return self._as_wanted(ids, out, dtype)

    def _as_wanted(self, ids: NDArray[Any], out: NDArray[Any] | None, dtype: DTypeLike | None) -> NDArray[Any]:
        """`ids` as `dtype` (None: the tokenizer's) or in `out`."""
        target = out.dtype if out is not None else np.dtype(dtype if dtype is not None else self.dtype)
        if target.kind not in "iu" or np.iinfo(str(target)).max < self.vocab_size - 1:
            raise ConfigError(
                f"Ids up to {self.vocab_size - 1} do not fit {target}.", fix=f"Use {self.dtype} or wider."
            )
        if out is None:
            return ids.astype(target, copy=False)
        if out.ndim != 1 or len(out) < len(ids):
            raise ConfigError(f"{len(ids)} ids do not fit an array of shape {out.shape}.", fix="Give a longer array.")
        out[: len(ids)] = ids
        return out[: len(ids)]

    def encode_batch(
        self,
        texts: Any,
        threads: int | None = None,
        *,
        allowed_special: Special = (),
        disallowed_special: Special = "all",
    ) -> list[list[int]]:
        """`encode` of every text; an Arrow array of strings is taken as well."""
        results: list[list[int]] = []
        for i, text in enumerate(as_texts(texts)):
            try:
                names = self._allowed(text, allowed_special, disallowed_special)
            except DataError as error:
                raise DataError(f"Text {i}: {error.message}", fix=error.fix) from None
            results.append(self._encode_text(text, names).tolist())
        return results

    def find_tokens(self, data: bytes, names: Collection[str]) -> Iterator[tuple[int, int]]:
        """Start and end of the added tokens `names` in `data`, with the white space that they take away."""
        for part, start, end in self._split(data, frozenset(names)):
            if isinstance(part, int):
                yield start, end

    def encode_part(
        self, data: bytes, *, continued: bool, allowed_special: Special, disallowed_special: Special
    ) -> NDArray[Any]:
        """Ids of a part of a text that begins at a `safe_cut` (`continued`) or at the text's beginning."""
        names = self._allowed(data, allowed_special, disallowed_special)
        return self._encode_data(data, names, "continued" if continued else "first").astype(self.dtype, copy=False)

    def encode_with_dropout(
        self, text: str | bytes, dropout: float, *, seed: int, allowed_special: Special = ()
    ) -> list[int]:
        """Ids of `text` with merges left out at random, by the rules of `Tokenizer.encode_with_dropout`."""
        if not 0 <= dropout <= 1:
            raise ConfigError(f"dropout is {dropout}.", fix="Give a probability from 0 to 1.")
        if dropout == 0:
            return self.encode(text, allowed_special=allowed_special, disallowed_special=())
        ids: list[int] = []
        for part, start, _ in self._parts(to_utf8(text), self._allowed(text, allowed_special, ()) | self._always):
            if isinstance(part, int):
                ids.append(part)
            else:
                where: Where = "first" if start == 0 else "later"
                ids += self._encode_segment_with_dropout(part, where, dropout, seed + len(ids)).tolist()
        return ids

    def offsets(
        self, text: str | bytes, *, allowed_special: Special = (), disallowed_special: Special = "all"
    ) -> NDArray[np.int64]:
        """Start and end in bytes of each id, by the rules of `Tokenizer.offsets`."""
        names = self._allowed(text, allowed_special, disallowed_special)
        data = to_utf8(text)
        found: list[NDArray[np.int64]] = [np.zeros((0, 2), dtype=np.int64)]
        for part, start, end in self._parts(data, names | self._always):
            if isinstance(part, int):
                found.append(np.array([[start, end]], dtype=np.int64))
                continue
            if data[start:end] != part:
                raise DataError(
                    "The vocabulary's normalization changes the text, so its tokens have no place in it.",
                    fix="Normalize the text first.",
                )
            found.append(start + self._segment_offsets(part, "first" if start == 0 else "later"))
        return np.concatenate(found)

    @property
    def always_found(self) -> frozenset[str]:
        """Tokens that are not special and are found in the text before it is cut."""
        return self._always

    def decode_bytes(self, ids: Sequence[int] | NDArray[Any]) -> bytes:
        """The bytes of `ids`.

        Raises: DataError naming an id that is no token.
        """
        array = np.asarray(ids)
        if array.size == 0:
            return b""
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(f"Ids are an array of {array.dtype} of shape {array.shape}, not a sequence of integers.")
        numbers: list[int] = array.tolist()
        for token_id in numbers:
            if not 0 <= token_id < self.vocab_size or not self.vocabulary.tokens[token_id]:
                raise self._no_token(token_id)
        return self._bytes_of(numbers)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that decides the ids."""
        return self.vocabulary.fingerprint(np.zeros((0, 2), dtype=np.uint32))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"

    def _allowed(self, text: str | bytes, allowed_special: Special, disallowed_special: Special) -> frozenset[str]:
        self._matcher_for(text, allowed_special, disallowed_special)
        return self._special_names if allowed_special == "all" else self._special_names & frozenset(allowed_special)

    def _encode_text(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        return self._encode_data(to_utf8(text), allowed, "first")

    def _encode_data(self, data: bytes, allowed: frozenset[str], where: Where) -> Ids:
        parts = [
            np.array([part], dtype=np.uint32)
            if isinstance(part, int)
            else self._encode_segment(part, where if start == 0 else "later")
            for part, start, _ in self._parts(data, allowed | self._always)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.uint32), *parts])

    def _parts(self, data: bytes, names: frozenset[str]) -> Iterator[tuple[int | bytes, int, int]]:
        """Ids of added tokens and normalized segments between them, each with start and end in `data`.

        Within a segment that is cut at normalized tokens, starts and ends are those of the normalized text.
        """
        for part, start, end in self._split(data, names - self._normalized):
            if isinstance(part, int):
                yield part, start, end
                continue
            normalized = self._normalize(part)
            if not names & self._normalized:
                yield normalized, start, end
                continue
            for inner, inner_start, inner_end in self._split(normalized, names & self._normalized):
                yield inner, start + inner_start, start + inner_end

    def _split(self, data: bytes, names: frozenset[str]) -> Iterator[tuple[int | bytes, int, int]]:
        """Ids and what lies between, with where they begin and end."""
        matcher = self._matcher(names) if names else None
        done = at = 0
        while matcher is not None and (match := matcher.find(data, at)) is not None:
            start, end, token_id = match
            if self._strips:
                token = self._added.get(data[start:end].decode())
                start, end = (start, end) if token is None else self._stripped(data, token, done, start, end)
            if start > done:
                yield data[done:start], done, start
            yield token_id, start, end
            done = at = end
        if done < len(data):
            yield data[done:], done, len(data)

    def _stripped(self, data: bytes, token: AddedToken, least: int, start: int, end: int) -> tuple[int, int]:
        if token.rstrip and (spaces := _SPACES.match(data, end)) is not None:
            end = spaces.end()
        while token.lstrip and start > least:
            size = _space_before(data, least, start)
            if size == 0:
                break
            start -= size
        return start, end

    def _matcher(self, names: frozenset[str]) -> native.SpecialTokens:
        if names not in self._matchers:
            if len(self._matchers) >= _MAX_MATCHERS:
                self._matchers.clear()
            self._matchers[names] = native.SpecialTokens([(name, self._ids.get(name, 0)) for name in sorted(names)])
        return self._matchers[names]


def _space_before(data: bytes, least: int, end: int) -> int:
    """How long the white-space character is that ends at `end`; 0 if there is none."""
    for size in (1, 2, 3):
        if end - size >= least and _ONE_SPACE.fullmatch(data, end - size, end):
            return size
    return 0


def ends_with_space(data: bytes) -> bool:
    """Tells whether the last character is white space."""
    return _space_before(data, 0, len(data)) > 0
