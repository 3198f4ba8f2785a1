"""The n-gram model: what its numbers mean, and where its n-grams end. Its values: tests/parity/evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.evaluation import NgramModel

VOCAB, SEPARATOR = 9, 8


def random_documents(seed: int, n: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 6, rng.integers(0, 12)).tolist() for _ in range(n)]


def test_a_loss_for_every_token_and_every_end() -> None:
    model = NgramModel.fit(random_documents(0, 50), vocab_size=VOCAB, separator=SEPARATOR)
    documents = [[1, 2, 3], [], [4]]
    assert model.order == 5
    assert model.token_losses(documents).shape == (3 + 1 + 0 + 1 + 1 + 1,)
    assert (model.token_losses(documents) > 0).all()


def test_documents_do_not_see_each_other() -> None:
    model = NgramModel.fit(random_documents(1, 50), vocab_size=VOCAB, separator=SEPARATOR)
    documents = random_documents(2, 10)
    alone = np.concatenate([model.token_losses([document]) for document in documents])
    assert np.array_equal(model.token_losses(documents), alone)


def test_tokens_never_seen_have_a_probability() -> None:
    model = NgramModel.fit(random_documents(0, 50), vocab_size=VOCAB, separator=SEPARATOR)
    assert np.isfinite(model.token_losses([[7, 7, 7]])).all()


def test_longer_contexts_help_where_text_repeats() -> None:
    documents = [[0, 1, 2, 3, 4, 5, 6, 7] * 3, [0, 2, 4, 6, 1, 3, 5, 7] * 3] * 5
    losses = [
        NgramModel.fit(documents, vocab_size=VOCAB, separator=SEPARATOR, order=order).token_losses(documents).sum()
        for order in (2, 5)
    ]
    assert losses[1] < 0.7 * losses[0]


def test_needs_documents_and_a_context() -> None:
    with pytest.raises(DataError, match="no documents"):
        NgramModel.fit([], vocab_size=VOCAB, separator=SEPARATOR)
    with pytest.raises(ConfigError, match="order 1"):
        NgramModel.fit([[1]], vocab_size=VOCAB, separator=SEPARATOR, order=1)
