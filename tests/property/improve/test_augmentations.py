"""Reversing stays the same under symbol permutations, which is what the vote rests on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tilth.improve.family import Identity, Reverse, without_answers
from tilth.improve.pseudo_labels import label_by_vote
from unit.improve.families import right

FAMILY = Reverse()


@given(difficulty=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_inverted_answers_answer_the_original(difficulty: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (permutation,) = FAMILY.augmentations(1, rng)
    assert sorted(permutation.apply(FAMILY.letters)) == list(FAMILY.letters)
    assert permutation.apply("=") == "="
    for problem in FAMILY.propose(difficulty, 8, rng):
        changed = permutation.apply(problem.prompt)
        assert permutation.invert(changed[-2::-1]) == problem.answer


@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_unanimous_answers_win_whatever_the_augmentations(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problems = without_answers(FAMILY.propose(4, 10, rng))
    augmentations = [Identity(), *FAMILY.augmentations(n - 1, rng)]
    labels = label_by_vote(FAMILY, lambda: augmentations, n)(right, problems, 4)
    assert [label.problem for label in labels] == problems
    assert all(FAMILY.verify(label.problem, label.rollout.text) for label in labels)
