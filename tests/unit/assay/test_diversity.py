import math
import random

import numpy as np
import pytest

from real_data import manuals
from tilth.assay.diversity import MACHINE_PHRASES, Tail, distinct_share, machine_phrases, text_diversity, vendi_score
from tilth.assay.vectors import term_vectors
from tilth.curation.dedup import word_hashes, words_of

WORDS = [f"word{n}" for n in range(4000)]


def made_up(seed: int, n: int = 60) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n))


def test_vendi_score_of_orthogonal_items_is_their_number_and_of_equal_items_one() -> None:
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.ones((7, 7))) == pytest.approx(1)
    blocks = np.kron(np.eye(3), np.ones((4, 4)))  # three groups of four equal items
    assert vendi_score(blocks) == pytest.approx(3)


def test_vendi_score_of_two_items_is_the_closed_form() -> None:
    cosine = 0.6
    values = np.array([(1 + cosine) / 2, (1 - cosine) / 2])
    assert vendi_score(np.array([[1, cosine], [cosine, 1]])) == pytest.approx(np.exp(-(values * np.log(values)).sum()))


def test_texts_without_a_common_word_count_in_full_and_equal_texts_once() -> None:
    apart = [f"alpha{n} beta{n} gamma{n}" for n in range(9)]
    assert text_diversity(apart).vendi == pytest.approx(9)
    assert text_diversity(["one and the same text"] * 9).vendi == pytest.approx(1)
    assert text_diversity(apart * 3).vendi == pytest.approx(9)


def test_cosines_are_those_of_the_dense_vectors() -> None:
    texts = [made_up(seed, 300) for seed in range(6)] + [made_up(0, 150) + " " + made_up(9, 150)]
    vectors = term_vectors(texts)
    dense = np.zeros((len(texts), len(vectors.starts) - 1))
    dense[vectors.text, np.repeat(np.arange(dense.shape[1]), np.diff(vectors.starts))] = vectors.weight
    found = vectors.cosines(range(2, 7), range(4))
    np.testing.assert_allclose(found, dense[2:7] @ dense[:4].T, atol=1e-12)
    assert 0.3 < vectors.cosines(range(6, 7), range(1))[0, 0] < 0.95


def test_an_empty_set_a_single_text_and_texts_without_words_have_measures() -> None:
    nothing = text_diversity([], ["some words"])
    assert (nothing.vendi, nothing.near_duplicates, nothing.openings) == (0, 0, ())
    assert math.isnan(nothing.tail_mass)
    one = text_diversity(["a text of its own, and no other"])
    assert (one.vendi, one.near_duplicates, one.semantic_duplicates, one.opening_share) == (1, 0, 0, 0)
    assert math.isnan(one.tail_mass)
    wordless = text_diversity(["", "...", "!"])
    assert wordless.vendi == pytest.approx(1)
    assert wordless.distinct["1"] == 0


def test_duplicates_are_counted_once_each() -> None:
    texts = [made_up(seed) for seed in range(20)]
    assert text_diversity(texts).near_duplicates == 0
    found = text_diversity([*texts, *texts[:5]])
    assert found.near_duplicates == 5 / 25
    assert found.semantic_duplicates == 10 / 25
    changed = texts[0].split()
    changed[30] = "another"
    assert text_diversity([*texts, " ".join(changed)]).near_duplicates == 1 / 21
    assert text_diversity([*texts, " ".join(changed)], near_duplicate_threshold=0.95).near_duplicates == 0


def test_a_template_is_an_opening_that_more_than_one_text_has() -> None:
    texts = [f"Sure, here is a rewritten version: {made_up(seed)}. I hope this helps." for seed in range(8)]
    found = text_diversity([*texts, made_up(100), made_up(101)])
    assert found.openings[0] == ("sure here is a rewritten", 0.8)
    assert found.opening_share == 0.8
    assert found.closing_share == 0  # the last five words hold a random one
    assert text_diversity([made_up(seed) for seed in range(10)]).openings == ()


def test_distinct_share_counts_different_sequences() -> None:
    hashes = [word_hashes(words_of(text)) for text in ("a b a b", "a b c")]
    assert distinct_share(hashes, 1) == 3 / 7
    assert distinct_share(hashes, 2) == 3 / 5  # ab ba ab | ab bc
    assert distinct_share(hashes, 5) == 0


def test_the_tail_is_the_rarest_fifth_of_the_reference() -> None:
    reference = ["the " * 60 + "river " * 25 + "bends sand loam silt peat"]
    tail = Tail(reference)
    assert tail.mass([word_hashes(["bends", "peat", "the", "river"])]) == 0.5
    assert tail.unknown([word_hashes(["bends", "zebra"])]) == 0.5
    assert math.isnan(tail.mass([]))
    found = text_diversity(["the river the river bends"], reference, beside=["sand silt the the"])
    assert found.tail_mass == pytest.approx(0.2)
    assert found.source_tail_mass == 0.5


def test_phrases_of_machine_text_are_found_in_any_case_and_form() -> None:
    found = machine_phrases(["Let us DELVE into it.", "It\u2019s important to note", "a bedelved thing", "plain"])
    assert found["delve"] == 0.25
    assert found["it's important to note"] == 0.25
    assert set(found) == set(MACHINE_PHRASES)
    assert sum(found.values()) == 0.5


def test_real_text_is_diverse_and_the_same_text_under_a_template_is_not() -> None:
    parts = [text[start : start + 600] for text in manuals(8) for start in range(0, 6000, 600) if text[start:]]
    real = text_diversity(parts)
    assert real.near_duplicates == 0
    assert real.opening_share < 0.1
    assert real.vendi > 0.8 * len(parts)
    templated = text_diversity([f"In this passage we will look at the following: {parts[n % 4]}" for n in range(40)])
    assert templated.opening_share == 1
    assert templated.near_duplicates > 0.8
    assert templated.vendi < 8
