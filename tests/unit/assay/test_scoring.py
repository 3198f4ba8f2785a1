"""Bits per byte under models of every kind are those of the definition that all of tilth has."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tilth.assay.scoring import HuggingFaceScorer, NgramScorer, TransformerScorer, bits_per_byte, open_scorer
from tilth.errors import DataError
from tilth.evaluation.held_out import ngram_bits_per_byte
from tilth.evaluation.ngram import NgramModel
from tilth.export import to_hf
from tilth.intervals import ratio_interval
from tilth.model import ModelConfig, Transformer
from tilth.tokenizer import Tokenizer
from tilth.training.held_out import text_loss
from tilth.types import Document
from unit.assay.texts import docstrings

TEXTS = [*docstrings()[:12], "short", "déjà vu 中文"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=400)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    torch.manual_seed(3)
    made = Transformer(ModelConfig.from_depth(1, vocab_size=tokenizer.vocab_size, context_length=32))
    for weight in made.parameters():  # so that windows and separators matter
        torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


def documents(texts: list[str]) -> list[Document]:
    return [Document.make(text, source="t") for text in texts]


def test_a_transformer_is_scored_as_text_loss_does(model: Transformer, tokenizer: Tokenizer) -> None:
    nats = TransformerScorer(model, tokenizer, "").nats(TEXTS)
    assert nats.sum() == pytest.approx(text_loss(model, tokenizer, documents(TEXTS)).nats, rel=1e-5)
    for number in (0, 12, 13):
        alone = text_loss(model, tokenizer, documents([TEXTS[number]])).nats
        assert nats[number] == pytest.approx(alone, rel=1e-5)


def test_an_ngram_model_is_scored_as_the_evaluation_does(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode_batch(TEXTS[:6], disallowed_special=())
    ngram = NgramModel.fit(tokens, vocab_size=tokenizer.vocab_size, separator=tokenizer.end_of_text or 0, order=3)
    found = bits_per_byte(NgramScorer(ngram, tokenizer, ""), TEXTS)
    assert found.mean == pytest.approx(ngram_bits_per_byte(ngram, tokenizer, documents(TEXTS)))
    assert 0 <= found.low < found.mean < found.high


def test_a_llama_folder_has_the_same_bits_by_our_class_and_by_transformers(
    model: Transformer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    to_hf(model, tokenizer, tmp_path)
    ours, theirs = open_scorer(tmp_path, "cpu"), HuggingFaceScorer(tmp_path, "cpu")
    assert isinstance(ours, TransformerScorer)
    assert theirs.context == 32
    np.testing.assert_allclose(theirs.nats(TEXTS), ours.nats(TEXTS), rtol=2e-4)


def test_another_architecture_is_run_by_transformers(tokenizer: Tokenizer, model: Transformer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    to_hf(model, tokenizer, tmp_path)
    config = transformers.GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=64, n_embd=16, n_layer=1, n_head=2, eos_token_id=0, bos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    scorer = open_scorer(tmp_path, "cpu")
    assert isinstance(scorer, HuggingFaceScorer)
    assert "gpt2" in scorer.note
    # Weights that know nothing give every token the same probability, but for the small random start.
    tokens = len(tokenizer.encode(TEXTS[0])) + 1
    assert scorer.nats(TEXTS[:1])[0] == pytest.approx(tokens * math.log(tokenizer.vocab_size), rel=0.05)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model"):
        open_scorer(tmp_path, "cpu")
    with pytest.raises(DataError, match="no folder"):
        open_scorer(tmp_path / "missing", "cpu")


def test_a_ratio_interval_is_the_ratio_of_the_sums_and_widens_with_the_spread() -> None:
    even = ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (even.mean, even.low, even.high) == (2.0, 2.0, 2.0)
    uneven = ratio_interval([1.0, 6.0, 5.0], [1.0, 2.0, 3.0])
    assert uneven.mean == 2.0
    assert uneven.low < 1.5 < 2.5 < uneven.high
    assert math.isnan(ratio_interval([1.0], [1.0]).low)
    assert math.isnan(ratio_interval([], []).mean)
