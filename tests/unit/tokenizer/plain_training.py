"""A trainer of a few lines that counts everything anew for each merge: what the real one is checked against."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import regex

from tilth.tokenizer import TieBreak
from tilth.tokenizer.byte_level import BYTE_ORDER
from tilth.tokenizer.split import PATTERNS, superword_pattern

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]


def plain_training(
    texts: Sequence[str],
    n_merges: int,
    tie_break: TieBreak,
    *,
    n_apart: int | None = None,
    first: Iterable[Pair] = (),
    pattern: str = "llama3",
) -> list[bytes]:
    """The bytes that each merge makes; from merge `n_apart` on across words, `first` being there from the start."""
    order = bytes(range(256)) if tie_break == "lowest_pair" else BYTE_ORDER
    merges = list(first)
    ids = {bytes([byte]): i for i, byte in enumerate(order)}
    for left, right in merges:
        ids.setdefault(left + right, len(ids))
    n_first = len(merges)
    _learn(texts, n_merges if n_apart is None else n_apart, tie_break, merges, ids, n_first, pattern, False)
    if n_apart is not None:
        _learn(texts, n_merges, tie_break, merges, ids, n_first, superword_pattern(pattern), True)
    return list(dict.fromkeys(left + right for left, right in merges[n_first:]))


def _learn(
    texts: Sequence[str],
    n_merges: int,
    tie_break: TieBreak,
    merges: list[Pair],
    ids: dict[bytes, int],
    n_first: int,
    pattern: str,
    superwords: bool,
) -> None:
    words: Counter[Word] = Counter()
    for text in texts:
        for piece in cut(text, PATTERNS.get(pattern, pattern)):
            words[merged_by_rank(piece.encode(), merges)] += 1
    start = len(ids)
    while len({left + right for left, right in merges[n_first:]}) < n_merges:
        counts: Counter[Pair] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                if not superwords or is_superword(pair[0] + pair[1]):
                    counts[pair] += count
        if not counts:
            break
        if tie_break == "lexicographic":
            best = max(counts, key=lambda pair: (counts[pair], pair))
        else:
            best = max(counts, key=lambda pair: (counts[pair], -ids[pair[0]], -ids[pair[1]]))
        joined = best[0] + best[1]
        merges.append(best)
        ids.setdefault(joined, len(ids))
        changed: Counter[Word] = Counter()
        for word, count in words.items():
            changed[merge(word, best, joined)] += count
        words = changed
    assert len(ids) >= start


def cut(text: str, pattern: str) -> list[str]:
    """The matches of `pattern` and what stands between them."""
    pieces: list[str] = []
    end = 0
    for match in regex.finditer(pattern, text):
        pieces += [text[end : match.start()], match.group()]
        end = match.end()
    return [piece for piece in [*pieces, text[end:]] if piece]


def is_superword(token: bytes) -> bool:
    """SuperBPE's limits: four words, and no space behind a colon."""
    return b": " not in token and len([word for word in token.split(b" ") if word]) <= 4


def merged_by_rank(piece: bytes, merges: Sequence[Pair]) -> Word:
    """`piece` in tokens: of all pairs the one of lowest rank merges first."""
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    word: Word = tuple(bytes([byte]) for byte in piece)
    while known := [ranks[pair] for pair in pairwise(word) if pair in ranks]:
        pair = merges[min(known)]
        word = merge(word, pair, pair[0] + pair[1])
    return word


def merge(word: Word, pair: Pair, merged: bytes) -> Word:
    """`word` with every `pair` in it joined, from the left."""
    result: list[bytes] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            result.append(merged)
            i += 2
        else:
            result.append(word[i])
            i += 1
    return tuple(result)
