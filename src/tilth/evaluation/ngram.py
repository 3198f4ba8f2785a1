"""An interpolated n-gram model with modified Kneser-Ney smoothing.

All n-grams of an order are in one sorted array of integers (`number of the first n-1 tokens * vocab_size +
last token`), so that counting is a sort and a look-up a binary search, both in numpy: seconds for millions of
tokens. The trade-off: all training tokens are in memory while it is built, and it cannot be added to afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.errors import ConfigError, DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grams:
    """The different n-grams of one order in a stream."""

    numbers: Ints
    """For each position in the stream, the number of the n-gram that starts there; -1 where none does."""
    keys: Ints
    """Sorted; a key's index is the n-gram's number."""
    first: Ints
    """For each n-gram, one position where it starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Level:
    """Smoothed n-grams of one order >= 2."""

    keys: Ints
    share: Floats
    """Per n-gram: the probability that discounting leaves it, given its context."""
    rest: Floats
    """Per context (n-gram of the order below): the probability left to the order below; 1 where nothing follows."""


def document_stream(documents: Iterable[Sequence[int]], separator: int) -> Ints:
    """Returns the documents' tokens as one array, with the separator before, between and after them."""

    def pieces() -> Iterator[Ints]:
        yield np.array([separator], dtype=np.int64)
        for tokens in documents:
            yield np.append(np.asarray(tokens, dtype=np.int64), separator)

    return np.concatenate(list(pieces()))


class NgramModel:
    """An n-gram model over token ids.

    N-grams stay within a document: the separator may be their first token (a document's start) or their last
    (its end).
    Source: Chen & Goodman 1998, modified Kneser-Ney, interpolated; the unigrams are interpolated with the
    uniform distribution, so that every token of the vocabulary has a probability.
    """

    def __init__(self, vocab_size: int, separator: int, unigram: Floats, levels: Sequence[_Level]) -> None:
        self.vocab_size = vocab_size
        self.separator = separator
        self.unigram = unigram
        self.levels = tuple(levels)

    @property
    def order(self) -> int:
        """Tokens in the longest n-grams."""
        return len(self.levels) + 1

    @classmethod
    def fit(cls, documents: Iterable[Sequence[int]], *, vocab_size: int, separator: int, order: int = 5) -> NgramModel:
        """Counts the n-grams of tokenized documents (given without separators) and smooths them.

        Raises: ConfigError if `order` is below 2; DataError if there are no documents.
        """
        if order < 2:
            raise ConfigError(f"An n-gram model of order {order} has no context.", fix="Use order 2 or more.")
        stream = document_stream(documents, separator)
        if len(stream) == 1:
            raise DataError("There are no documents to count n-grams in.", fix="Give at least one document.")
        vocabulary = np.arange(vocab_size, dtype=np.int64)
        grams = [_Grams(numbers=stream, keys=vocabulary, first=vocabulary[:0])]
        for n in range(2, order + 1):
            grams.append(_extend(stream, grams[-1], n, vocab_size, separator))
        unigram = _smooth_unigrams(np.bincount(stream[grams[1].first + 1], minlength=vocab_size))
        levels: list[_Level] = []
        for below, these, above in zip(grams, grams[1:], [*grams[2:], None], strict=False):
            counts = _counts(stream, these, above, separator)
            levels.append(_smooth(these.keys, counts, these.keys // vocab_size, len(below.keys)))
        return cls(vocab_size, separator, unigram, levels)

    def token_losses(self, documents: Iterable[Sequence[int]]) -> Floats:
        """Returns `-ln p` of every token of the documents and of each one's end, in order.

        Shapes: (sum of (tokens + 1) over the documents,). Units: nats.
        """
        stream = document_stream(documents, self.separator)
        p = self.unigram[stream]
        numbers = stream
        for n, level in enumerate(self.levels, start=2):
            starts = _starts(stream, numbers, n, self.separator)
            contexts, targets = numbers[starts], starts + n - 1
            keys = contexts * self.vocab_size + stream[targets]
            nearest = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
            known = level.keys[nearest] == keys
            p[targets] *= level.rest[contexts]
            p[targets] += np.where(known, level.share[nearest], 0.0)
            numbers = np.full(len(stream), -1, dtype=np.int64)
            numbers[starts[known]] = nearest[known]
        return -np.log(p[1:])


def _starts(stream: Ints, shorter: Ints, n: int, separator: int) -> Ints:
    """Returns the positions where an n-gram can start: its first n-1 tokens are known and do not end a
    document."""
    known = shorter[: max(len(stream) - n + 1, 0)] >= 0
    if n > 2:
        known &= stream[n - 2 : n - 2 + len(known)] != separator
    return np.flatnonzero(known)


def _extend(stream: Ints, shorter: _Grams, n: int, vocab_size: int, separator: int) -> _Grams:
    starts = _starts(stream, shorter.numbers, n, separator)
    keys, first, inverse = np.unique(
        shorter.numbers[starts] * vocab_size + stream[starts + n - 1], return_index=True, return_inverse=True
    )
    numbers = np.full(len(stream), -1, dtype=np.int64)
    numbers[starts] = inverse
    return _Grams(numbers=numbers, keys=keys, first=starts[first])


def _counts(stream: Ints, grams: _Grams, above: _Grams | None, separator: int) -> Ints:
    """Returns plain counts for the longest n-grams, and for the others how many different tokens come before
    them.

    Shorter ones are only asked where longer ones failed, so what matters is in how many contexts they fit.
    One that starts a document has nothing before it and keeps its plain count.
    """
    plain = np.bincount(grams.numbers[grams.numbers >= 0], minlength=len(grams.keys))
    if above is None:
        return plain
    fits = np.bincount(grams.numbers[above.first + 1], minlength=len(grams.keys))
    return np.where(stream[grams.first] == separator, plain, fits)


def _discounts(counts: Ints) -> Floats:
    """Returns what is taken off a count of 0, 1, 2, and 3 or more (Chen & Goodman 1998, section 3.3).

    Where a small text has no n-grams of some count, the formula has no value; then .5, 1 and 1.5 are used.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    taken = np.array([0.0, 0.5, 1.0, 1.5])
    if np.all(n > 0):
        y = n[0] / (n[0] + 2 * n[1])
        formula = np.array([k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3)])
        if np.all(formula > 0):
            taken[1:] = formula
    return taken[np.minimum(counts, 3)]


def _smooth_unigrams(counts: Ints) -> Floats:
    taken = _discounts(counts)
    return (counts - taken + taken.sum() / len(counts)) / counts.sum()


def _smooth(keys: Ints, counts: Ints, contexts: Ints, n_contexts: int) -> _Level:
    taken = _discounts(counts)
    total = np.bincount(contexts, weights=counts, minlength=n_contexts)
    to_lower = np.bincount(contexts, weights=taken, minlength=n_contexts)
    is_followed = total > 0
    return _Level(
        keys=keys,
        share=(counts - taken) / total[contexts],
        rest=np.divide(to_lower, total, out=np.ones(n_contexts), where=is_followed),
    )
