"""The n-gram model gives a distribution, whatever it was counted on and whatever comes before."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.evaluation import NgramModel

VOCAB, SEPARATOR = 6, 5
tokens = st.lists(st.integers(0, 4), max_size=12)


@settings(deadline=None, max_examples=60)
@given(train=st.lists(tokens, min_size=1, max_size=20), context=tokens, order=st.integers(2, 6))
def test_probabilities_sum_to_one(train: list[list[int]], context: list[int], order: int) -> None:
    model = NgramModel.fit(train, vocab_size=VOCAB, separator=SEPARATOR, order=order)
    # The separator as the next token is the end of the document, so it needs no token of its own.
    losses = [model.token_losses([[*context, token]])[len(context)] for token in range(SEPARATOR)]
    end = model.token_losses([context])[len(context)]
    assert np.isclose(np.exp(-np.array([*losses, end])).sum(), 1, rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(train=st.lists(tokens, min_size=1, max_size=20), held_out=tokens, seed=st.integers(0, 9))
def test_the_order_of_documents_does_not_matter(train: list[list[int]], held_out: list[int], seed: int) -> None:
    mixed = [train[index] for index in np.random.default_rng(seed).permutation(len(train))]
    one, other = (NgramModel.fit(texts, vocab_size=VOCAB, separator=SEPARATOR) for texts in (train, mixed))
    np.testing.assert_allclose(one.token_losses([held_out]), other.token_losses([held_out]), rtol=1e-12)
