"""Held-out text token by token: the same bits as the loss on whole documents, and text of whole characters."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tilth.evaluation import NgramModel, Surprise, ngram_bits_per_byte, surprise
from tilth.evaluation.token_bits import character_groups, chosen_documents, token_text
from tilth.model import ModelConfig, Transformer
from tilth.results import read_result
from tilth.tokenizer import Tokenizer
from tilth.training import text_loss
from tilth.types import Document

PROSE = [
    f"The {n} ponds froze before the {n + 1} ducks had left.\nNobody was surprised by this.\n" * 4 for n in range(9)
]
CHINESE = "湖面结冰了，鸭子还没有离开。没有人感到惊讶 🦆🧊。\n" * 12


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(PROSE, vocab_size=300)


@pytest.fixture(scope="module")
def ngram(tokenizer: Tokenizer) -> NgramModel:
    assert tokenizer.end_of_text is not None
    ids = tokenizer.encode_batch(PROSE[:4])
    return NgramModel.fit(ids, vocab_size=tokenizer.vocab_size, separator=tokenizer.end_of_text)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1, d_ff=32, context_length=32)
    model = Transformer(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


def documents(texts: list[str]) -> list[Document]:
    return [Document.make(text, source=f"{index}.txt", language="en") for index, text in enumerate(texts)]


def scored(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, held_out: list[Document], out: Path, **limits: int
) -> Surprise:
    return surprise(model=model, ngram=ngram, tokenizer=tokenizer, documents=held_out, out=out, **limits)


def test_the_totals_are_those_of_whole_documents(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    held_out = documents([*PROSE[4:], CHINESE])
    result = scored(model, ngram, tokenizer, held_out, tmp_path)
    loss = text_loss(model, tokenizer, held_out)
    assert result.documents == 6 and result.bytes == loss.bytes
    assert result.model_bits == pytest.approx(loss.nats / math.log(2), rel=1e-6)
    assert result.ngram_bits / result.bytes == pytest.approx(ngram_bits_per_byte(ngram, tokenizer, held_out))
    assert read_result(Surprise, tmp_path / "surprise.json") == result


def test_a_passage_that_is_the_document_has_all_of_its_bits(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Only the bits of the separator at the end are not in the tokens."""
    held_out = documents([CHINESE])
    result = scored(model, ngram, tokenizer, held_out, tmp_path, passage_bytes=10_000)
    (passage,) = result.passages
    assert "".join(token.text for token in passage.tokens) == CHINESE
    assert passage.bytes == len(CHINESE.encode()) and passage.first_token == 0
    left = result.model_bits - sum(token.model_bits for token in passage.tokens)
    assert 0 < left < 60
    assert sum(row.model_bits for row in result.by_context) == pytest.approx(result.model_bits - left, rel=1e-4)
    assert sum(row.bytes for row in result.by_context) == passage.bytes


def test_characters_are_whole_where_tokens_cut_them(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (passage,) = scored(model, ngram, tokenizer, documents([CHINESE]), tmp_path, passage_bytes=300).passages
    text = "".join(token.text for token in passage.tokens)
    assert "�" not in text and text in CHINESE
    assert passage.bytes == len(text.encode())
    assert {token.tokens for token in passage.tokens if token.text == "🦆"} == {4}
    assert {token.tokens for token in passage.tokens if token.text == "湖"} == {3}


def test_groups_of_tokens_are_whole_characters() -> None:
    content = "aé日b".encode()
    edges = [0, 2, 3, 4, 5, 7]  # "a" with half of "é", its rest, the three bytes of "日" by one, one and one with "b"
    spans = torch.tensor([[a, b] for a, b in pairwise(edges)]).numpy()
    assert character_groups(content, spans) == [(0, 2), (2, 5)]


def test_alternatives_are_what_the_model_says(
    model: Transformer, ngram: NgramModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text = PROSE[5][:60]
    (passage,) = scored(model, ngram, tokenizer, documents([text]), tmp_path).passages
    assert tokenizer.end_of_text is not None
    ids = tokenizer.encode(text)
    with torch.no_grad():
        probabilities = model(torch.tensor([[tokenizer.end_of_text, *ids]]))[0].softmax(dim=-1)
    assert len(passage.tokens) == len(ids)
    for index in (0, 5, len(ids) - 1):
        token = passage.tokens[index]
        assert token.model_bits == pytest.approx(-math.log2(probabilities[index, ids[index]]), abs=1e-3)
        best = probabilities[index].argsort(descending=True)[:5].tolist()
        assert list(token.alternatives) == [token_text(tokenizer.token_bytes(one)) for one in best]
        first = next(iter(token.alternatives.values()))
        assert first == pytest.approx(float(probabilities[index].max()), abs=1e-4)


def test_documents_of_all_kinds_are_chosen_whatever_their_order() -> None:
    prose = [Document.make(f"{n} {'words ' * 200}", source=f"{n}.txt", language="de") for n in range(30)]
    code = [Document.make(f"x = {n}\n" * 200, source=f"{n}.py", meta={"kind": "code"}) for n in range(2)]
    short = [Document.make("def f(): pass", source="short.js", meta={"kind": "code"})]
    blank = [Document.make(" \n" * 400, source="blank.md")]
    everything = [*prose, *code, *short, *blank]
    chosen = chosen_documents(everything, 5, 500)
    assert chosen == chosen_documents(reversed(everything), 5, 500)
    sources = [Path(document.source).suffix for document in chosen]
    assert sorted(sources) == [".py", ".py", ".txt", ".txt", ".txt"]
    assert {d.source for d in chosen_documents([*prose[:2], *short], 5, 500)} == {"0.txt", "1.txt", "short.js"}


def test_bytes_that_are_no_text_are_written_as_numbers() -> None:
    assert token_text(" é".encode()) == " é"
    assert token_text("日".encode()[:2]) == "⟨E6 97⟩"
