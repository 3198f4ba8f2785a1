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


SENTENCEPIECE_SPECIALS = ("<unk>", "<s>", "</s>")
"""The first ids of a vocabulary with byte fallback, as in Llama-2."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Train a BPE tokenizer, of bytes or of characters with byte fallback."""

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
    weights: tuple[str, ...] = ()
    """NAME=N: documents of that kind (code, prose), language or source (`books/*`) count N times; the first fits."""
    superwords_from: int | None = None
    """Vocabulary size from which on merges may join words (SuperBPE's transition point); None: they never do."""
    byte_fallback: bool = False
    """Learn characters instead of bytes, as Llama-2's SentencePiece; a rare character becomes its bytes."""
    character_coverage: float = 0.9995
    """With byte fallback: the share of the text whose characters, the most frequent ones, get tokens of their own."""

    def __post_init__(self) -> None:
        self._check_sizes()
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
        if not 0 < self.character_coverage <= 1:
            raise ConfigError(
                f"character_coverage {self.character_coverage} is no share of a text.", fix="Use 0.9995, or 1 for all."
            )
        self.named_weights()

    def named_weights(self) -> dict[str, int]:
        """`weights` by name.

        Raises: ConfigError naming one that is not NAME=N with a whole number of at least 1.
        """
        parsed: dict[str, int] = {}
        for weight in self.weights:
            name, _, number = weight.rpartition("=")
            if not name or not number.isdecimal() or int(number) < 1 or name in parsed:
                raise ConfigError(
                    f"The weight {weight!r} cannot work.",
                    fix="Write NAME=N, each name once, N a whole number of at least 1: `code=3`.",
                )
            parsed[name] = int(number)
        return parsed

    def _check_sizes(self) -> None:
        tokens = self.special_tokens
        if len(set(tokens)) != len(tokens) or not all(tokens):
            raise ConfigError(
                f"special_tokens {list(tokens)} holds an empty or repeated token.",
                fix="Name each special token once.",
            )
        if self.byte_fallback and (own := set(tokens) & set(SENTENCEPIECE_SPECIALS)):
            raise ConfigError(f"{min(own)} has an id of its own with byte_fallback.", fix="Leave it out.")
        least = 256 + len(tokens) + (len(SENTENCEPIECE_SPECIALS) if self.byte_fallback else 0)
        if self.vocab_size < least:
            raise ConfigError(
                f"vocab_size {self.vocab_size} is too small for 256 bytes and {least - 256} special tokens.",
                fix=f"Use at least {least}.",
            )
        if self.superwords_from is None:
            return
        if self.byte_fallback:
            raise ConfigError("superwords_from and byte_fallback do not go together.", fix="Leave out one of them.")
        if not least <= self.superwords_from <= self.vocab_size:
            raise ConfigError(
                f"superwords_from {self.superwords_from} is not between {least} and vocab_size {self.vocab_size}.",
                fix="SuperBPE's authors take superwords from 40 to 90 % of the vocabulary on.",
            )
