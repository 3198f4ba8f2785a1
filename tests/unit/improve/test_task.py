"""Reversing strings as a task: right answers, and prompts that are kept for measuring."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.improve.task import END, Reverse, fixed_prompts, fresh_prompts

TASK = Reverse()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("difficulty", [1, 2, 9])
def test_answers_are_the_strings_backwards(difficulty: int) -> None:
    prompts = TASK.prompts(difficulty, 20, rng())
    answers = TASK.answers(prompts)
    assert answers.shape == (20, TASK.answer_length(difficulty))
    assert (answers[:, -1] == END).all()
    for prompt, answer in zip(prompts, answers, strict=True):
        assert TASK.show(prompt) == TASK.show(answer)[::-1] + "="


def test_show_stops_at_the_end() -> None:
    assert TASK.show(np.array([1, 2, 26, END, 5, 5])) == "abz"
    assert TASK.show(np.array([TASK.equals, 3])) == "=c"


def test_fixed_prompts_are_different_and_leave_enough_to_train_on() -> None:
    for difficulty, expected in ((1, 6), (2, 169), (3, 200), (12, 200)):
        prompts = fixed_prompts(TASK, difficulty, 200, rng())
        assert prompts.shape == (expected, difficulty + 1)
        assert len(np.unique(prompts, axis=0)) == expected


def test_fixed_prompts_follow_from_the_seed() -> None:
    assert np.array_equal(fixed_prompts(TASK, 4, 50, rng()), fixed_prompts(TASK, 4, 50, rng()))


def test_fresh_prompts_are_never_measured_on() -> None:
    held_out = fixed_prompts(TASK, 1, 200, rng())
    fresh = fresh_prompts(TASK, 1, 500, rng(), held_out)
    assert set(fresh[:, 0].tolist()) == set(range(1, 27)) - set(held_out[:, 0].tolist())
