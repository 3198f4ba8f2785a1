"""An exported folder in `transformers`: equal logits, equal ids, equal text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError
from tilth.export import to_hf
from tilth.inference import Engine, SamplingParams
from tilth.model import ModelConfig, Transformer, load_model
from tilth.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

TEXT = "def grow(seed: int) -> str:\n    return 'Größe' * seed  # 日本語 🌱 12345\n"
SEPARATOR = "<|endoftext|>"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT * 5], vocab_size=300, special_tokens=[SEPARATOR])


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2)
    model = Transformer(config).eval()
    # A new model has zeros where it writes to the stream, and here every part of it is to count.
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


def test_transformers_gives_what_tilth_gives(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    to_hf(model, tokenizer, tmp_path, facts={"Held-out bits per byte": 1.23456})
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode_ordinary(TEXT)
    assert their_tokenizer(TEXT, add_special_tokens=False)["input_ids"] == ids
    assert their_tokenizer.decode(ids) == TEXT
    assert their_tokenizer.eos_token == SEPARATOR
    with torch.no_grad():
        torch.testing.assert_close(model(torch.tensor([ids])), theirs(torch.tensor([ids])).logits, atol=1e-5, rtol=1e-5)
    prompt = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode_ordinary("def ")]])
    expected = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False)
    params = SamplingParams(max_tokens=20, temperature=0, token_healing=False)
    completion = Engine(model, tokenizer).generate("def ", params)
    assert list(completion.tokens) == expected[0, prompt.shape[1] :].tolist()


@pytest.mark.slow
def test_transformers_generates_without_a_word(
    tmp_path: Path, model: Transformer, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    to_hf(model, tokenizer, str(tmp_path))
    transformers.utils.logging.enable_propagation()  # so that caplog has what it would print
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert their_tokenizer.pad_token == their_tokenizer.bos_token == SEPARATOR
    assert their_tokenizer.model_max_length == model.config.context_length
    assert theirs.generation_config.pad_token_id == theirs.generation_config.eos_token_id == tokenizer.end_of_text
    assert len(theirs.generate(**their_tokenizer("def", return_tensors="pt"))[0]) > 2
    theirs.generate(**their_tokenizer("def", return_tensors="pt"), max_new_tokens=3)
    batch = their_tokenizer(["def", "def grow(seed"], return_tensors="pt", padding=True)
    together = theirs.generate(**batch, max_new_tokens=5, do_sample=False)
    alone = theirs.generate(**their_tokenizer("def", return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert together[0, -5:].tolist() == alone[0, -5:].tolist()
    written = transformers.pipeline("text-generation", str(tmp_path))("def", max_new_tokens=3)
    assert written[0]["generated_text"].startswith("def")
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_the_folder_loads_here_too(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    to_hf(model, tokenizer, tmp_path)
    ids = torch.tensor([tokenizer.encode_ordinary(TEXT)])
    assert torch.equal(load_model(tmp_path)(ids), model(ids))
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_half_precision_stays_half(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    half = Transformer(model.config)
    half.load_state_dict(model.state_dict())
    to_hf(half.to(torch.bfloat16), tokenizer, tmp_path)
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16


def test_the_card_holds_the_facts(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    to_hf(model, tokenizer, tmp_path, name="Sprout", facts={"Held-out bits per byte": 1.23456, "Tokens": "2,000"})
    card = (tmp_path / "README.md").read_text()
    assert "# Sprout" in card
    assert "| Held-out bits per byte | 1.235 |" in card and "| Tokens | 2,000 |" in card
    assert f"| Parameters | {model.config.n_params:,} |" in card


def test_what_cannot_be_exported_is_refused(tmp_path: Path, model: Transformer, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="not a Llama") as caught:
        to_hf(Transformer(replace(model.config, rope_theta=None)), tokenizer, tmp_path / "a")
    assert caught.value.fix
    with pytest.raises(ConfigError, match="the model only 299"):
        to_hf(Transformer(replace(model.config, vocab_size=299)), tokenizer, tmp_path / "b")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()
