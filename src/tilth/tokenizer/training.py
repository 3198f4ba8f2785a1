"""Training a byte-level BPE vocabulary: count pieces, then merge the most frequent pair, again and again.

The ids are laid out as in GPT-2 and Llama-3: 256 bytes, merges in their order, special tokens last, so that a
larger vocabulary of the same text begins with the smaller one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tilth import native
from tilth.errors import ConfigError
from tilth.progress import SILENT, Progress
from tilth.tokenizer.byte_level import BYTE_ORDER
from tilth.tokenizer.config import TokenizerConfig
from tilth.tokenizer.split import Splitter, pattern_name, to_utf8
from tilth.tokenizer.vocabulary import Vocabulary

_BATCH_BYTES = 1 << 20
_MERGES_AT_A_TIME = 64


def train_vocabulary(texts: Iterable[str], config: TokenizerConfig, progress: Progress = SILENT) -> Vocabulary:
    """Learns a vocabulary. Special tokens that stand in the text are places to split and teach nothing.

    If the text runs out of pairs, the vocabulary is smaller than asked for, and `progress` says so.
    Raises: ConfigError for a single `str` (whose letters would be the texts) or a pattern that is no regex.
    Source: Sennrich et al. 2016; Radford et al. 2019 (bytes).
    Checked against: tests/parity/tokenizer/test_training.py (`tokenizers`).
    """
    if isinstance(texts, str | bytes):
        raise ConfigError("texts is one string.", fix="Give a list or another iterable of strings: [text].")
    counts = count_pieces(texts, config, progress)
    n_merges = config.vocab_size - 256 - len(config.special_tokens)
    merges = learn_merges(counts, n_merges, config, progress)
    if len(merges) < n_merges:
        progress.say(f"The text gives only {len(merges)} of the {n_merges} merges that the vocabulary has room for.")
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    for left, right in merges.tolist():
        tokens.append(tokens[left] + tokens[right])
    special_tokens = {token: len(tokens) + i for i, token in enumerate(config.special_tokens)}
    return Vocabulary(
        tokens=(*tokens, *(token.encode() for token in special_tokens)),
        merges=merges,
        pattern=pattern_name(config.pattern) or config.pattern,
        special_tokens=special_tokens,
    )


def count_pieces(texts: Iterable[str], config: TokenizerConfig, progress: Progress = SILENT) -> native.PieceCounts:
    """Counts the distinct pieces of up to `config.max_training_bytes` of text."""
    counts = native.PieceCounts()
    specials = native.SpecialTokens([(token, 0) for token in config.special_tokens])
    name = pattern_name(config.pattern)
    splitter = None if name else Splitter(config.pattern)
    with progress.bar("counting words", config.max_training_bytes, "bytes") as bar:
        for batch, n_bytes in _batches(texts, config.max_training_bytes):
            if splitter is None:
                counts.add_texts(batch, name or "", specials)
            else:
                for text in batch:
                    counts.add_pieces(_pieces(text, splitter, specials))
            bar.advance(n_bytes)
    return counts


def learn_merges(
    counts: native.PieceCounts, n_merges: int, config: TokenizerConfig, progress: Progress = SILENT
) -> NDArray[np.uint32]:
    """Merges as pairs of ids, shape (merges, 2): first the bytes by `BYTE_ORDER`, then merges in order."""
    byte_order = bytes(range(256)) if config.tie_break == "lowest_pair" else BYTE_ORDER
    tie_break = "lexicographic" if config.tie_break == "lexicographic" else "lowest_pair"
    trainer = native.BpeTrainer(counts, tie_break, byte_order)
    with progress.bar("merging", n_merges, "merges") as bar:
        done = 0
        while done < n_merges:
            made = trainer.merge(min(_MERGES_AT_A_TIME, n_merges - done))
            if made == 0:
                break
            done += made
            bar.advance(made)
    final_ids = np.arange(256 + done, dtype=np.uint32)
    final_ids[:256] = [BYTE_ORDER.index(byte) for byte in byte_order]
    return final_ids[trainer.merges()]


def _batches(texts: Iterable[str], max_bytes: int | None) -> Iterator[tuple[list[str | bytes], int]]:
    """Texts in lists of about a megabyte, with their size; ends with the text that passes `max_bytes`."""
    batch: list[str | bytes] = []
    size = total = 0
    for text in texts:
        data = to_utf8(text)
        batch.append(data)
        size += len(data)
        if size >= _BATCH_BYTES or (max_bytes is not None and total + size >= max_bytes):
            yield batch, size
            total += size
            batch, size = [], 0
            if max_bytes is not None and total >= max_bytes:
                return
    if batch:
        yield batch, size


def _pieces(text: str | bytes, splitter: Splitter, specials: native.SpecialTokens) -> list[str | bytes]:
    data = to_utf8(text)
    pieces: list[str | bytes] = []
    start = 0
    while (match := specials.find(data, start)) is not None:
        pieces += splitter.pieces(data[start : match[0]])
        start = match[1]
    return pieces + list(splitter.pieces(data[start:]))
