"""Training a BPE vocabulary: count pieces, then merge the most frequent pair, again and again.

The ids of a new byte-level vocabulary are laid out as in GPT-2 and Llama-3: 256 bytes, merges in their order, special
tokens last, so that a larger vocabulary of the same text begins with the smaller one. Training may also continue from
an existing vocabulary (`extend`), and may join words from some size on (SuperBPE). Both begin with the ids that the
vocabulary so far gives to each piece, so that what was learned before is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import ConfigError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.byte_level import BYTE_ORDER
from tilth.tokenizer.config import TokenizerConfig
from tilth.tokenizer.counting import Weighted, count_each
from tilth.tokenizer.split import pattern_name, superword_digits, superword_pattern
from tilth.tokenizer.vocabulary import Vocabulary

_TOKENS_AT_A_TIME = 64


def train_vocabulary(
    texts: Iterable[Weighted],
    config: TokenizerConfig,
    progress: Progress = SILENT,
    *,
    threads: int = 1,
    extend: Vocabulary | None = None,
) -> Vocabulary:
    """Learns a vocabulary. Special tokens in the text divide it and are not counted.

    With `extend`, new tokens get the ids behind that vocabulary's, whose tokens all keep theirs. If the text runs out
    of pairs, the vocabulary is smaller than asked for, and `progress` says so.
    Memory: the distinct pieces; with `superwords_from` also the text itself, about 13 bytes for each byte.
    Raises: ConfigError for a single `str` (whose letters would be the texts), a pattern that is no regex, or a
    vocabulary that cannot be extended.
    Source: Sennrich et al. 2016; Radford et al. 2019 (bytes); Liu et al. 2025 (superwords).
    Checked against: tests/parity/tokenizer/test_bpe_training.py (`tokenizers`, rustbpe).
    """
    if extend is not None:
        config = extension_config(config, extend)
    patterns = [config.pattern]
    if config.superwords_from is not None and config.superwords_from < config.vocab_size:
        patterns.append(superword_pattern(config.pattern))
    counts = count_each(texts, config, patterns, progress, threads)
    superword_counts = counts[1] if len(counts) > 1 else None
    return vocabulary_of(counts[0], config, progress, superword_counts=superword_counts, extend=extend)


def vocabulary_of(
    counts: native.PieceCounts,
    config: TokenizerConfig,
    progress: Progress = SILENT,
    *,
    min_piece_count: int = 1,
    superword_counts: native.PieceCounts | None = None,
    extend: Vocabulary | None = None,
) -> Vocabulary:
    """Learns a vocabulary from counted pieces, of those that occur at least `min_piece_count` times.

    `superword_counts` are those of the text cut for superwords, which `config.superwords_from` asks for. To continue
    from `extend`, `config` must be its `extension_config`, and the pieces counted with that.
    Raises: ConfigError if the counts for superwords are missing.
    """
    if config.byte_fallback:
        from tilth.tokenizer.character_training import character_vocabulary

        return character_vocabulary(counts, config, progress, min_piece_count)
    known = extend.special_tokens if extend is not None else {}
    new_specials = [token for token in config.special_tokens if token not in known]
    growing = _Growing.of_bytes(config) if extend is None else _Growing.of_vocabulary(extend)
    n_start = len(growing.tokens)
    n_last = config.vocab_size - len(new_specials)
    n_apart = n_last if config.superwords_from is None else config.superwords_from - len(new_specials)
    is_for_superwords = superword_digits(config.pattern) is not None
    growing.learn(counts, n_apart, config, progress, min_piece_count, superwords=is_for_superwords)
    joins_words = n_apart < n_last
    if joins_words:
        if superword_counts is None:
            raise ConfigError("There are no counts for superwords.", fix="Count the text with `superwords=True`, too.")
        growing.learn(superword_counts, n_last, config, progress, min_piece_count, superwords=True)
    if len(growing.tokens) < n_last:
        progress.say(
            f"The text gives only {len(growing.tokens) - n_start} of the {n_last - n_start} merges that the "
            "vocabulary has room for."
        )
    pattern = superword_pattern(config.pattern) if joins_words else config.pattern
    if extend is None:
        return growing.new_vocabulary(pattern, new_specials)
    return growing.extended(extend, pattern, new_specials)


def extension_config(config: TokenizerConfig, extend: Vocabulary) -> TokenizerConfig:
    """`config` as it is when training continues from `extend`: with its pattern, and its special tokens too.

    Raises: ConfigError if that vocabulary is not plain byte-level BPE, is as large as `vocab_size`, or is cut in
    another way than `config` says.
    """
    if type(extend) is not Vocabulary:
        raise ConfigError(
            "Only plain byte-level BPE can be extended: no SentencePiece, normalizer or tokens that ordinary text "
            "may hold.",
            fix="Train a new vocabulary.",
        )
    if config.byte_fallback:
        raise ConfigError("byte_fallback is for new vocabularies.", fix="Leave it out to extend one.")
    given, own = (pattern_name(pattern) or pattern for pattern in (config.pattern, extend.pattern))
    if given not in (own, TokenizerConfig.pattern):
        raise ConfigError(
            f"The vocabulary to extend cuts text by {own}, not by {given}.", fix="Leave out `pattern`: it stays."
        )
    added = [token for token in config.special_tokens if token not in extend.special_tokens]
    least = len(extend.tokens) + len(added)
    for name, size in (("vocab_size", config.vocab_size), ("superwords_from", config.superwords_from)):
        if size is not None and size < least:
            raise ConfigError(
                f"{name} {size} is less than the {least} tokens that there are with the new special tokens.",
                fix=f"Use more than {least}.",
            )
    return replace(config, pattern=extend.pattern, special_tokens=(*extend.special_tokens, *added))


def trained(
    make_trainer: Callable[[], native.BpeTrainer], n_new: int, progress: Progress, name: str = "merging"
) -> native.BpeTrainer:
    """The trainer, made under a bar, that has merged until there are `n_new` more tokens or no pair is left."""
    done = 0
    with progress.bar(name, n_new, "merges") as bar:
        trainer = make_trainer()
        while done < n_new:
            made = trainer.merge(min(_TOKENS_AT_A_TIME, n_new - done))
            if made == 0:
                break
            done += made
            bar.advance(made)
    return trainer


@dataclass
class _Growing:
    """A vocabulary in training. Its ids are those of training, where bytes may be in another order."""

    tokens: list[bytes]
    special_ids: list[int]
    merges: NDArray[np.uint32] | None
    """None: whatever two tokens join to a token merge (a rank file)."""
    ignore_merges: bool = False

    @classmethod
    def of_bytes(cls, config: TokenizerConfig) -> _Growing:
        order = bytes(range(256)) if config.tie_break == "lowest_pair" else BYTE_ORDER
        return cls([bytes([byte]) for byte in order], [], np.zeros((0, 2), dtype=np.uint32))

    @classmethod
    def of_vocabulary(cls, vocabulary: Vocabulary) -> _Growing:
        special_ids = list(vocabulary.special_tokens.values())
        return cls(list(vocabulary.tokens), special_ids, vocabulary.merges, vocabulary.ignore_merges)

    def learn(
        self,
        counts: native.PieceCounts,
        n_tokens: int,
        config: TokenizerConfig,
        progress: Progress,
        min_piece_count: int,
        *,
        superwords: bool,
    ) -> None:
        """Merges until there are `n_tokens` tokens, or no pair is left."""
        mergeable = self._mergeable()

        def trainer() -> native.BpeTrainer:
            return native.BpeTrainer(
                counts,
                mergeable,
                *self._encoders(superwords),
                "bytes",
                "lexicographic" if config.tie_break == "lexicographic" else "lowest_pair",
                min_piece_count,
                config.min_frequency,
                config.max_token_length,
                superwords,
            )

        name = "merging across words" if superwords else "merging"
        made = trained(trainer, n_tokens - len(self.tokens), progress, name).merges()
        # A merge whose bytes are a token already makes no new one.
        known = set(mergeable)
        for left, right in made.tolist():
            token = self.tokens[left] + self.tokens[right]
            if token not in known:
                known.add(token)
                self.tokens.append(token)
        if self.merges is not None:
            self.merges = np.concatenate([self.merges, made])

    def new_vocabulary(self, pattern: str, special_tokens: list[str]) -> Vocabulary:
        """The vocabulary with bytes in GPT-2's order."""
        assert self.merges is not None
        final_ids = np.arange(len(self.tokens), dtype=np.uint32)
        final_ids[:256] = [BYTE_ORDER.index(token) for token in self.tokens[:256]]
        specials = {token: len(self.tokens) + i for i, token in enumerate(special_tokens)}
        single_bytes = [bytes([byte]) for byte in BYTE_ORDER]
        return Vocabulary(
            tokens=(*single_bytes, *self.tokens[256:], *(token.encode() for token in specials)),
            merges=final_ids[self.merges],
            pattern=pattern_name(pattern) or pattern,
            special_tokens=specials,
        )

    def extended(self, old: Vocabulary, pattern: str, special_tokens: list[str]) -> Vocabulary:
        """The vocabulary whose first tokens are those of `old`, under the same ids."""
        specials = {token: len(self.tokens) + i for i, token in enumerate(special_tokens)}
        return replace(
            old,
            tokens=(*self.tokens, *(token.encode() for token in specials)),
            merges=self.merges,
            pattern=pattern,
            special_tokens=old.special_tokens | specials,
        )

    def _mergeable(self) -> list[bytes]:
        special_ids = set(self.special_ids)
        return [b"" if i in special_ids else token for i, token in enumerate(self.tokens)]

    def _encoders(self, superwords: bool) -> tuple[native.BpeEncoder | None, native.SuperwordEncoder | None]:
        """What gives pieces the ids to begin with; nothing where those are bytes."""
        if len(self.tokens) == 256 and not self.special_ids:
            return None, None
        if self.merges is None:
            return native.BpeEncoder.from_ranks(self.tokens, self.special_ids), None
        merges = np.ascontiguousarray(self.merges)
        if superwords and not self.ignore_merges:
            # Only how fast long pieces are encoded depends on it.
            return None, native.SuperwordEncoder(self.tokens, self.special_ids, merges, 0)
        return native.BpeEncoder(self.tokens, self.special_ids, merges, self.ignore_merges), None
