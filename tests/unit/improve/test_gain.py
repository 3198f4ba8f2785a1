"""Sentences on what a loop gained: their figures, their intervals, and the arms that ended."""

from __future__ import annotations

import math

import pytest

from tilth.improve.gain import gain, gain_sentences
from tilth.improve.result import ArmResult, LoopResult, SeedResult


def result(*vote: float, ended: str = "") -> LoopResult:
    """One seed for each accuracy of the vote arm on the only difficulty beyond the base data."""
    seeds = tuple(
        SeedResult(
            seed=seed,
            arms={
                "baseline": ArmResult(accuracy=((1.0, 0.2), (1.0, 0.2))),
                "control": ArmResult(accuracy=((1.0, 0.2), (1.0, 0.3)), train_flops=1e12),
                "vote": ArmResult(
                    accuracy=((1.0, 0.2), (0.5, share)), train_flops=1e12, generation_flops=5e11, ended=ended
                ),
            },
        )
        for seed, share in enumerate(vote)
    )
    return LoopResult(
        task="made up", base_difficulty=1, difficulties=(1, 2), rounds=1, seeds=seeds, test_problems=(100, 100)
    )


def test_the_gain_is_beyond_the_base_data_and_paired_by_seed() -> None:
    found = gain(result(0.6, 0.8, 0.7), "vote")
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - 4.303 * 0.1 / 3**0.5, 0.5 + 4.303 * 0.1 / 3**0.5))


def test_of_one_seed_the_interval_is_over_problems() -> None:
    found = gain(result(0.7), "vote")
    assert found.high - found.mean == pytest.approx(1.96 * math.sqrt((0.21 + 0.16) / 100), rel=1e-3)


def test_the_sentence_holds_gain_interval_compute_and_controls() -> None:
    (sentence,) = gain_sentences(result(0.6, 0.8, 0.7))
    assert sentence.startswith("vote: +50.0 points (+25.2 to +74.8) of right answers on difficulties 2 to 2")
    assert "95% interval over 3 seeds" in sentence and "for 1.5 TFLOPs" in sentence
    assert "control +10.0 points (+10.0 to +10.0) for 1 TFLOPs" in sentence


def test_ended_arms_are_named() -> None:
    sentences = gain_sentences(result(0.2, ended="Round 1: the training diverged."))
    assert sentences[-1] == "vote, seed 0: ended early. Round 1: the training diverged."
