"""What a loop gained, in a sentence, and which model goes out in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tilth.improve.chosen_model import TOLERANCE, choose_model, improved_model
from tilth.improve.gain import one_sentence
from tilth.improve.result import LOOP_RESULT, ArmResult, LoopResult, SeedResult
from tilth.improve.rounds import RoundRecord, save_round
from tilth.model import ModelConfig, Transformer
from tilth.recipes.step_functions import held_out_facts
from tilth.results import write_result
from tilth.storage import Dataset, write_dataset
from tilth.tokenizer import Tokenizer
from tilth.training import held_out_excerpt, initial_model, text_loss
from tilth.types import Document


def arm(before: float, after: float, **fields: object) -> ArmResult:
    made = ArmResult(accuracy=((1.0, before, before), (1.0, after, after)), train_flops=2e12, generation_flops=1e12)
    return replace(made, **fields)  # type: ignore[arg-type]


def result(**arms: ArmResult) -> LoopResult:
    return LoopResult(
        task="sort", base_difficulty=1, difficulties=(1, 2, 3), rounds=1, seeds=(SeedResult(seed=4, arms=arms),)
    )


def test_the_gain_names_compute_controls_and_text() -> None:
    said = one_sentence(
        result(
            baseline=arm(0.2, 0.2),
            control=arm(0.2, 0.3),
            flop_matched=arm(0.2, 0.35),
            unfiltered=arm(0.2, 0.4),
            vote=arm(0.2, 0.9, held_out_bits_per_byte=(1.9, 1.8)),
        )
    )
    assert said.endswith(".")
    assert ". " not in said
    for words in (
        "3 TFLOPs",
        "(1 of it",
        "from 20% to 90%",
        "difficulty 2 to 3",
        "30% with as many steps",
        "35% with as many FLOPs",
        "40% with its unfiltered",
        "1.800 bits per byte, 1.900 before",
    ):
        assert words in said


def test_without_a_treated_arm_there_is_no_gain_and_without_text_no_bits() -> None:
    assert one_sentence(result(baseline=arm(0.2, 0.2), oracle=arm(0.2, 0.9))) == ""
    assert "bits per byte" not in one_sentence(result(vote=arm(0.2, 0.9)))


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["some text to train a tokenizer on, and a little more of it"] * 3, vocab_size=280)


@pytest.fixture
def held_out(tmp_path: Path) -> Dataset:
    texts = ["some text to measure on, and a little more of it", "another text that is held out"]
    return write_dataset(tmp_path / "held_out", (Document.make(text, "made-up") for text in texts), made_by="test")


def model(tokenizer: Tokenizer, seed: int) -> Transformer:
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=2, context_length=32)
    return initial_model(shape, seed).eval()


def loop(folder: Path, last: Transformer, *, good: bool = True) -> Path:
    folder.mkdir()
    write_result(folder / LOOP_RESULT, result(vote=arm(0.2, 0.9)))
    rounds = folder / "seed-4" / "vote"
    record = RoundRecord(difficulty=2, accuracy=(1.0, 1.0, 1.0))
    save_round(rounds / "round-01", last, [], record)
    save_round(rounds / "round-02", last, [], replace(record, good=good))
    return folder


def bits(one: Transformer, tokenizer: Tokenizer, held_out: Dataset) -> float:
    return text_loss(one, tokenizer, held_out_excerpt(held_out.documents(), 1000)).bits_per_byte


def test_the_loops_model_goes_out_only_if_it_is_no_worse_at_text(
    tmp_path: Path, tokenizer: Tokenizer, held_out: Dataset
) -> None:
    one, other = model(tokenizer, 0), model(tokenizer, 1)
    with torch.no_grad():  # predicts anything but what comes
        other.embedding.weight.mul_(-30)
    better, worse = sorted((one, other), key=lambda each: bits(each, tokenizer, held_out))
    assert bits(worse, tokenizer, held_out) > bits(better, tokenizer, held_out) + TOLERANCE
    kept = choose_model(better, loop(tmp_path / "worse", worse), tokenizer, held_out)
    assert not kept.improved
    assert kept.model is better
    assert f"{bits(worse, tokenizer, held_out):.4f}" in kept.why
    taken = choose_model(worse, loop(tmp_path / "better", better), tokenizer, held_out)
    assert taken.improved
    assert bits(taken.model, tokenizer, held_out) == pytest.approx(bits(better, tokenizer, held_out), rel=1e-5)
    same = choose_model(better, loop(tmp_path / "same", better), tokenizer, held_out)
    assert same.improved


def test_a_round_that_was_thrown_away_is_not_what_goes_out(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = loop(tmp_path / "loop", model(tokenizer, 0), good=False)
    found = improved_model(folder)
    assert found is not None
    assert found.parent.name == "round-01"


def test_a_loop_without_a_treated_arm_made_no_model(tmp_path: Path) -> None:
    write_result(tmp_path / LOOP_RESULT, result(baseline=arm(0.2, 0.2)))
    assert improved_model(tmp_path) is None


def test_a_card_does_not_give_the_loops_model_the_figures_of_the_one_before() -> None:
    measured = {"model": 2.0, "5-gram": 3.0}
    before = held_out_facts(measured)
    assert before == {
        "Bits per byte on held-out text, model": 2.0,
        "Bits per byte on held-out text, 5-gram": 3.0,
    }
    after = held_out_facts(measured, after_loop=True)
    assert "Bits per byte on held-out text, model" not in after
    assert after["Bits per byte on held-out text, the pretrained model before the loop"] == 2.0
