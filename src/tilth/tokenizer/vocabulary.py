"""A vocabulary as data: what every file format reads into and writes from, and what training makes.

It holds no encoder, so that reading, converting and comparing vocabularies need nothing built.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilth.tokenizer.split import PATTERNS


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

    def fingerprint(self, merges: NDArray[np.uint32]) -> str:
        """SHA-256 (hex) of all that decides which ids a text gets; `merges` stands in for `self.merges`."""
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
