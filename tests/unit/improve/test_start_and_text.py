"""A loop that continues a given model, with real text in every batch."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.execute import Context
from tilth.improve import LoopConfig, LoopResult, Start, TextMix, improve
from tilth.improve.rounds import read_model
from tilth.improve.start import with_tokenizer
from tilth.model import load_model, save_model
from tilth.storage import Dataset
from tilth.synthesis.verify.task_family import Augmentable
from tilth.tokenizer import Tokenizer
from tilth.training import text_loss
from unit.improve.families import Last, PlainReverse
from unit.improve.text_data import datasets, documents, model_of_text, tokenizer_of

CONFIG = LoopConfig(
    rounds=2, base_difficulty=2, base_steps=40, round_steps=3, samples=8, test_problems=10, validation_problems=8,
    d_model=32, n_layers=1, n_heads=2, d_ff=32, batch_size=8, promote_at=0.0, learning_rate=1e-2,
    text_row_tokens=24, held_out_bytes=1000, sampled_texts=4, arms=("baseline", "control", "unfiltered"), monitor=False,
)  # fmt: skip
CONTEXT = Context(workers=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("text")
    train, _ = datasets(place)
    tokenizer_of(train).save(place / "tokenizer")
    model_of_text(place / "model", 400)  # more ids than the tokenizer has: vocabularies are rounded up
    return place


@pytest.fixture(scope="module")
def tokenizer(place: Path) -> Tokenizer:
    return Tokenizer.load(place / "tokenizer")


@pytest.fixture(scope="module")
def text(place: Path) -> TextMix:
    return TextMix(train=Dataset.open(place / "train"), held_out=Dataset.open(place / "held_out"))


@pytest.fixture(scope="module")
def run(
    place: Path, tokenizer: Tokenizer, text: TextMix, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, LoopResult]:
    out = tmp_path_factory.mktemp("loop")
    start = Start(model=place / "model", tokenizer=tokenizer)
    return out, improve(CONFIG, out, CONTEXT, Last(), start=start, text=text)


def test_real_text_is_measured_for_every_arm_and_round(
    run: tuple[Path, LoopResult], text: TextMix, tokenizer: Tokenizer
) -> None:
    out, result = run
    arms = result.seeds[0].arms
    for arm in arms.values():
        assert len(arm.held_out_bits_per_byte) == 3 and all(map(math.isfinite, arm.held_out_bits_per_byte))
    assert len({arm.held_out_bits_per_byte[0] for arm in arms.values()}) == 1
    assert len(set(arms["baseline"].held_out_bits_per_byte)) == 1
    model = read_model(out / "seed-0" / "control" / "round-02", "cpu")
    texts = sorted(text.held_out.documents(), key=lambda document: document.id)
    size, chosen = 0, []
    for document in texts:
        room = 1000 - size
        chosen.append(replace(document, text=document.text[:room]))
        size += len(chosen[-1].text)
        if size == 1000:
            break
    assert arms["control"].held_out_bits_per_byte[2] == pytest.approx(text_loss(model, tokenizer, chosen).bits_per_byte)


def test_text_is_learned_beside_the_problems(run: tuple[Path, LoopResult], place: Path, tokenizer: Tokenizer) -> None:
    before = text_loss(load_model(place / "model"), tokenizer, documents(5, 3)).bits_per_byte
    after = text_loss(read_model(run[0] / "seed-0" / "base", "cpu"), tokenizer, documents(5, 3)).bits_per_byte
    assert after < before - 0.5


def test_without_a_share_text_is_only_measured(
    run: tuple[Path, LoopResult], place: Path, tokenizer: Tokenizer, text: TextMix, tmp_path: Path
) -> None:
    start = Start(model=place / "model", tokenizer=tokenizer)
    config = replace(CONFIG, text_share=0.0, arms=("baseline",), rounds=1)
    alone = improve(config, tmp_path, CONTEXT, Last(), start=start, text=text)
    with_text = run[1].seeds[0].arms["baseline"].held_out_bits_per_byte[0]
    assert alone.seeds[0].arms["baseline"].held_out_bits_per_byte[0] > with_text + 0.3


def test_a_given_model_is_used_as_it_is(place: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    start = Start(model=place / "model", tokenizer=tokenizer)
    config = replace(CONFIG, base_steps=0, arms=("baseline",))
    result = improve(config, tmp_path, CONTEXT, Last(), start=start)
    given, base = load_model(place / "model"), read_model(tmp_path / "seed-0" / "base", "cpu")
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), base.parameters(), strict=True))
    assert result.n_params == given.config.n_params and result.seeds[0].base_flops == 0
    assert result.seeds[0].arms["baseline"].held_out_bits_per_byte == ()


def test_another_model_or_text_is_another_loop(
    run: tuple[Path, LoopResult], place: Path, tokenizer: Tokenizer, text: TextMix, tmp_path: Path
) -> None:
    start = Start(model=place / "model", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="text is gone"):
        improve(CONFIG, run[0], CONTEXT, Last(), start=start)
    with pytest.raises(ConfigError, match="model is gone"):
        improve(CONFIG, run[0], CONTEXT, Last(), start=Start(tokenizer=tokenizer), text=text)
    other = load_model(place / "model")
    with torch.no_grad():
        other.norm.weight[0] += 1
    save_model(other, tmp_path / "other")
    with pytest.raises(ConfigError, match="model "):
        improve(CONFIG, run[0], CONTEXT, Last(), start=replace(start, model=tmp_path / "other"), text=text)


def test_what_does_not_fit_is_said(place: Path, tokenizer: Tokenizer, text: TextMix, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its own alphabet only"):
        improve(CONFIG, tmp_path / "a", CONTEXT, Last(), text=text)
    with pytest.raises(ConfigError, match="base_steps is 0"):
        improve(replace(CONFIG, base_steps=0), tmp_path / "b", CONTEXT, Last())
    short = model_of_text(tmp_path / "short", 400, context_length=4)
    with pytest.raises(ConfigError, match="the context of .*short is 4"):
        improve(CONFIG, tmp_path / "c", CONTEXT, Last(), start=Start(model=short, tokenizer=tokenizer))
    small = model_of_text(tmp_path / "small", 100)
    with pytest.raises(ConfigError, match="tokens and the model only 100"):
        improve(CONFIG, tmp_path / "d", CONTEXT, Last(), start=Start(model=small, tokenizer=tokenizer))
    with pytest.raises(DataError, match="holds no model"):
        improve(CONFIG, tmp_path / "e", CONTEXT, Last(), start=Start(model=tmp_path, tokenizer=tokenizer))


def test_a_family_with_another_tokenizer_keeps_its_capabilities(tokenizer: Tokenizer) -> None:
    assert isinstance(with_tokenizer(Last(), tokenizer), Augmentable)
    assert not isinstance(with_tokenizer(PlainReverse(), tokenizer), Augmentable)
    travelled = pickle.loads(pickle.dumps(with_tokenizer(Last(), tokenizer)))
    assert travelled.tokenizer.fingerprint == tokenizer.fingerprint and travelled.n_problems(2) == 36
