import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.assay.diversity import text_diversity, vendi_score

texts = st.lists(st.text(alphabet="ab cd\n.é中", max_size=40), max_size=12)


@settings(max_examples=60, deadline=None)
@given(texts, st.randoms(use_true_random=False))
def test_the_order_of_texts_changes_nothing(some: list[str], rng: random.Random) -> None:
    shuffled = list(some)
    rng.shuffle(shuffled)
    assert repr(text_diversity(some, ["ab cd"], sampled_documents=5)) == repr(
        text_diversity(shuffled, ["ab cd"], sampled_documents=5)
    )


@settings(max_examples=60, deadline=None)
@given(texts)
def test_shares_are_shares_and_vendi_lies_between_one_and_the_different_texts(some: list[str]) -> None:
    found = text_diversity(some)
    shares = (found.near_duplicates, found.semantic_duplicates, found.opening_share, *found.distinct.values())
    assert all(0 <= share <= 1 for share in shares)
    if some:
        assert 1 <= found.vendi <= len(set(some)) + 1e-9


@settings(max_examples=60, deadline=None)
@given(texts.filter(bool), st.integers(2, 3))
def test_copies_of_the_whole_set_do_not_raise_vendi(some: list[str], times: int) -> None:
    assert text_diversity(some * times).vendi == pytest.approx(text_diversity(some).vendi)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10**6), st.integers(1, 4))
def test_copies_of_different_texts_never_raise_vendi(n: int, seed: int, copies: int) -> None:
    apart = [f"w{seed}x{number} v{seed}y{number}" for number in range(n)]
    assert text_diversity([*apart, *apart[:1] * copies]).vendi < text_diversity(apart).vendi


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 10**6))
def test_vendi_of_any_kernel_is_an_effective_number(n: int, width: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert 1 <= vendi_score(rows @ rows.T) <= min(n, width) + 1e-6
