"""Hashes that are shared give what each of their users would make alone."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.curation import dedup
from tilth.curation.near_duplicates import NearDuplicateIndex
from tilth.synthesis.gates import text_hashes
from tilth.synthesis.gates.text_hashes import LENGTHS, hashes_of

TEXTS = [
    "",
    "one",
    "Four words, no more!",
    " ".join(f"w{n % 37}" for n in range(300)),
    "北京是中国的首都，也是一座古城。",
]


@pytest.mark.parametrize("text", TEXTS)
def test_hashes_made_together_are_those_made_alone(text: str) -> None:
    hashes = hashes_of(text)
    words = dedup.word_hashes(dedup.words_of(text))
    for n in (*LENGTHS, 2, 9):
        assert np.array_equal(hashes.sequences(n), dedup.sequence_hashes(words, n))
    assert np.array_equal(hashes.shingles(5), dedup.shingles(text, 5))
    assert np.array_equal(hashes.signature(5, 128, 3), dedup.signature(dedup.shingles(text, 5), 128, 3))
    assert hashes.opening == tuple(dedup.words_of(text)[:5])
    for threshold in (0.8, 0.7, None):
        index = NearDuplicateIndex(threshold)
        shared, alone = index.sketch(hashes), index.sketch(text)
        assert shared.digest == alone.digest
        assert np.array_equal(shared.keys, alone.keys)
        assert np.array_equal(shared.shingles, alone.shingles)


def test_the_hashes_of_the_latest_texts_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[str, dedup.TextHashes] = {}
    monkeypatch.setattr(text_hashes, "_held", held)
    monkeypatch.setattr(text_hashes, "_held_characters", 0)
    monkeypatch.setattr(text_hashes, "HELD_CHARACTERS", 100)
    first = hashes_of("a" * 60)
    assert hashes_of("a" * 60) is first
    hashes_of("b" * 60)
    hashes_of("c" * 1000)
    assert list(held) == ["b" * 60]


def test_distinct_hashes_are_sorted_and_each_once() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 1000):
        hashes = rng.integers(0, max(n // 2, 1), n, dtype=np.uint64)
        assert np.array_equal(dedup.distinct(hashes), np.unique(hashes))
