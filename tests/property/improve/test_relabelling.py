"""A task stays the same under relabelling, which is what the vote rests on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tilth.improve.task import END, Reverse
from tilth.improve.verify import vote

TASK = Reverse()


@given(difficulty=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_relabelled_answers_answer_relabelled_prompts(difficulty: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    relabelling, prompts = TASK.relabelling(rng), TASK.prompts(difficulty, 8, rng)
    assert relabelling[END] == END
    assert sorted(relabelling) == list(range(TASK.vocab_size))
    assert np.array_equal(relabelling[TASK.answers(prompts)], TASK.answers(relabelling[prompts]))


@given(views=st.integers(1, 6), seed=st.integers(0, 1000))
def test_unanimous_answers_win_whatever_the_views(views: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompts = TASK.prompts(4, 10, rng)
    accepted, answers = vote(TASK.answers, prompts, TASK, views, views, rng)
    assert accepted.tolist() == list(range(10))
    assert np.array_equal(answers, TASK.answers(prompts))
