"""Statistics of a tokenizer on a text: bytes per token, ids in use, longest tokens, an example."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tilth.tokenizer.result import TokenizedExample, TokenizerStatistics, TokenPiece

if TYPE_CHECKING:
    from tilth.tokenizer.tokenizer import Tokenizer

LONGEST = 24
"""Longest tokens to list."""
EXAMPLE_CHARACTERS = 600
"""Length of the example text."""


def statistics(tokenizer: Tokenizer, texts: Iterable[str], *, training_bytes: int = 0) -> TokenizerStatistics:
    """Measures a tokenizer on `texts`; `training_bytes` is the size of what it was trained on, passed through.

    The example is the beginning of the first text that has `EXAMPLE_CHARACTERS`, or of the longest one.
    """
    used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    n_bytes, example = 0, ""
    for text in texts:
        ids = tokenizer.encode_to_numpy(text, disallowed_special=())
        used += np.bincount(ids, minlength=tokenizer.vocab_size)
        n_bytes += len(text.encode("utf-8", "surrogatepass"))
        if len(example) < EXAMPLE_CHARACTERS:
            example = max(example, text[:EXAMPLE_CHARACTERS], key=len)
    ordinary = set(range(tokenizer.vocab_size)) - set(tokenizer.special_tokens.values())
    longest = sorted(ordinary, key=lambda i: (-len(tokenizer.token_bytes(i)), i))[:LONGEST]
    return TokenizerStatistics(
        vocab_size=tokenizer.vocab_size,
        pattern=tokenizer.pattern,
        fingerprint=tokenizer.fingerprint,
        bytes_per_token=n_bytes / max(int(used.sum()), 1),
        used_tokens=int((used > 0).sum()),
        training_bytes=training_bytes,
        longest_tokens=tuple(_text(tokenizer, token) for token in longest),
        example=TokenizedExample(text=example, pieces=pieces(tokenizer, example)),
    )


def pieces(tokenizer: Tokenizer, text: str) -> tuple[TokenPiece, ...]:
    """Returns the tokens of a text."""
    return tuple(TokenPiece(text=_text(tokenizer, token), id=token) for token in tokenizer.encode_ordinary(text))


def _text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.token_bytes(token).decode("utf-8", "replace")
