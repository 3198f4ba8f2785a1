"""How hard the problems are that arms solve, and the sentences that judge them."""

from __future__ import annotations

import math

import pytest

from tilth.improve.result import ArmResult, LoopResult, SeedResult
from tilth.improve.solvable import Solvable, solvable, solvable_difficulty, verdict

DIFFICULTIES = tuple(range(1, 16))


def row(solved: int) -> tuple[float, ...]:
    return tuple(0.95 if difficulty <= solved else 0.5 for difficulty in DIFFICULTIES)


def result(*, base: tuple[int, ...], task: str = "reverse", **arms: tuple[int, ...]) -> LoopResult:
    """A result whose arms solve so many letters, one number for each seed."""
    return LoopResult(
        task=task,
        base_difficulty=5,
        difficulties=DIFFICULTIES,
        rounds=2,
        seeds=tuple(
            SeedResult(
                seed=seed,
                arms={
                    name: ArmResult(accuracy=(row(base[seed]), row(1), row(reached[seed])))
                    for name, reached in arms.items()
                },
            )
            for seed in range(len(base))
        ),
    )


@pytest.mark.parametrize(
    ("accuracy", "solved"),
    [
        ((1.0, 0.9, 0.95, 0.89), 3),
        ((0.89, 1.0, 1.0, 1.0), 0),
        ((1.0, 0.5, 1.0, 1.0), 1),
        ((1.0, 1.0, 1.0, 1.0), 4),
        ((math.nan, 0.95, 0.95, math.nan), 3),
        ((1.0, math.nan, 0.2, 1.0), 1),
        ((math.nan,) * 4, 0),
    ],
)
def test_a_difficulty_is_solved_where_all_easier_ones_are(accuracy: tuple[float, ...], solved: int) -> None:
    assert solvable_difficulty(accuracy, (1, 2, 3, 4)) == solved


def test_the_bar_can_be_moved() -> None:
    assert solvable_difficulty((1.0, 0.8, 0.6), (1, 2, 3), at=0.6) == 3
    assert solvable_difficulty((1.0, 0.8, 0.6), (1, 2, 3), at=0.81) == 1


def test_arms_are_compared_at_their_end_with_their_own_base_model() -> None:
    found = solvable(result(base=(6, 5, 6), vote=(14, 12, 15), control=(6, 6, 7)), "vote")
    assert (found.base, found.reached) == ((6, 5, 6), (14, 12, 15))
    assert found.ratios == (14 / 6, 12 / 5, 15 / 6)
    assert found.interval.mean == pytest.approx(41 / 3)
    assert found.doubles()


def test_one_seed_below_twice_is_not_twice() -> None:
    assert not Solvable(arm="vote", base=(6, 6), reached=(14, 11)).doubles()
    assert Solvable(arm="vote", base=(6, 6), reached=(14, 12)).doubles()
    assert not Solvable(arm="vote", base=(6, 0), reached=(14, 12)).doubles()


def test_above_means_that_the_intervals_do_not_touch() -> None:
    vote = Solvable(arm="vote", base=(6, 6, 6), reached=(13, 14, 15))  # 11.5 to 16.5
    assert vote.is_above(Solvable(arm="control", base=(6, 6, 6), reached=(6, 7, 7)))
    assert not vote.is_above(Solvable(arm="control", base=(6, 6, 6), reached=(12, 12, 12)))
    assert not vote.is_above(Solvable(arm="control", base=(6, 6, 6), reached=(2, 7, 12)))
    assert not Solvable(arm="vote", base=(6,), reached=(13,)).is_above(Solvable(arm="control", base=(6,), reached=(6,)))


def test_a_positive_verdict_names_figures_and_controls() -> None:
    text = verdict(result(base=(6, 6, 6), vote=(13, 14, 15), control=(6, 7, 7), noise=(5, 6, 6), oracle=(15, 15, 15)))
    assert "vote solves up to 14.0 (11.5-16.5) letters; its base model 6.0 (6.0-6.0)" in text
    assert "2.33 times as many (2.17 to 2.50 over seeds), at least twice with every seed" in text
    assert "above all controls, outside of their intervals: control 6.7 (5.2-8.1), noise 5.7 (4.2-7.1)" in text
    assert "With right answers (oracle) it would be 15.0 (15.0-15.0) letters." in text


def test_a_negative_verdict_says_so() -> None:
    text = verdict(
        result(base=(4, 4, 5), vote=(5, 6, 5), control=(1, 1, 1), unfiltered=(5, 5, 5), task="reverse_addition")
    )
    assert "not twice with every seed" in text and "digits" in text
    assert "not above all controls" in text and text.endswith("it does not stand out from unfiltered.")
    assert "oracle" not in text


def test_the_arm_that_knows_the_answers_is_no_control() -> None:
    text = verdict(result(base=(6, 6), vote=(13, 13), oracle=(13, 13), control=(6, 6)))
    assert "above all controls, outside of their intervals: control 6.0 (6.0-6.0)." in text


def test_one_seed_has_no_interval() -> None:
    text = verdict(result(base=(6,), vote=(13,), control=(6,)))
    assert "vote solves up to 13 letters; its base model 6: 2.2 times as many" in text
    assert "Beside it: control 6; one seed has no interval." in text


def test_other_results_have_a_sentence_too() -> None:
    assert verdict(result(base=(6,), control=(6,))).startswith("No arm did without right answers")
    assert "no control arm" in verdict(result(base=(6, 6), vote=(13, 13)))
    text = verdict(result(base=(0, 6), vote=(13, 13), control=(1, 6), task="last"))
    assert "a base model that solves nothing has no ratio" in text
    assert "steps of difficulty" in text
