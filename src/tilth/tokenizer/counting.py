"""Counting how often each piece of the training text occurs: all that training needs.

Counts are whole numbers, so that neither the order of texts nor who counted them matters. In memory they take as much
as the distinct pieces; files of counts are merged as streams, so that any amount of text can be counted on any number
of machines. Pieces for superwords are whole stretches between numbers and hardly repeat: their counts are as large as
the text.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tilth import native
from tilth.errors import ConfigError, DataError
from tilth.progress import SILENT, Bar, Progress
from tilth.tokenizer.config import SENTENCEPIECE_SPECIALS, TokenizerConfig
from tilth.tokenizer.split import PATTERNS, Splitter, pattern_name, superword_digits, superword_pattern, to_utf8

if TYPE_CHECKING:
    from tilth.types import Document

_BATCH_BYTES = 1 << 20
_PARALLEL_BATCH_BYTES = 32 << 20
"""More at a time for threads, each of which makes a table of its own."""
MAX_PIECES = 20_000_000
"""Distinct pieces that are counted in memory (some 2 GB) before they are spilled to a file."""

Weighted: TypeAlias = "str | tuple[str, int] | Document"
"""A text, a text and how many times it counts, or a document, which `TokenizerConfig.weights` may weigh."""


def count_pieces(
    texts: Iterable[Weighted],
    config: TokenizerConfig,
    progress: Progress = SILENT,
    *,
    threads: int = 1,
    superwords: bool = False,
) -> native.PieceCounts:
    """Counts the distinct pieces of up to `config.max_training_bytes` of text, all in memory.

    With `superwords`, text is cut as `superword_pattern` says, for the part of training where words are joined.
    """
    return count_each(texts, config, [_pattern(config, superwords)], progress, threads)[0]


def count_each(
    texts: Iterable[Weighted], config: TokenizerConfig, patterns: Sequence[str], progress: Progress, threads: int
) -> list[native.PieceCounts]:
    """`count_pieces` by each of `patterns`, reading the texts once."""
    counters = [_Counter(pattern, config, threads) for pattern in patterns]
    weights = _Weights(config)
    with _bar(config, progress) as bar:
        for batch, weight, n_bytes in _batches(texts, config, weights, threads):
            for counter in counters:
                counter.add(batch, weight)
            bar.advance(n_bytes, pieces=f"{len(counters[0].counts):,}")
    weights.say_unused(progress)
    return [counter.counts for counter in counters]


def count_to_file(
    texts: Iterable[Weighted],
    config: TokenizerConfig,
    path: Path,
    progress: Progress = SILENT,
    *,
    threads: int = 1,
    max_pieces: int = MAX_PIECES,
    superwords: bool = False,
) -> None:
    """`count_pieces` to a file, which `merge_counts` adds up with those of other texts and other machines.

    Memory is bounded: counts of more than `max_pieces` distinct pieces are spilled beside `path` and merged.
    """
    counter = _Counter(_pattern(config, superwords), config, threads)
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder,
        _bar(config, progress) as bar,
    ):
        spilled: list[str | Path] = []

        def spill() -> None:
            spilled.append(Path(folder) / str(len(spilled)))
            counter.counts.write(str(spilled[-1]), _label(config, superwords))
            counter.counts = native.PieceCounts()

        weights = _Weights(config)
        for batch, weight, n_bytes in _batches(texts, config, weights, threads):
            counter.add(batch, weight)
            bar.advance(n_bytes, pieces=f"{len(counter.counts):,}")
            if len(counter.counts) > max_pieces:
                spill()
        spill()
        weights.say_unused(progress)
        merge_counts(spilled, path)


def merge_counts(paths: Sequence[str | Path], out: Path) -> None:
    """Adds up files of counts into `out`, as streams and atomically.

    Raises: DataError naming the file that is broken or was cut by another pattern or other special tokens.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        native.merge_count_files([str(path) for path in paths], str(partial))
    except RuntimeError as error:
        raise DataError(f"{error}.", fix="Count the texts again, all with the same pattern and tokens.") from None
    os.replace(partial, out)  # noqa: PTH105 -- a rename that overwrites, on every platform


def read_counts(
    path: Path, config: TokenizerConfig, *, min_count: int = 1, superwords: bool = False
) -> native.PieceCounts:
    """The counts of a file, leaving out pieces that occur fewer than `min_count` times.

    Raises: DataError naming a file that is broken or was cut by another pattern or other special tokens.
    """
    counts = native.PieceCounts()
    try:
        counts.read(str(path), _label(config, superwords), min_count)
    except RuntimeError as error:
        raise DataError(f"{error}.", fix="Count the texts again with this pattern and these special tokens.") from None
    return counts


