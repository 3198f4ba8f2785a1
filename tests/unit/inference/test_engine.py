"""The engine: text in, text out, and the same text when streamed."""

from __future__ import annotations

import pytest
import torch

from tilth.inference import Engine, SamplingParams
from tilth.model import ModelConfig, Transformer
from tilth.tokenizer import Tokenizer

TEXT = "Größe und Maß: naïve café, 日本語, 🌱 grows. " * 20


@pytest.fixture(scope="module")
def engine() -> Engine:
    tokenizer = Tokenizer.train([TEXT], vocab_size=280, special_tokens=["<|endoftext|>"])
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=2, n_heads=2, context_length=64)
    return Engine(Transformer(config), tokenizer)


def test_text_prompts_begin_a_document(engine: Engine) -> None:
    params = SamplingParams(max_tokens=20, seed=3)
    ids = [engine.tokenizer.end_of_text, *engine.tokenizer.encode_ordinary("Maß")]
    assert engine.generate(["Maß"], params) == engine.generate([ids], params)


def test_the_separator_ends_a_completion_and_is_not_text(engine: Engine) -> None:
    separator = engine.tokenizer.end_of_text
    completions = engine.generate(["a"] * 40, SamplingParams(max_tokens=60, seed=1))
    stopped = [c for c in completions if c.finish_reason == "stop"]
    assert stopped and len(stopped) < 40
    for completion in completions:
        assert (completion.tokens[-1] == separator) == (completion.finish_reason == "stop")
        assert "<|endoftext|>" not in completion.text


@pytest.mark.parametrize("seed", range(5))
def test_streamed_pieces_join_to_the_completion(engine: Engine, seed: int) -> None:
    params = SamplingParams(max_tokens=50, seed=seed)
    pieces = list(engine.stream("日本", params))
    assert "".join(pieces) == engine.generate(["日本"], params)[0].text
    assert all(pieces)


def test_an_empty_prompt_begins_a_document_from_nothing(engine: Engine) -> None:
    assert len(engine.generate([""], SamplingParams(max_tokens=5, temperature=0))[0].tokens) <= 5
