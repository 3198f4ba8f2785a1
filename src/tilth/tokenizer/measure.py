"""What a tokenizer does to a text: how many bytes a token holds, which tokens it uses, how it cuts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tilth.tokenizer.tokenizer import Tokenizer

LONGEST = 24
"""Longest tokens to list."""
EXAMPLE_CHARACTERS = 600
"""Length of the text that is shown cut into tokens."""


def statistics(tokenizer: Tokenizer, texts: Iterable[str], *, training_bytes: int = 0) -> dict[str, Any]:
    """Measures a tokenizer on `texts`; `training_bytes` is what it was trained on, passed through.

    Units: `bytes_per_token` in UTF-8 bytes; `used_tokens` counts ids that occur at least once. The example is the
    beginning of the first text of some length.
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
    return {
        "vocab_size": tokenizer.vocab_size,
        "pattern": tokenizer.pattern,
        "fingerprint": tokenizer.fingerprint,
        "bytes_per_token": n_bytes / max(int(used.sum()), 1),
        "used_tokens": int((used > 0).sum()),
        "training_bytes": training_bytes,
        "longest_tokens": [tokenizer.token_bytes(i).decode("utf-8", "replace") for i in longest],
        "example": {"text": example, "pieces": pieces(tokenizer, example)},
    }


def pieces(tokenizer: Tokenizer, text: str) -> list[dict[str, Any]]:
    """Returns the tokens of a text as `{"text", "id"}`; a token that holds part of a character shows as `\\ufffd`."""
    return [
        {"text": tokenizer.token_bytes(token).decode("utf-8", "replace"), "id": token}
        for token in tokenizer.encode_ordinary(text)
    ]
