"""Training a byte-level BPE vocabulary: count pieces, then merge the most frequent pair, again and again.

The ids are laid out as in GPT-2 and Llama-3: 256 bytes, merges in their order, special tokens last, so that a
larger vocabulary of the same text begins with the smaller one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.byte_level import BYTE_ORDER
from tilth.tokenizer.config import TokenizerConfig
from tilth.tokenizer.split import PATTERNS, Splitter, pattern_name, to_utf8
from tilth.tokenizer.vocabulary import Vocabulary

_BATCH_BYTES = 1 << 20
_PARALLEL_BATCH_BYTES = 32 << 20
"""More at a time for threads, each of which makes a table of its own."""
_TOKENS_AT_A_TIME = 64
MAX_PIECES = 20_000_000
"""Distinct pieces that are counted in memory (some 2 GB) before they are spilled to a file."""

Weighted = str | tuple[str, int]
"""A text, or a text and how many times it counts."""


def train_vocabulary(
    texts: Iterable[Weighted], config: TokenizerConfig, progress: Progress = SILENT, *, threads: int = 1
) -> Vocabulary:
    """Learns a vocabulary. Special tokens that stand in the text are places to split and teach nothing.

    If the text runs out of pairs, the vocabulary is smaller than asked for, and `progress` says so.
    Raises: ConfigError for a single `str` (whose letters would be the texts) or a pattern that is no regex.
    Source: Sennrich et al. 2016; Radford et al. 2019 (bytes).
    Checked against: tests/parity/tokenizer/test_bpe_training.py (`tokenizers`, rustbpe).
    """
    return vocabulary_of(count_pieces(texts, config, progress, threads=threads), config, progress)


def vocabulary_of(
    counts: native.PieceCounts, config: TokenizerConfig, progress: Progress = SILENT, *, min_piece_count: int = 1
) -> Vocabulary:
    """Learns a vocabulary from counted pieces, of those that occur at least `min_piece_count` times."""
    n_new = config.vocab_size - 256 - len(config.special_tokens)
    merges = learn_merges(counts, n_new, config, progress, min_piece_count=min_piece_count)
    # A merge whose bytes are a token already makes no new one.
    tokens = dict.fromkeys(bytes([byte]) for byte in BYTE_ORDER)
    by_id = list(tokens)
    for left, right in merges.tolist():
        token = by_id[left] + by_id[right]
        if token not in tokens:
            tokens[token] = None
            by_id.append(token)
    if len(by_id) - 256 < n_new:
        progress.say(f"The text gives only {len(by_id) - 256} of the {n_new} merges that the vocabulary has room for.")
    special_tokens = {token: len(by_id) + i for i, token in enumerate(config.special_tokens)}
    return Vocabulary(
        tokens=(*by_id, *(token.encode() for token in special_tokens)),
        merges=merges,
        pattern=pattern_name(config.pattern) or config.pattern,
        special_tokens=special_tokens,
    )


def count_pieces(
    texts: Iterable[Weighted], config: TokenizerConfig, progress: Progress = SILENT, *, threads: int = 1
) -> native.PieceCounts:
    """Counts the distinct pieces of up to `config.max_training_bytes` of text, all in memory."""
    counter = _Counter(config, threads)
    with progress.bar("counting words", config.max_training_bytes, "bytes") as bar:
        for batch, weight, n_bytes in _batches(texts, config.max_training_bytes, threads):
            counter.add(batch, weight)
            bar.advance(n_bytes)
    return counter.counts


def count_to_file(
    texts: Iterable[Weighted],
    config: TokenizerConfig,
    path: Path,
    progress: Progress = SILENT,
    *,
    threads: int = 1,
    max_pieces: int = MAX_PIECES,
) -> None:
    """`count_pieces` to a file, which `merge_counts` adds up with those of other texts and other machines.

    Memory is bounded: counts of more than `max_pieces` distinct pieces are spilled beside `path` and merged.
    """
    counter = _Counter(config, threads)
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder,
        progress.bar("counting words", config.max_training_bytes, "bytes") as bar,
    ):
        spilled: list[str | Path] = []

        def spill() -> None:
            spilled.append(Path(folder) / str(len(spilled)))
            counter.counts.write(str(spilled[-1]), _label(config))
            counter.counts = native.PieceCounts()

        for batch, weight, n_bytes in _batches(texts, config.max_training_bytes, threads):
            counter.add(batch, weight)
            bar.advance(n_bytes)
            if len(counter.counts) > max_pieces:
                spill()
        spill()
        merge_counts(spilled, path)


def merge_counts(paths: Sequence[str | Path], out: Path) -> None:
    """Adds up files of counts into `out`, as streams and atomically.

    Raises: DataError naming the file that is broken or was cut by another pattern or other special tokens.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        native.merge_count_files([str(path) for path in paths], str(partial))
    except RuntimeError as error:
        raise DataError(f"{error}.", fix="Count the texts anew, all with the same pattern and tokens.") from None
    os.replace(partial, out)  # noqa: PTH105 -- a rename that overwrites, on every platform


