"""How many different things a set of texts says: duplicates, effective number, templates, rare words.

Every measure is of the set: the order of the texts changes none of them, and nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tilth.assay.result import Diversity
from tilth.assay.vectors import term_vectors
from tilth.curation.config import CurationConfig
from tilth.curation.dedup import deduplicate, distinct, sequences_of_lengths, word_hashes, words_of

MOST_DISTINCT = 4
"""distinct-n is reported up to this n."""
TEMPLATE_WORDS = 5
"""Words of an opening or a closing."""
MOST_TEMPLATES = 5
"""Openings and closings that are listed."""
SEMANTIC_COSINE = 0.9
"""Cosine from which two sampled texts count as saying the same."""
TAIL = 0.2
"""Probability mass of the reference's rarest words."""
MACHINE_PHRASES = (
    "as a large language model",
    "certainly!",
    "delve",
    "dive into",
    "intertwined",
    "it's important to note",
    "rich tapestry",
)
"""What text of language models holds more often than other text (the proxy words of FineWeb, Penedo et al. 2024)."""

_PHRASE = {phrase: re.compile(rf"(?<!\w){re.escape(phrase)}") for phrase in MACHINE_PHRASES}
_U64 = npt.NDArray[np.uint64]


def text_diversity(
    texts: Sequence[str],
    reference: Iterable[str] | None = None,
    *,
    beside: Iterable[str] | None = None,
    sampled_documents: int = 500,
    near_duplicate_threshold: float = 0.7,
    seed: int = 0,
) -> Diversity:
    """Returns the measures of a set of texts; an empty set has zeros, and nan where a share has no denominator.

    `reference` is text whose vocabulary says which words are rare; without one `tail_mass` is nan. `beside` is text
    whose tail mass is measured too, for comparison: it must not be the reference, whose own is `TAIL` by definition.
    `sampled_documents` limits the measures that compare all with all.
    """
    ordered = _in_stable_order(texts, seed)
    words = [words_of(text) for text in ordered]
    hashes = [word_hashes(row) for row in words]
    semantic, vendi = _by_cosine(ordered[:sampled_documents])
    openings = _templates(tuple(row[:TEMPLATE_WORDS]) for row in words)
    closings = _templates(tuple(row[-TEMPLATE_WORDS:]) for row in words)
    tail = None if reference is None else Tail(reference)
    return Diversity(
        near_duplicates=_near_duplicates(ordered, near_duplicate_threshold, seed),
        semantic_duplicates=semantic,
        vendi=vendi,
        sampled_documents=min(len(ordered), sampled_documents),
        opening_share=openings[0][1] if openings else 0.0,
        closing_share=closings[0][1] if closings else 0.0,
        openings=openings,
        closings=closings,
        distinct={str(n): distinct_share(hashes, n) for n in range(1, MOST_DISTINCT + 1)},
        tail_mass=math.nan if tail is None else tail.mass(hashes),
        unknown_words=math.nan if tail is None else tail.unknown(hashes),
        source_tail_mass=None if tail is None or beside is None else tail.mass(map(_hashes, beside)),
        machine_text=machine_phrases(ordered),
    )


def _in_stable_order(texts: Sequence[str], seed: int) -> list[str]:
    """Returns the texts in a random order that depends on their content alone, copies not side by side."""
    seen: Counter[str] = Counter()
    keyed: list[tuple[bytes, str]] = []
    for text in texts:
        content = f"{seed} {seen[text]} {text}".encode("utf-8", "surrogatepass")
        keyed.append((hashlib.blake2b(content, digest_size=16).digest(), text))
        seen[text] += 1
    return [text for _, text in sorted(keyed)]


# Duplicates and the effective number


def _near_duplicates(texts: Sequence[str], threshold: float, seed: int) -> float:
    if not texts:
        return 0.0
    config = CurationConfig(near_duplicate_threshold=threshold or None, seed=seed)
    return len(deduplicate(texts, config)) / len(texts)


