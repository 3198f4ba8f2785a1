"""What a tokenizer does to a text, measured: `statistics.json`."""

from __future__ import annotations

from dataclasses import dataclass

STATISTICS = "statistics.json"


@dataclass(frozen=True, kw_only=True)
class TokenPiece:
    """One token of the example text; one that holds part of a character shows as U+FFFD."""

    text: str
    id: int


@dataclass(frozen=True, kw_only=True)
class TokenizedExample:
    """A text and the tokens that it is split into."""

    text: str
    pieces: tuple[TokenPiece, ...]


@dataclass(frozen=True, kw_only=True)
class TokenizerStatistics:
    """A tokenizer on a text that it was not trained on."""

    vocab_size: int
    pattern: str
    fingerprint: str
    bytes_per_token: float
    """UTF-8 bytes."""
    used_tokens: int
    """Ids that occur at least once."""
    training_bytes: int
    longest_tokens: tuple[str, ...]
    example: TokenizedExample