def read_counts(path: Path, config: TokenizerConfig, *, min_count: int = 1) -> native.PieceCounts:
    """The counts of a file, leaving out pieces that occur fewer than `min_count` times.

    Raises: DataError naming a file that is broken or was cut by another pattern or other special tokens.
    """
    counts = native.PieceCounts()
    try:
        counts.read(str(path), _label(config), min_count)
    except RuntimeError as error:
        raise DataError(f"{error}.", fix="Count the texts anew with this pattern and these special tokens.") from None
    return counts


def learn_merges(
    counts: native.PieceCounts,
    n_new: int,
    config: TokenizerConfig,
    progress: Progress = SILENT,
    *,
    min_piece_count: int = 1,
) -> NDArray[np.uint32]:
    """Merges for up to `n_new` new tokens as pairs of ids, shape (merges, 2): bytes by `BYTE_ORDER`, then new ones."""
    byte_order = bytes(range(256)) if config.tie_break == "lowest_pair" else BYTE_ORDER
    tie_break = "lexicographic" if config.tie_break == "lexicographic" else "lowest_pair"
    trainer = native.BpeTrainer(
        counts, tie_break, byte_order, min_piece_count, config.min_frequency, config.max_token_length
    )
    with progress.bar("merging", n_new, "merges") as bar:
        done = 0
        while done < n_new:
            made = trainer.merge(min(_TOKENS_AT_A_TIME, n_new - done))
            if made == 0:
                break
            done += made
            bar.advance(made)
    final_ids = np.arange(256 + done, dtype=np.uint32)
    final_ids[:256] = [BYTE_ORDER.index(byte) for byte in byte_order]
    return final_ids[trainer.merges()]


def _label(config: TokenizerConfig) -> str:
    """What decides how text is cut: counts of different labels don't add up to anything."""
    name = pattern_name(config.pattern)
    return json.dumps([PATTERNS[name] if name else config.pattern, sorted(config.special_tokens)])


class _Counter:
    """Counts the pieces of texts, cut by the core or by a regex of one's own."""

    def __init__(self, config: TokenizerConfig, threads: int) -> None:
        self.counts = native.PieceCounts()
        self._specials = native.SpecialTokens([(token, 0) for token in config.special_tokens])
        self._name = pattern_name(config.pattern)
        self._splitter = None if self._name else Splitter(config.pattern)
        self._threads = threads

    def add(self, texts: list[str | bytes], weight: int) -> None:
        if self._name is not None:
            self.counts.add_texts(texts, self._name, self._specials, weight, self._threads)
        elif self._splitter is not None:
            for text in texts:
                self.counts.add_pieces(_pieces(text, self._splitter, self._specials), weight)


def _batches(
    texts: Iterable[Weighted], max_bytes: int | None, threads: int
) -> Iterator[tuple[list[str | bytes], int, int]]:
    """Texts of one weight in lists of a few megabytes, with weight and size; ends with the text that passes
    `max_bytes`."""
    if isinstance(texts, str | bytes):
        raise ConfigError("texts is one string.", fix="Give a list or another iterable of strings: [text].")
    full = _BATCH_BYTES if threads == 1 else _PARALLEL_BATCH_BYTES
    batch: list[str | bytes] = []
    size = total = 0
    batch_weight = 1
    for item in texts:
        text, weight = item if isinstance(item, tuple) else (item, 1)
        if weight < 1:
            raise ConfigError(f"A text has the weight {weight}.", fix="Weights are whole numbers of at least 1.")
        if batch and weight != batch_weight:
            yield batch, batch_weight, size
            total += size
            batch, size = [], 0
        batch_weight = weight
        data = to_utf8(text)
        batch.append(data)
        size += len(data)
        if size >= full or (max_bytes is not None and total + size >= max_bytes):
            yield batch, batch_weight, size
            total += size
            batch, size = [], 0
            if max_bytes is not None and total >= max_bytes:
                return
    if batch:
        yield batch, batch_weight, size


def _pieces(text: str | bytes, splitter: Splitter, specials: native.SpecialTokens) -> list[str | bytes]:
    data = to_utf8(text)
    pieces: list[str | bytes] = []
    start = 0
    while (match := specials.find(data, start)) is not None:
        pieces += splitter.pieces(data[start : match[0]])
        start = match[1]
    return pieces + list(splitter.pieces(data[start:]))
