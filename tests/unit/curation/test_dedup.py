import random

import numpy as np
import pytest

from tilth.curation import dedup
from tilth.curation.config import CurationConfig

CONFIG = CurationConfig()
GOLDEN = [[547589336, 472093219, 275547772, 1216793446]]
VOCABULARY = [f"word{n}" for n in range(5000)]


def text(seed: int, n: int = 200) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(VOCABULARY) for _ in range(n)]


def changed(words: list[str], n_changes: int, seed: int = 99) -> list[str]:
    rng = random.Random(seed)
    words = list(words)
    for position in rng.sample(range(len(words)), n_changes):
        words[position] = f"changed{rng.randrange(10**9)}"
    return words


def test_shingles_are_of_words_whatever_their_case_and_punctuation() -> None:
    a = dedup.shingles("The quick, brown fox; jumps over it.")
    assert np.array_equal(a, dedup.shingles("the QUICK brown\nfox jumps (over) it"))
    assert len(a) == 3
    assert len(dedup.shingles("two words")) == 1
    assert len(dedup.shingles("... !")) == 0
    assert len(dedup.shingles("a b " * 50)) == 2
    assert not np.array_equal(dedup.shingles("a b c d e"), dedup.shingles("e d c b a"))


def test_similarity_of_the_hashes_is_that_of_the_sets() -> None:
    for n_changes in (0, 1, 5, 20, 100):
        a, b = text(1), changed(text(1), n_changes)
        sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (a, b)]
        expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert dedup.jaccard(dedup.shingles(" ".join(a)), dedup.shingles(" ".join(b))) == expected
    empty = dedup.shingles("")
    assert dedup.jaccard(empty, empty) == dedup.jaccard(empty, dedup.shingles("x")) == 0


def test_digest_sees_through_spaces_and_unicode_forms_only() -> None:
    assert dedup.digest("caf\u00e9  x\n") == dedup.digest("cafe\u0301 x")
    assert dedup.digest("a + b") != dedup.digest("a - b")
    assert dedup.digest("A") != dedup.digest("a")


def test_minhash_is_the_same_for_ever_and_changes_with_the_seed() -> None:
    signatures = dedup.minhash(["the quick brown fox jumps over the lazy dog"], num_permutations=4)
    assert signatures.tolist() == GOLDEN
    assert dedup.minhash([], num_permutations=4).shape == (0, 4)
    other = dedup.minhash(["the quick brown fox jumps over the lazy dog"], num_permutations=4, seed=1)
    assert other.tolist() != GOLDEN


def test_bands_bring_the_pairs_at_the_threshold_together() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.95):
        n_bands, rows = dedup.bands(128, threshold)
        assert n_bands * rows <= 128
        assert 1 - (1 - threshold**rows) ** n_bands >= dedup.BAND_RECALL
    assert dedup.bands(1, 0.9) == (1, 1)


def test_the_earlier_document_survives_and_is_named() -> None:
    base, other = text(1), text(2)
    texts = [" ".join(words) for words in (other, base, changed(base, 2), other, changed(base, 60))]
    dropped = dedup.deduplicate(texts, CONFIG)
    assert set(dropped) == {2, 3}
    assert dropped[3] == (0, None)
    survivor, similarity = dropped[2]
    assert survivor == 1
    assert similarity is not None
    assert 0.8 <= similarity < 1


def test_without_a_threshold_only_copies_go() -> None:
    base = " ".join(text(1))
    texts = [base, base + " x", base, ""]
    assert dedup.deduplicate(texts, CurationConfig(near_duplicate_threshold=None)) == {2: (0, None)}


def test_no_chains_every_dropped_document_resembles_its_survivor() -> None:
    chain = [text(5)]
    for step in range(6):
        chain.append(changed(chain[-1], 3, seed=step))
    texts = [" ".join(words) for words in chain]
    dropped = dedup.deduplicate(texts, CONFIG)
    hashed = [dedup.shingles(t) for t in texts]
    assert 0 < len(dropped) < 6
    for document, (survivor, similarity) in dropped.items():
        assert survivor not in dropped
        assert similarity == dedup.jaccard(hashed[survivor], hashed[document]) >= 0.8


