"""Bits per byte on held-out text."""

from __future__ import annotations

import math
import random
import weakref
from collections.abc import Iterator

import pytest
import torch

from tilth.errors import DataError
from tilth.model import ModelConfig, Transformer
from tilth.storage import Dataset
from tilth.tokenizer import Tokenizer
from tilth.training import held_out_excerpt, text_loss
from tilth.types import Document


def model_of(tokenizer: Tokenizer, context_length: int) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=2, n_heads=2, context_length=context_length)
    ).eval()
    # A new model has zeros where it writes to the stream, and here every part of it is to count.
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


def nats_by_hand(model: Transformer, ids: list[int]) -> float:
    """Each token with at least half a context before it, one forward pass for each."""
    length, total = model.config.context_length, 0.0
    for target in range(1, len(ids)):
        start = 0
        if target > length:
            stride = length // 2
            start = math.ceil((target - length) / stride) * stride
        with torch.no_grad():
            logits = model(torch.tensor([ids[start:target]]))[0, -1]
        total -= logits.log_softmax(-1)[ids[target]].item()
    return total


@pytest.mark.parametrize("context_length", [7, 16, 400])
def test_loss_equals_one_token_at_a_time(tokenizer: Tokenizer, held_out: Dataset, context_length: int) -> None:
    model = model_of(tokenizer, context_length)
    documents = list(held_out.documents())[:6]
    loss = text_loss(model, tokenizer, documents)
    end = tokenizer.end_of_text
    assert end is not None
    sequences = [[end, *tokenizer.encode_ordinary(d.text), end] for d in documents]
    assert loss.nats == pytest.approx(sum(nats_by_hand(model, ids) for ids in sequences), rel=1e-5)
    assert loss.tokens == sum(len(ids) - 1 for ids in sequences)
    assert loss.bytes == sum(len(d.text.encode()) for d in documents)
    assert loss.bits_per_byte == pytest.approx(loss.nats / math.log(2) / loss.bytes)


def test_the_loss_of_a_uniform_model_is_the_logarithm_of_its_vocabulary(
    tokenizer: Tokenizer, held_out: Dataset
) -> None:
    model = model_of(tokenizer, 16)
    torch.nn.init.zeros_(model.embedding.weight)
    loss = text_loss(model, tokenizer, held_out.documents())
    assert loss.nats_per_token == pytest.approx(math.log(tokenizer.vocab_size), rel=1e-6)


def test_an_excerpt_is_cut_between_characters_whatever_the_order() -> None:
    documents = [Document.make("ä" * 49 + letter, str(i)) for i, letter in enumerate("àáâãå")]
    excerpt = held_out_excerpt(documents, 151)
    assert sum(len(document.text.encode()) for document in excerpt) == 150
    assert held_out_excerpt(documents[::-1], 151) == excerpt
    assert sorted(d.id for d in held_out_excerpt(documents, 10**9)) == sorted(d.id for d in documents)
    with pytest.raises(DataError, match="no held-out text"):
        held_out_excerpt([Document.make("", "empty")], 10)


def test_no_text_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no held-out text"):
        text_loss(model_of(tokenizer, 16), tokenizer, [])


def test_the_model_stays_in_its_mode(tokenizer: Tokenizer, held_out: Dataset) -> None:
    model = model_of(tokenizer, 16).train()
    text_loss(model, tokenizer, held_out.documents())
    assert model.training


def test_an_excerpt_holds_little_more_than_it_returns() -> None:
    """Documents are dropped while they are read: of 400 at most 6 are alive at once, 5 chosen and the one that came."""
    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    def documents() -> Iterator[Document]:
        nonlocal most
        for index in random.Random(0).sample(range(400), 400):
            text = Text("x" * 100)
            alive.add(text)
            most = max(most, len(alive))
            yield Document(id=f"{index:04}", text=text, source="")
            del text

    excerpt = held_out_excerpt(documents(), 450)
    assert [document.id for document in excerpt] == ["0000", "0001", "0002", "0003", "0004"]
    assert [len(document.text) for document in excerpt] == [100, 100, 100, 100, 50]
    assert most <= 8


class Text(str):
    """Text whose end of life can be seen."""
