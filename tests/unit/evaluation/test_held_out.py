"""Baselines: one definition of bits per byte, one text, and the file that reports read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.evaluation import Baselines, NgramModel, baselines, bits_per_byte, ngram_bits_per_byte
from tilth.model import ModelConfig, Transformer
from tilth.results import read_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import held_out_excerpt, text_loss
from tilth.types import Document

TEXTS = [f"The {n} ponds froze before the {n + 1} ducks had left. Nobody was surprised.\n" * 3 for n in range(60)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=300)


@pytest.fixture(scope="module")
def uniform(tokenizer: Tokenizer) -> Transformer:
    """A model that gives every token the same probability."""
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=1, d_ff=32))
    torch.nn.init.zeros_(model.embedding.weight)
    return model


def documents(texts: list[str]) -> list[Document]:
    return [Document.make(text, source=f"{index}") for index, text in enumerate(texts)]


def dataset(folder: Path, texts: list[str]) -> Dataset:
    return write_dataset(folder, documents(texts), made_by="test")


def test_ngram_and_model_count_alike(tokenizer: Tokenizer, uniform: Transformer) -> None:
    held_out = documents(TEXTS[:7])
    n_bytes = sum(len(text) for text in TEXTS[:7])
    n_tokens = sum(len(tokenizer.encode(text)) + 1 for text in TEXTS[:7])
    expected = n_tokens * math.log2(tokenizer.vocab_size) / n_bytes
    assert text_loss(uniform, tokenizer, held_out).tokens == n_tokens
    assert bits_per_byte(uniform, tokenizer, held_out) == pytest.approx(expected, rel=1e-5)
    assert tokenizer.end_of_text is not None
    ngram = NgramModel.fit([[1]], vocab_size=tokenizer.vocab_size, separator=tokenizer.end_of_text)
    flat = NgramModel(ngram.vocab_size, ngram.separator, ngram.unigram * 0 + 1 / tokenizer.vocab_size, [])
    assert ngram_bits_per_byte(flat, tokenizer, held_out) == pytest.approx(expected, rel=1e-9)


def test_writes_what_the_report_reads(tmp_path: Path, tokenizer: Tokenizer, uniform: Transformer) -> None:
    result = baselines(
        models={"model before": uniform, "model": uniform},
        tokenizer=tokenizer,
        train=dataset(tmp_path / "train", TEXTS[:50]),
        held_out=dataset(tmp_path / "held_out", TEXTS[50:]),
        out=tmp_path,
    )
    assert read_result(Baselines, tmp_path / "baselines.json") == result
    written = json.loads((tmp_path / "baselines.json").read_text())
    assert set(written) == {"held_out_bytes", "held_out_documents", "bits_per_byte", "notes", "curve_bits_per_byte"}
    assert list(result.bits_per_byte) == ["model before", "model", "5-gram", "zstd -19"]
    assert written["bits_per_byte"] == result.bits_per_byte
    assert set(written["notes"]) == set(written["bits_per_byte"])
    assert result.held_out_bytes == sum(len(text) for text in TEXTS[50:])
    assert result.held_out_documents == 10
    assert result.bits_per_byte["5-gram"] < result.bits_per_byte["zstd -19"] < result.bits_per_byte["model"]


def test_all_are_measured_on_the_same_excerpt(tmp_path: Path, tokenizer: Tokenizer, uniform: Transformer) -> None:
    train, held_out = dataset(tmp_path / "train", TEXTS[:50]), dataset(tmp_path / "held_out", TEXTS[50:])
    result = baselines(
        models={"model": uniform}, tokenizer=tokenizer, train=train, held_out=held_out, out=tmp_path, max_bytes=500
    )
    loss = text_loss(uniform, tokenizer, held_out_excerpt(held_out.documents(), 500))
    assert result.held_out_bytes == loss.bytes == 500
    assert result.bits_per_byte["model"] == pytest.approx(loss.bits_per_byte)


def test_an_excerpt_is_cut_between_characters() -> None:
    assert [document.text for document in held_out_excerpt(documents(["äöü"]), 3)] == ["ä"]
    with pytest.raises(DataError, match="no held-out text"):
        held_out_excerpt(documents([""]), 10)


def test_a_tokenizer_that_is_too_large_is_refused_before_anything_is_measured(
    tmp_path: Path, tokenizer: Tokenizer, uniform: Transformer
) -> None:
    small = Transformer(ModelConfig(vocab_size=299, d_model=16, n_layers=1, n_heads=1, d_ff=32))
    with pytest.raises(ConfigError, match="the model only 299"):
        bits_per_byte(small, tokenizer, documents(TEXTS[:1]))
    calls: list[object] = []
    hook = uniform.embedding.register_forward_hook(lambda *call: calls.append(call))
    with pytest.raises(ConfigError, match="the model only 299"):
        baselines(
            models={"fits": uniform, "too small": small},
            tokenizer=tokenizer,
            train=dataset(tmp_path / "train", TEXTS[:50]),
            held_out=dataset(tmp_path / "held_out", TEXTS[50:]),
            out=tmp_path,
        )
    hook.remove()
    assert calls == [] and not (tmp_path / "baselines.json").exists()
