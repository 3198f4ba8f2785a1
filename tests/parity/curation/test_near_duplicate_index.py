"""The index of near duplicates against true similarity and against datasketch's MinHashLSH, on planted pairs."""

import random

import pytest

from tilth.curation import dedup
from tilth.curation.near_duplicates import NearDuplicateIndex

VOCABULARY = [f"word{n}" for n in range(20_000)]
PLANTED = (0.5, 0.65, 0.71, 0.75, 0.8, 0.9)


def planted(n: int) -> tuple[list[str], list[str]]:
    """Texts, and for each one whose word 5-shingles have about a planted similarity to it."""
    rng = random.Random(4)
    originals, others = [], []
    for number in range(n):
        similarity, length = PLANTED[number % len(PLANTED)], 150
        shared = round(2 * length * similarity / (1 + similarity))
        words = rng.choices(VOCABULARY, k=length)
        originals.append(" ".join(words))
        others.append(" ".join(words[:shared] + rng.choices(VOCABULARY, k=length - shared)))
    return originals, others


def test_recall_and_precision_at_a_jaccard_similarity_of_seven_tenths() -> None:
    datasketch = pytest.importorskip("datasketch", reason="the peer is not installed")
    originals, others = planted(600)
    index = NearDuplicateIndex(0.7)
    peer = datasketch.MinHashLSH(threshold=0.7, num_perm=128)

    def sketch(text: str) -> object:
        made = datasketch.MinHash(num_perm=128, seed=1)
        made.update_batch([int(value).to_bytes(8, "little") for value in dedup.shingles(text)])
        return made

    for number, text in enumerate(originals):
        index.add(str(number), text)
        peer.insert(str(number), sketch(text))
    true = [dedup.jaccard(dedup.shingles(a), dedup.shingles(b)) for a, b in zip(originals, others, strict=True)]
    wanted = {number for number, similarity in enumerate(true) if similarity >= 0.7}
    matches = [index.find(text) for text in others]
    found = {number for number, match in enumerate(matches) if match is not None}
    theirs = {number for number, text in enumerate(others) if str(number) in peer.query(sketch(text))}
    assert len(wanted) > 300
    assert found <= wanted
    assert len(found) >= 0.98 * len(wanted)
    assert len(found) >= len(theirs & wanted)
    for number, match in enumerate(matches):
        if match is not None:
            assert (match.id, match.similarity) == (str(number), true[number])


def test_the_same_drops_as_the_deduplication_of_a_whole_corpus() -> None:
    from tilth.curation.config import CurationConfig

    rng = random.Random(1)
    texts = []
    for n in range(40):
        base = [f"b{n}_{rng.randrange(10**6)}" for _ in range(120)]
        for changes in (0, 0, 1, 3, 25):
            words = list(base)
            for position in rng.sample(range(len(words)), changes):
                words[position] = f"c{rng.randrange(10**9)}"
            texts.append(" ".join(words))
    rng.shuffle(texts)
    index = NearDuplicateIndex(0.8)
    dropped = set()
    for number, text in enumerate(texts):
        if index.find(text) is not None:
            dropped.add(number)
        else:
            index.add(str(number), text)
    assert dropped == set(dedup.deduplicate(texts, CurationConfig()))
