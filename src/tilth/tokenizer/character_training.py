"""Training a vocabulary of characters with byte fallback, as SentencePiece makes them for Llama-2.

The ids: `<unk>`, `<s>`, `</s>`, 256 bytes, characters by code point, merges in their order, special tokens last.
Pieces are those of the byte-level patterns, with spaces as the character U+2581; encoding later cuts nothing, because
what was never in one piece was never merged. No space is put in front of a text (Llama-2 does, Gemma doesn't), so
that every text comes back from its ids; but U+2581 itself is a space. A character that is too rare for a token divides
its piece, because it will be bytes, which merge with nothing (`tokenizers` leaves it out and joins its neighbours).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tilth import native
from tilth.errors import ConfigError
from tilth.progress import Progress
from tilth.tokenizer.config import SENTENCEPIECE_SPECIALS, TokenizerConfig
from tilth.tokenizer.segmented import AddedToken
from tilth.tokenizer.sentencepiece import SPACE_MARK, SentencePieceVocabulary
from tilth.tokenizer.training import trained

_N_SPECIALS = len(SENTENCEPIECE_SPECIALS)
_FIRST_CHARACTER = _N_SPECIALS + 256


def character_vocabulary(
    counts: native.PieceCounts, config: TokenizerConfig, progress: Progress, min_piece_count: int = 1
) -> SentencePieceVocabulary:
    """Learns a vocabulary of characters from counted pieces, as `TokenizerConfig.byte_fallback` asks for.

    Raises: ConfigError if the characters alone are too many for `vocab_size`.
    Source: Sennrich et al. 2016; Kudo and Richardson 2018 (character coverage, byte fallback).
    Checked against: tests/parity/tokenizer/test_character_training.py (`tokenizers`).
    """
    characters = covered_characters(counts, config.character_coverage)
    n_new = config.vocab_size - _FIRST_CHARACTER - len(characters) - len(config.special_tokens)
    if n_new < 0:
        raise ConfigError(
            f"vocab_size {config.vocab_size} has no room for {len(characters)} characters.",
            fix=f"Use at least {config.vocab_size - n_new}, or a smaller character_coverage.",
        )
    symbols = [b""] * _FIRST_CHARACTER + [_text(character) for character in characters]

    def trainer() -> native.BpeTrainer:
        return native.BpeTrainer(
            counts,
            symbols,
            None,
            None,
            "characters",
            "lexicographic" if config.tie_break == "lexicographic" else "lowest_pair",
            min_piece_count,
            config.min_frequency,
            config.max_token_length,
            False,
        )

    merges = trained(trainer, n_new, progress).merges().tolist()
    vocabulary = _vocabulary(characters, merges, config.special_tokens)
    if len(vocabulary.tokens) < config.vocab_size:
        made = n_new - (config.vocab_size - len(vocabulary.tokens))
        progress.say(f"The text gives only {made} of the {n_new} merges that the vocabulary has room for.")
    return vocabulary


def covered_characters(counts: native.PieceCounts, coverage: float) -> list[str]:
    """The most frequent characters that make up the share `coverage` of the text, by code point; a space as U+2581.

    The space is always among them: without a token, its bytes would be those of U+2581 in files of `tokenizers`.
    """
    occurrences: Counter[str] = Counter()
    for character, count in counts.characters():
        occurrences[character.decode().replace(" ", SPACE_MARK)] += count
    wanted = coverage * occurrences.total()
    kept: list[str] = []
    covered = 0
    for character, count in sorted(occurrences.items(), key=lambda item: (-item[1], item[0])):
        if covered >= wanted:
            break
        kept.append(character)
        covered += count
    return sorted({*kept, SPACE_MARK})


def _vocabulary(
    characters: list[str], merges: list[list[int]], special_tokens: tuple[str, ...]
) -> SentencePieceVocabulary:
    pieces = [""] * _FIRST_CHARACTER + characters
    known = set(characters)
    for left, right in merges:
        piece = pieces[left] + pieces[right]
        if piece not in known:
            known.add(piece)
            pieces.append(piece)
    specials = {token: i for i, token in enumerate(SENTENCEPIECE_SPECIALS)}
    specials |= {token: len(pieces) + i for i, token in enumerate(special_tokens)}
    single_bytes = [bytes([byte]) for byte in range(256)]
    return SentencePieceVocabulary(
        tokens=(
            *(token.encode() for token in SENTENCEPIECE_SPECIALS),
            *single_bytes,
            *map(_text, pieces[_FIRST_CHARACTER:]),
            *(token.encode() for token in special_tokens),
        ),
        merges=np.array(merges, dtype=np.uint32).reshape(-1, 2),
        pattern="",
        special_tokens=specials,
        added=tuple([AddedToken(text=token, token_id=token_id) for token, token_id in specials.items()]),
        pieces=(*pieces, *[""] * len(special_tokens)),
        ranks=None,
        byte_ids=tuple(range(_N_SPECIALS, _FIRST_CHARACTER)),
        unknown_id=0,
        prefix="never",
    )


def _text(piece: str) -> bytes:
    return piece.replace(SPACE_MARK, " ").encode()
