"""What labellers accept, with answers whose mistakes are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from tilth.improve import Reverse
from tilth.improve.answering import share_right
from tilth.improve.family import Identity, SymbolPermutation, Unlabelled, without_answers
from tilth.improve.pseudo_labels import Answer, label_by_vote, label_everything, label_verified, majority
from tilth.types import Problem, Rollout
from unit.improve.families import Addition, Swap, right, rollout

FAMILY = Reverse()
SOURCE = Unlabelled(FAMILY)
ROTATED = SymbolPermutation(FAMILY.letters, FAMILY.letters[1:] + "a")
PERMUTATIONS = [
    Identity(),
    ROTATED,
    SymbolPermutation(FAMILY.letters, FAMILY.letters[::-1]),
    SymbolPermutation(FAMILY.letters, FAMILY.letters[13:] + FAMILY.letters[:13]),
]


def problems(n: int, difficulty: int = 5) -> list[Problem]:
    return SOURCE.propose(difficulty, n, np.random.default_rng(0))


def changed(text: Callable[[Problem], str]) -> Answer:
    return lambda asked, difficulty: [rollout(problem, text(problem)) for problem in asked]


def starts_with_a(problem: Problem) -> str:
    return "a" + problem.prompt[-3::-1]


def test_everything_accepts_what_ends_and_is_an_answer() -> None:
    given = problems(4)
    rollouts = [
        rollout(given[0], "ab"),
        rollout(given[1], "ab", ended=False),
        rollout(given[2], ""),
        rollout(given[3], "a=b"),
    ]
    labels = label_everything(SOURCE)(lambda asked, difficulty: rollouts, given, 5)
    assert [label.rollout for label in labels] == rollouts[:1]
    assert labels[0].problem == given[0]


def test_verified_accepts_what_is_right() -> None:
    given = FAMILY.propose(4, 10, np.random.default_rng(0))
    given[3] = replace(given[3], prompt="bcda=")
    right_ones = [problem.prompt[-2::-1] for problem in given if problem.prompt[-2] == "a"]
    labels = label_verified(FAMILY)(changed(starts_with_a), given, 4)
    assert [label.rollout.text for label in labels] == right_ones
    assert "adcb" in right_ones and len(right_ones) < 10
    assert all(label.problem.answer is None and label.rollout.reward == 1.0 for label in labels)


def test_a_cut_answer_is_never_right() -> None:
    given = problems(1)

    def cut(asked: Sequence[Problem], difficulty: int) -> list[Rollout]:
        return [rollout(p, p.prompt[-2::-1], ended=False) for p in asked]

    assert label_verified(FAMILY)(cut, given, 5) == []
    assert label_by_vote(SOURCE, lambda: PERMUTATIONS, 3)(cut, given, 5) == []


def test_the_vote_inverts_the_permutations() -> None:
    given = problems(30)
    labels = label_by_vote(SOURCE, lambda: PERMUTATIONS, 4)(right, given, 5)
    assert [label.problem for label in labels] == given
    assert share_right(FAMILY, given, [label.rollout for label in labels]) == 1.0
    assert {label.rollout.reward for label in labels} == {1.0}


def test_the_vote_rejects_mistakes_that_follow_the_letters() -> None:
    # Each permutation maps `a` to another letter, so one mistake gives four different answers.
    given = [problem for problem in problems(200) if problem.prompt[-2] != "a"]
    labels = label_by_vote(SOURCE, lambda: PERMUTATIONS, 3)(changed(starts_with_a), given, 5)
    assert labels == []


@pytest.mark.parametrize(("wrong", "accepted"), [(0, 4), (1, 3), (2, None)])
def test_a_vote_less_is_counted(wrong: int, accepted: int | None) -> None:
    problem = problems(1)[0]
    rollouts = [
        rollout(problem, permutation.apply(problem.prompt[-2::-1]) if index >= wrong else "abcde")
        for index, permutation in enumerate(PERMUTATIONS)
    ]
    winner = majority(SOURCE, PERMUTATIONS, rollouts, 3)
    assert winner == (None if accepted is None else (problem.prompt[-2::-1], accepted))


def test_where_the_problem_itself_was_answered_wrong_the_majority_is_learned() -> None:
    given = problems(1)
    asked: list[Problem] = []

    def answer(problems: Sequence[Problem], difficulty: int) -> list[Rollout]:
        asked.extend(problems)
        return [rollout(p, p.prompt[-2::-1] if index else "zzz") for index, p in enumerate(problems)]

    (label,) = label_by_vote(SOURCE, lambda: PERMUTATIONS, 3)(answer, given, 5)
    wanted = given[0].prompt[-2::-1]
    assert label.rollout.text == wanted
    assert label.rollout.tokens == (*FAMILY.tokenizer.encode_ordinary(wanted), 0)
    assert label.rollout.reward == 0.75 and label.rollout.logprobs == ()
    assert [p.prompt for p in asked] == [permutation.apply(given[0].prompt) for permutation in PERMUTATIONS]
    assert [p.answer for p in asked] == [None] * 4


def test_votes_over_another_family() -> None:
    family = Addition()
    given = without_answers(family.propose(2, 20, np.random.default_rng(0)))

    def gives(value: Callable[[int, int], int]) -> Answer:
        def answer(problems: Sequence[Problem], difficulty: int) -> list[Rollout]:
            numbers = [(int(p.prompt[:2]), int(p.prompt[3:5])) for p in problems]
            pairs = zip(problems, numbers, strict=True)
            return [Rollout(problem_id=p.id, text=str(value(*n)), tokens=()) for p, n in pairs]

        return answer

    label = label_by_vote(family, lambda: [Identity(), Swap()], 2)
    labels = label(gives(lambda left, right: left + right), given, 2)
    assert len(labels) == 20
    assert all(family.verify(found.problem, found.rollout.text) for found in labels)
    # Right in one order of the numbers, wrong in the other.
    assert len(label(gives(lambda left, right: left + right * (left >= right)), given, 2)) < 5