def test_a_copy_of_a_near_duplicate_names_the_survivor() -> None:
    exact = np.array([[1, 3]], np.int64)
    assert dedup.choose(exact, [(0, 1, 0.9)]) == {1: (0, 0.9), 3: (0, 0.9)}
    assert dedup.choose(exact, []) == {3: (1, None)}


def test_partitions_hold_each_key_once_and_give_the_same_pairs() -> None:
    texts = [" ".join(changed(text(n % 7), n % 3)) for n in range(40)]
    sketch = dedup.sketch(texts, 0, CONFIG)
    whole = dedup.find_pairs(sketch)
    parts = dedup.partitions(sketch, 3)
    keys = [set(part["key"].to_pylist()) for part in parts]
    assert not (keys[0] & keys[1] or keys[1] & keys[2] or keys[0] & keys[2])
    joined = dedup.Pairs.join([dedup.find_pairs(part) for part in parts])
    assert np.array_equal(joined.exact, whole.exact)
    assert np.array_equal(joined.candidates, whole.candidates)
    assert len(whole.exact) > 0
    assert len(whole.candidates) > 0


def test_a_crowded_bucket_stays_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    base = text(1)
    texts = [" ".join([*base, f"ending{n}"]) for n in range(300)]
    monkeypatch.setattr(dedup, "BUCKET_LEADERS", 4)
    pairs = dedup.find_pairs(dedup.sketch(texts, 0, CONFIG))
    n_bands, _ = dedup.bands(CONFIG.num_permutations, 0.8)
    assert 299 <= len(pairs.candidates) <= 300 * 4 * n_bands
    assert set(dedup.deduplicate(texts, CONFIG)) == set(range(1, 300))


def test_nothing_in_nothing_out() -> None:
    assert dedup.deduplicate([], CONFIG) == {}
    assert dedup.deduplicate(["", "...", "!"], CONFIG) == {}


CHINESE = "".join(chr(0x4E00 + (n * 7919) % 5000) + ("，" if n % 11 == 10 else "") for n in range(121))
UNSPACED = {
    "zh": CHINESE,
    "ja": "".join(chr(0x3041 + (n * 31) % 80) for n in range(60)) + CHINESE[:72],
    "th": "".join(chr(0x0E01 + (n * 29) % 46) + ("ิ" if n % 3 else "") for n in range(90)),
    "lo": "".join(chr(0x0E81 + (n * n * 7 + n // 3) % 40) for n in range(150)),
    "km": "".join(chr(0x1780 + (n * 13) % 35) + ("ា" if n % 3 else "") for n in range(90)),
    "my": "".join(chr(0x1000 + (n * 13) % 33) + ("ာ" if n % 3 else "") for n in range(90)),
}


@pytest.mark.parametrize("language", UNSPACED)
def test_one_changed_character_leaves_a_text_without_spaces_alike(language: str) -> None:
    original = UNSPACED[language]
    assert len(original) >= 132
    changed_text = original[:66] + "水" + original[67:]
    similarity = dedup.jaccard(dedup.shingles(original), dedup.shingles(changed_text))
    assert 0.9 <= similarity < 1
    assert set(dedup.deduplicate([original, changed_text], CONFIG)) == {1}


def test_words_among_chinese_characters_stay_words() -> None:
    a, b = dedup.shingles("水土 gives life 木", 1), dedup.shingles("水 土 GIVES 木 life", 1)
    assert np.array_equal(a, b)
    assert len(a) == 5


def test_long_words_are_not_remembered() -> None:
    before = dedup._hash_short.cache_info().currsize
    dedup.shingles(" ".join(f"{n}" + "x" * 100 for n in range(50)))
    assert dedup._hash_short.cache_info().currsize == before