def _by_cosine(texts: Sequence[str]) -> tuple[float, float]:
    """Returns the share of semantic duplicates, and the Vendi score."""
    if not texts:
        return 0.0, 0.0
    everything = range(len(texts))
    kernel = term_vectors(texts).cosines(everything, everything)
    score = vendi_score(kernel)
    np.fill_diagonal(kernel, -1.0)
    return float(np.mean(kernel.max(axis=1) > SEMANTIC_COSINE)), score


def vendi_score(kernel: npt.NDArray[np.float64]) -> float:
    """Returns exp of the entropy of the eigenvalues of K / n: the effective number of different items, from 1 to n.

    `kernel`: similarities, (n, n), symmetric, positive semi-definite, with ones on the diagonal.
    Source: Friedman & Dieng 2023 (2210.02410), eq. 2.
    """
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    score = float(np.exp(-np.sum(values * np.log(values))))
    return min(max(score, 1.0), float(len(kernel)))  # rounding may leave it a hair outside


# Templates


def _templates(ends: Iterable[tuple[str, ...]]) -> tuple[tuple[str, float], ...]:
    """Returns the most common words at one end of the texts, each with the share of texts that have them.

    An end that one text alone has is no template.
    """
    counts = Counter(ends)
    n = counts.total()
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple((" ".join(words), count / n) for words, count in ranked[:MOST_TEMPLATES] if words and count > 1)


def distinct_share(hashes: Iterable[_U64], n: int) -> float:
    """Returns the different word n-grams over all, given the hashes of each text's words; 0 where there are none."""
    grams = [sequences_of_lengths(row, (n,))[0] for row in hashes if len(row) >= n]
    if not grams:
        return 0.0
    every = np.concatenate(grams)
    return len(distinct(every)) / len(every)


def machine_phrases(texts: Sequence[str]) -> dict[str, float]:
    """Returns, for each of `MACHINE_PHRASES`, the share of texts that hold it, in any case and with any apostrophe."""
    counts: dict[str, int] = dict.fromkeys(MACHINE_PHRASES, 0)
    for text in texts:
        lower = text.lower().replace("\u2019", "'")
        for phrase, pattern in _PHRASE.items():
            counts[phrase] += pattern.search(lower) is not None
    return {phrase: count / len(texts) if texts else 0.0 for phrase, count in counts.items()}


# Rare words


class Tail:
    """The rarest words of a reference text: those that make up the last `TAIL` of its words.

    Words of one frequency are all in the tail, or none: the tail is then the nearest that is not above `TAIL`, and at
    least the words that occur once.
    """

    def __init__(self, reference: Iterable[str]) -> None:
        every = np.sort(np.concatenate([np.empty(0, np.uint64), *map(_hashes, reference)]))
        first = np.flatnonzero(np.concatenate([np.ones(min(len(every), 1), bool), every[1:] != every[:-1]]))
        self.known: _U64 = every[first]
        counts = np.diff(np.append(first, len(every)))
        ranked = np.sort(counts)
        within = np.count_nonzero(np.cumsum(ranked) <= TAIL * len(every))  # the rarest words that fit into the tail
        most = max([1, *(ranked[within : within + 1] - 1).tolist()])
        self.rare: _U64 = self.known[counts <= most]

    def mass(self, hashes: Iterable[_U64]) -> float:
        """Returns the share of words that are in the tail; nan without words."""
        return _share_in(hashes, self.rare)

    def unknown(self, hashes: Iterable[_U64]) -> float:
        """Returns the share of words that the reference does not have; nan without words."""
        return 1 - _share_in(hashes, self.known)


def _share_in(hashes: Iterable[_U64], wanted: _U64) -> float:
    words = np.concatenate([np.empty(0, np.uint64), *hashes])
    if not len(words):
        return math.nan
    if not len(wanted):
        return 0.0
    nearest = np.minimum(np.searchsorted(wanted, words), len(wanted) - 1)
    return float(np.mean(wanted[nearest] == words))


def _hashes(text: str) -> _U64:
    return word_hashes(words_of(text))
