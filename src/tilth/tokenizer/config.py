"""What a recipe says about its tokenizer. Imports nothing heavy, so that planning a run stays light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tilth.errors import ConfigError

END_OF_TEXT = "<|endoftext|>"

TieBreak = Literal["huggingface", "lexicographic", "lowest_pair"]
"""Which of equally frequent pairs merges first.

huggingface: the lowest pair of ids, bytes numbered as in GPT-2 (the `tokenizers` trainer); lowest_pair: the
same with bytes numbered by value (rustbpe); lexicographic: the greatest pair of byte strings (Stanford
CS336).
"""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Train a byte-level BPE tokenizer."""

    vocab_size: int = 8192
    """Number of ids: 256 bytes, merges and special tokens."""
    pattern: str = "llama3"
    """How text is cut before merging: gpt2, smollm2, cl100k, llama3, qwen2, o200k, or a regex of your own."""
    special_tokens: tuple[str, ...] = (END_OF_TEXT,)
    """Tokens that text never gives by itself; they take the last ids, in this order."""
    tie_break: TieBreak = "huggingface"
    """Which of equally frequent pairs merges first."""
    min_frequency: int = 1
    """A pair merges only if it occurs at least this often."""
    max_token_length: int | None = None
    """Longest token that merging makes, in bytes; None: any length."""
    max_training_bytes: int | None = 200_000_000
    """Stop reading after this many bytes of text (UTF-8); None: read everything."""

    def __post_init__(self) -> None:
        tokens = self.special_tokens
        if len(set(tokens)) != len(tokens) or not all(tokens):
            raise ConfigError(
                f"special_tokens {list(tokens)} holds an empty or repeated token.",
                fix="Name each special token once.",
            )
        least = 256 + len(tokens)
        if self.vocab_size < least:
            raise ConfigError(
                f"vocab_size {self.vocab_size} is too small for 256 bytes and {len(tokens)} special tokens.",
                fix=f"Use at least {least}.",
            )
        if self.tie_break not in get_args(TieBreak):
            raise ConfigError(
                f"tie_break {self.tie_break!r} is unknown.",
                fix=f"Use one of {', '.join(get_args(TieBreak))}.",
            )
        if self.min_frequency < 1:
            raise ConfigError(f"min_frequency {self.min_frequency} is no number of times.", fix="Use 1 or more.")
        if self.max_token_length is not None and self.max_token_length < 2:
            raise ConfigError(
                f"max_token_length {self.max_token_length} leaves nothing to merge.",
                fix="Use 2 or more bytes, or None.",
            )
        if self.max_training_bytes is not None and self.max_training_bytes < 1:
            raise ConfigError(
                f"max_training_bytes {self.max_training_bytes} leaves nothing to train on.",
                fix="Use a positive number, or None for everything.",
            )
