"""Embeddings from counts: the pairs that are counted, and the bigram model that a new model is."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from tilth.errors import ConfigError
from tilth.model import ModelConfig, Transformer
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import bigrams
from tilth.training.bigrams import SMOOTHING, count_pairs, start_from_bigrams, token_arrays


def model_of(tokenizer: Tokenizer, d_model: int) -> Transformer:
    torch.manual_seed(0)
    return Transformer(
        ModelConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=d_model,
            n_layers=1,
            n_heads=2,
            context_length=24,
            tie_embeddings=False,
        )
    )


def pairs_of(dataset: Dataset, tokenizer: Tokenizer) -> Counter[tuple[int, int]]:
    counted: Counter[tuple[int, int]] = Counter()
    end = tokenizer.end_of_text
    assert end is not None
    for document in dataset.documents():
        counted.update(pairwise([end, *tokenizer.encode_ordinary(document.text), end]))
    return counted


def test_pairs_are_counted_within_documents(dataset: Dataset, tokenizer: Tokenizer) -> None:
    pairs, counts = count_pairs(token_arrays(dataset, tokenizer), tokenizer.vocab_size)
    found = {(a, b): n for (a, b), n in zip(pairs.T.tolist(), counts.tolist(), strict=True)}
    assert found == pairs_of(dataset, tokenizer)


def test_counting_stops_at_its_limit(dataset: Dataset, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigrams, "COUNTED_TOKENS", 1)
    assert len(dataset.shards) > 1
    assert len(list(token_arrays(dataset, tokenizer))) == 1


def test_a_new_model_is_the_bigram_model(dataset: Dataset, tokenizer: Tokenizer) -> None:
    """With as many dimensions as tokens the table is whole, and the probabilities are the smoothed counts."""
    model = model_of(tokenizer, d_model=272)
    start_from_bigrams(model, dataset, tokenizer, seed=0)
    counted = pairs_of(dataset, tokenizer)
    as_first, as_second = Counter[int](), Counter[int]()
    for (first, second), n in counted.items():
        as_first[first] += n
        as_second[second] += n
    total = sum(as_second.values()) + 0.5 * tokenizer.vocab_size
    with torch.no_grad():
        logits = model(torch.arange(tokenizer.vocab_size)[:, None])[:, 0]
    losses, expected = 0.0, 0.0
    for (first, second), n in counted.items():
        p_next = (as_second[second] + 0.5) / total
        p = (n + SMOOTHING * p_next) / (as_first[first] + SMOOTHING)
        losses -= n * float(logits[first].log_softmax(-1)[second])
        expected -= n * math.log(p)
    assert losses / expected == pytest.approx(1, abs=0.03)


def test_fewer_dimensions_keep_most_of_it_and_random_ones_nothing(dataset: Dataset, tokenizer: Tokenizer) -> None:
    counted = pairs_of(dataset, tokenizer)
    pairs = torch.tensor(list(counted))
    weights = torch.tensor(list(counted.values()), dtype=torch.float32)

    def loss(model: Transformer) -> float:
        with torch.no_grad():
            losses = model.token_losses(pairs[:, :1], pairs[:, 1:])[:, 0]
        return float((losses * weights).sum() / weights.sum())

    model = model_of(tokenizer, d_model=16)
    before = loss(model)
    start_from_bigrams(model, dataset, tokenizer, seed=0)
    assert before > 5 and loss(model) < 2


def test_tied_embeddings_are_refused(dataset: Dataset, tokenizer: Tokenizer) -> None:
    tied = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=2))
    with pytest.raises(ConfigError, match="tied to the output matrix"):
        start_from_bigrams(tied, dataset, tokenizer, seed=0)
