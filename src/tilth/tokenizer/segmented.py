"""Tokenizers other than plain byte-level BPE, behind the class `Tokenizer`: text in segments between added tokens.

A child says how one segment is encoded and how ids become bytes. The rules for added tokens are those of `tokenizers`:
they are found first in the text as it is, then, those marked so, in the normalized text.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.tokenizer.arrow import as_texts
from tilth.tokenizer.split import to_utf8
from tilth.tokenizer.tokenizer import Special, Tokenizer
from tilth.tokenizer.vocabulary import Vocabulary

Ids = NDArray[np.uint32]

# Unicode's White_Space, in UTF-8.
_SPACE = rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
_SPACES = re.compile(_SPACE + rb"*")
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
    def _encode_segment(self, text: bytes, is_first: bool) -> Ids:
        """Ids of text without added tokens; `is_first`: it stands at the beginning of what is encoded."""

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
    ) -> NDArray[Any]:
        """The ids of `text` as an array, shape (tokens,), by the rules of `Tokenizer.encode_to_numpy`."""
        ids = self._encode_text(text, self._allowed(text, allowed_special, disallowed_special))
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
        parts = [
            np.array([part], dtype=np.uint32) if isinstance(part, int) else self._encode_segment(*part)
            for part in self._parts(to_utf8(text), allowed | self._always)
        ]
        return np.concatenate(parts) if len(parts) != 1 and parts else parts[0] if parts else np.zeros(0, np.uint32)

    def _parts(self, data: bytes, names: frozenset[str]) -> Iterator[int | tuple[bytes, bool]]:
        """Ids of added tokens, and between them segments: bytes, and whether they begin the text."""
        for part, start in self._split(data, names - self._normalized):
            if isinstance(part, int):
                yield part
                continue
            normalized = self._normalize(part)
            if not names & self._normalized:
                yield normalized, start == 0
                continue
            for inner, inner_start in self._split(normalized, names & self._normalized):
                yield inner if isinstance(inner, int) else (inner, start + inner_start == 0)

    def _split(self, data: bytes, names: frozenset[str]) -> Iterator[tuple[int | bytes, int]]:
        """Ids and what lies between, with where they begin."""
        matcher = self._matcher(names) if names else None
        done = at = 0
        while matcher is not None and (match := matcher.find(data, at)) is not None:
            start, end, token_id = match
            at = end
            if self._strips:
                token = self._added[data[start:end].decode()]
                start, end = self._stripped(data, token, done, start, end)
                at = max(at, end)
            if start > done:
                yield data[done:start], done
            yield token_id, start
            done = at = end
        if done < len(data):
            yield data[done:], done

    def _stripped(self, data: bytes, token: AddedToken, least: int, start: int, end: int) -> tuple[int, int]:
        if token.rstrip and (spaces := _SPACES.match(data, end)) is not None:
            end = spaces.end()
        while token.lstrip and start > least:
            for size in (1, 2, 3):
                if start - size >= least and _ONE_SPACE.fullmatch(data, start - size, start):
                    start -= size
                    break
            else:
                break
        return start, end

    def _matcher(self, names: frozenset[str]) -> native.SpecialTokens:
        if names not in self._matchers:
            if len(self._matchers) >= 64:
                self._matchers.clear()
            self._matchers[names] = native.SpecialTokens([(name, self._ids.get(name, 0)) for name in sorted(names)])
        return self._matchers[names]