def _pattern(config: TokenizerConfig, superwords: bool) -> str:
    return superword_pattern(config.pattern) if superwords else config.pattern


def _label(config: TokenizerConfig, superwords: bool) -> str:
    """What decides how text is cut: counts of different labels don't add up to anything."""
    pattern = _pattern(config, superwords)
    name = pattern_name(pattern)
    return json.dumps([PATTERNS[name] if name else pattern, sorted(_never_learned(config))])


def _never_learned(config: TokenizerConfig) -> tuple[str, ...]:
    """Texts that divide pieces: no merge may make them, because they are names of tokens in files."""
    if not config.byte_fallback:
        return config.special_tokens
    return (*config.special_tokens, *SENTENCEPIECE_SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)))


def _bar(config: TokenizerConfig, progress: Progress) -> AbstractContextManager[Bar]:
    return progress.bar("counting pieces", config.max_training_bytes, "bytes")


class _Counter:
    """Counts the pieces of texts, cut by the core or by a custom regex."""

    def __init__(self, pattern: str, config: TokenizerConfig, threads: int) -> None:
        self.counts = native.PieceCounts()
        self._specials = native.SpecialTokens([(token, 0) for token in _never_learned(config)])
        self._name = pattern_name(pattern)
        self._digits = superword_digits(pattern)
        self._splitter = None if self._name or self._digits is not None else Splitter(pattern)
        self._threads = threads

    def add(self, texts: list[str | bytes], weight: int) -> None:
        if self._name is not None:
            self.counts.add_texts(texts, self._name, self._specials, weight, self._threads)
        elif self._digits is not None:
            self.counts.add_superwords(texts, self._digits, self._specials, weight)
        elif self._splitter is not None:
            for text in texts:
                self.counts.add_pieces(_pieces(text, self._splitter, self._specials), weight)


def _batches(
    texts: Iterable[Weighted], config: TokenizerConfig, weights: _Weights, threads: int
) -> Iterator[tuple[list[str | bytes], int, int]]:
    """Texts of one weight in lists of a few megabytes, with weight and size; ends with the text that passes
    `max_training_bytes`."""
    if isinstance(texts, str | bytes):
        raise ConfigError("texts is one string.", fix="Give a list or another iterable of strings: [text].")
    full = _BATCH_BYTES if threads == 1 else _PARALLEL_BATCH_BYTES
    waiting: dict[int, list[str | bytes]] = {}
    total = held = 0
    for item in texts:
        text, weight = (item, 1) if isinstance(item, str | bytes) else weights.of(item)
        data = to_utf8(text)
        waiting.setdefault(weight, []).append(data)
        held += len(data)
        is_enough = config.max_training_bytes is not None and total + held >= config.max_training_bytes
        if is_enough or held >= full:
            for waiting_weight, batch in waiting.items():
                yield batch, waiting_weight, sum(map(len, batch))
            waiting.clear()
            total, held = total + held, 0
        if is_enough:
            return
    for weight, batch in waiting.items():
        yield batch, weight, sum(map(len, batch))


class _Weights:
    """How many times texts count."""

    def __init__(self, config: TokenizerConfig) -> None:
        self._named = config.named_weights()
        self._used: set[str] = set()

    def of(self, item: tuple[str, int] | Document) -> tuple[str, int]:
        """The text of `item`, and how many times it counts.

        For a document, the first name decides that is its kind, its language or fits its source.
        """
        if not isinstance(item, tuple):
            known = (item.meta.get("kind"), item.language)
            for name, weight in self._named.items():
                if name in known or fnmatchcase(item.source, name):
                    self._used.add(name)
                    return item.text, weight
            return item.text, 1
        text, weight = item
        if weight < 1:
            raise ConfigError(f"A text has the weight {weight}.", fix="Weights are whole numbers of at least 1.")
        return text, weight

    def say_unused(self, progress: Progress) -> None:
        """Says which names no document had, which are mistakes more often than not."""
        for name in sorted(self._named.keys() - self._used):
            progress.say(f"No document's kind, language or source is {name!r}: its weight changes nothing.")


def _pieces(text: str | bytes, splitter: Splitter, specials: native.SpecialTokens) -> list[str | bytes]:
    data = to_utf8(text)
    pieces: list[str | bytes] = []
    start = 0
    while (match := specials.find(data, start)) is not None:
        pieces += splitter.pieces(data[start : match[0]])
        start = match[1]
    return pieces + list(splitter.pieces(data[start:]))
