"""A vocabulary as data: what every file format reads into and writes from, and what training makes.

It holds no encoder, so that reading, converting and comparing vocabularies need nothing built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilth.errors import DataError
from tilth.tokenizer.split import PATTERNS

MAX_ID = (1 << 22) - 1
"""The greatest id that a file may name; a greater one is an error: it would allocate as many entries."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """A byte-level BPE vocabulary."""

    tokens: tuple[bytes, ...]
    """Bytes by id, special tokens as the UTF-8 of their text; b"" for an id that is not in use."""
    merges: NDArray[np.uint32] | None
    """Pairs of ids, shape (merges, 2), first to last.

    None: any two tokens whose bytes join to a token merge, the lowest id first (a rank file)."""
    pattern: str
    """A known pattern's name or a regex."""
    special_tokens: dict[str, int]
    """Text and id of every special token."""
    ignore_merges: bool = False
    """A piece that is a token becomes it, whatever the merges would give."""
    template: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Special tokens that the file puts before and behind a text; encoding adds them only when asked."""

    def fingerprint(self, merges: NDArray[np.uint32]) -> str:
        """SHA-256 (hex) of all that decides which ids a text gets; `merges` is used instead of `self.merges`."""
        sha = hashlib.sha256()

        def add(part: bytes) -> None:
            sha.update(len(part).to_bytes(8, "little"))
            sha.update(part)

        for token in self.tokens:
            add(token)
        add(np.ascontiguousarray(merges, dtype="<u4").tobytes())
        add(PATTERNS.get(self.pattern, self.pattern).encode())
        for token, token_id in sorted(self.special_tokens.items(), key=lambda item: item[1]):
            add(f"{token_id} {token}".encode())
        add(b"ignore merges" if self.ignore_merges or self.merges is None else b"")
        return sha.hexdigest()


def tokens_by_id(
    source: str, tokens: Mapping[bytes, int] | Sequence[bytes], special_tokens: Mapping[str, int]
) -> tuple[bytes, ...]:
    """Bytes by id, b"" for an unused id; `source` is named in errors, `tokens` are ids by bytes or bytes by id.

    Raises: DataError if an id is shared or out of range.
    """
    by_id: list[bytes] = []
    if isinstance(tokens, Mapping):
        _add_tokens(source, by_id, tokens.items())
    else:
        by_id += tokens
    _add_tokens(
        source, by_id, [(text.encode("utf-8", "replace"), token_id) for text, token_id in special_tokens.items()]
    )
    return tuple(by_id)


def _add_tokens(source: str, by_id: list[bytes], tokens: Collection[tuple[bytes, int]]) -> None:
    """Stores tokens at their ids, b"" at the ids between."""
    for token, token_id in tokens:
        if not 0 <= token_id <= MAX_ID:
            raise DataError(f"{source}: the id {token_id} of {token!r} is not between 0 and {MAX_ID}.")
    by_id += [b""] * (1 + max([token_id for _, token_id in tokens], default=-1) - len(by_id))
    for token, token_id in tokens:
        if by_id[token_id]:
            raise _shared(source, by_id[token_id], token, token_id)
        by_id[token_id] = token


def _shared(source: str, one: bytes, other: bytes, token_id: int) -> DataError:
    return DataError(f"{source}: {one!r} and {other!r} have the same id {token_id}.")
