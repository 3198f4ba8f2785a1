"""Text to ids and back: training, encoding, decoding, files and comparison of tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilth._lazy import attach

if TYPE_CHECKING:
    from tilth.tokenizer.config import END_OF_TEXT, TieBreak, TokenizerConfig
    from tilth.tokenizer.measure import statistics
    from tilth.tokenizer.stream import StreamDecoder
    from tilth.tokenizer.text_files import EncodedPart
    from tilth.tokenizer.textbook import ByteTokenizer, CharacterTokenizer, WordTokenizer
    from tilth.tokenizer.tokenizer import Tokenizer
    from tilth.tokenizer.vocabulary import Vocabulary

_MODULES = {
    "END_OF_TEXT": "config",
    "ByteTokenizer": "textbook",
    "CharacterTokenizer": "textbook",
    "EncodedPart": "text_files",
    "StreamDecoder": "stream",
    "TieBreak": "config",
    "Tokenizer": "tokenizer",
    "TokenizerConfig": "config",
    "Vocabulary": "vocabulary",
    "WordTokenizer": "textbook",
    "statistics": "measure",
}
__getattr__ = attach("tilth.tokenizer", {name: f"tilth.tokenizer.{module}" for name, module in _MODULES.items()})

__all__ = [
    "END_OF_TEXT",
    "ByteTokenizer",
    "CharacterTokenizer",
    "EncodedPart",
    "StreamDecoder",
    "TieBreak",
    "Tokenizer",
    "TokenizerConfig",
    "Vocabulary",
    "WordTokenizer",
    "statistics",
]
