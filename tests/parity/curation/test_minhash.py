"""MinHash signatures and recall against true Jaccard similarity and against datasketch."""

import random

import numpy as np
import pytest

from tilth.curation import dedup
from tilth.curation.config import CurationConfig

VOCABULARY = [f"word{n}" for n in range(20_000)]


def pairs_near(similarity: float, n: int) -> list[tuple[str, str]]:
    """Random pairs whose word 5-shingles have about this Jaccard similarity."""
    rng = random.Random(int(similarity * 1000))
    length = 400
    shared = round(2 * length * similarity / (1 + similarity))
    found = []
    for _ in range(n):
        words = rng.choices(VOCABULARY, k=length)
        found.append((" ".join(words), " ".join(words[:shared] + rng.choices(VOCABULARY, k=length - shared))))
    return found


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.95])
def test_estimates_are_unbiased_and_as_sharp_as_they_can_be(similarity: float) -> None:
    errors = []
    for a, b in pairs_near(similarity, 60):
        signatures = dedup.minhash([a, b], num_permutations=256)
        true = dedup.jaccard(dedup.shingles(a), dedup.shingles(b))
        errors.append(float(np.mean(signatures[0] == signatures[1])) - true)
    deviation = (similarity * (1 - similarity) / 256) ** 0.5
    assert abs(np.mean(errors)) < 4 * deviation / 60**0.5
    assert 0.7 * deviation < np.std(errors) < 1.4 * deviation


def test_as_close_to_the_truth_as_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch", reason="the peer is not installed")
    ours, theirs = [], []
    for similarity in (0.3, 0.6, 0.9):
        for a, b in pairs_near(similarity, 30):
            sets = [dedup.shingles(text) for text in (a, b)]
            true = dedup.jaccard(*sets)
            signatures = [dedup.signature(hashes, 128) for hashes in sets]
            ours.append(float(np.mean(signatures[0] == signatures[1])) - true)
            sketches = [datasketch.MinHash(num_perm=128, seed=1) for _ in sets]
            for sketch, hashes in zip(sketches, sets, strict=True):
                sketch.update_batch([int(value).to_bytes(8, "little") for value in hashes])
            theirs.append(sketches[0].jaccard(sketches[1]) - true)
    assert np.std(ours) < 1.25 * np.std(theirs)


def test_all_pairs_at_the_threshold_are_found_but_one_in_a_hundred() -> None:
    config = CurationConfig(near_duplicate_threshold=0.8)
    pairs = [pair for similarity in (0.81, 0.85, 0.9) for pair in pairs_near(similarity, 150)]
    texts = [text for pair in pairs for text in pair]
    hashed = [dedup.shingles(text) for text in texts]
    wanted = {2 * n + 1 for n in range(len(pairs)) if dedup.jaccard(hashed[2 * n], hashed[2 * n + 1]) >= 0.8}
    dropped = dedup.deduplicate(texts, config)
    assert len(wanted) > 300
    assert set(dropped) <= wanted
    assert len(dropped) >= 0.98 * len(wanted)


def test_the_same_drops_as_comparing_everything_with_everything() -> None:
    rng = random.Random(1)
    texts = []
    for n in range(60):
        base = [f"b{n}_{rng.randrange(10**6)}" for _ in range(150)]
        for changes in (0, 0, 1, 3, 8, 30):
            words = list(base)
            for position in rng.sample(range(len(words)), changes):
                words[position] = f"c{rng.randrange(10**9)}"
            texts.append(" ".join(words))
    rng.shuffle(texts)
    hashed = [dedup.shingles(text) for text in texts]
    kept: list[int] = []
    for position, hashes in enumerate(hashed):
        if not any(dedup.jaccard(hashed[earlier], hashes) >= 0.8 for earlier in kept):
            kept.append(position)
    dropped = dedup.deduplicate(texts, CurationConfig())
    assert set(range(len(texts))) - set(dropped) == set(kept)
