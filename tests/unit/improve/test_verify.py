"""What verifiers accept, with answerers whose mistakes are known."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.errors import ConfigError
from tilth.improve.config import LoopConfig
from tilth.improve.task import END, Ints, Reverse
from tilth.improve.verify import everything, exact, is_right, verifier, vote

TASK = Reverse()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def right(prompts: Ints) -> Ints:
    """Answers as a model would: room behind the answer, filled with END."""
    return np.pad(TASK.answers(prompts), ((0, 0), (0, 2)), constant_values=END)


def wrong(prompts: Ints) -> Ints:
    """Answers with the first letter always `a`."""
    answers = right(prompts)
    answers[:, 0] = 1
    return answers


def test_everything_accepts_what_ends() -> None:
    answers = np.array([[1, 2, END], [1, 2, 3], [END, END, END]])
    accepted, kept = everything(lambda _: answers, np.zeros((3, 2), dtype=np.int64))
    assert accepted.tolist() == [0, 2]
    assert kept.tolist() == [[1, 2, END], [END, END, END]]


def test_exact_accepts_what_is_right() -> None:
    prompts = TASK.prompts(4, 10, rng())
    prompts[:, -2] = np.arange(1, 11)
    accepted, answers = exact(wrong, prompts, TASK)
    assert accepted.tolist() == [0]
    assert np.array_equal(answers[:, :5], TASK.answers(prompts[:1]))


def test_right_means_the_whole_answer() -> None:
    prompts = TASK.prompts(3, 1, rng())
    longer = np.pad(TASK.answers(prompts)[:, :3], ((0, 0), (0, 3)), constant_values=4)
    assert is_right(right(prompts), prompts, TASK).all()
    assert not is_right(longer, prompts, TASK).any()
    assert not is_right(right(prompts)[:, :2], prompts, TASK).any()


def test_vote_translates_back() -> None:
    prompts = TASK.prompts(5, 30, rng())
    accepted, answers = vote(right, prompts, TASK, 4, 3, rng())
    assert accepted.tolist() == list(range(30))
    assert is_right(answers, prompts, TASK).all()


def test_vote_rejects_mistakes_that_follow_the_letters() -> None:
    # `a` stands for another letter in every view, so the same mistake is a different answer in each.
    prompts = TASK.prompts(5, 200, rng())
    accepted, answers = vote(wrong, prompts, TASK, 4, 3, rng())
    assert len(accepted) < 10
    assert is_right(answers, prompts[accepted], TASK).all()


@pytest.mark.parametrize(("mistaken_views", "accepted"), [(1, 20), (2, 0)])
def test_vote_needs_enough_views(mistaken_views: int, accepted: int) -> None:
    prompts = TASK.prompts(5, 20, rng())

    def answer(asked: Ints) -> Ints:
        # The first view is the problem itself, so a mistaken first view is outvoted too.
        answers = right(asked)
        answers[: 20 * mistaken_views, :5] = np.roll(answers[: 20 * mistaken_views, :5], 1, axis=1)
        for view in range(mistaken_views):
            answers[20 * view : 20 * (view + 1), 0] = asked[20 * view : 20 * (view + 1), view]
        return answers

    places, answers = vote(answer, prompts, TASK, 4, 3, rng())
    assert len(places) == accepted
    assert is_right(answers, prompts[places], TASK).all()


def test_vote_does_not_count_answers_without_an_end() -> None:
    prompts = TASK.prompts(3, 5, rng())
    accepted, _ = vote(lambda asked: TASK.answers(asked)[:, :3], prompts, TASK, 4, 3, rng())
    assert len(accepted) == 0


def test_only_learning_arms_have_a_verifier() -> None:
    with pytest.raises(ConfigError, match="control"):
        verifier("control", TASK, LoopConfig(), rng())
