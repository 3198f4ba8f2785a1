"""The family of sorting letters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilth.improve.family import family_named
from tilth.improve.loop import task_family
from tilth.improve.sorting import LETTERS, SortLetters
from tilth.tokenizer import Tokenizer

FAMILY = SortLetters()


@given(st.integers(1, 26), st.integers(0, 2**32))
def test_proposed_answers_are_right_and_of_different_letters(difficulty: int, seed: int) -> None:
    for problem in FAMILY.propose(difficulty, 3, np.random.default_rng(seed)):
        answer = problem.answer or ""
        letters = answer.split()
        assert letters == sorted(letters)
        assert len(set(letters)) == difficulty
        assert FAMILY.parse(answer) == answer
        assert FAMILY.verify(problem, answer)
        assert len(FAMILY.tokenizer.encode_ordinary(answer)) + 1 <= FAMILY.answer_tokens(difficulty)


@given(st.integers(2, 26), st.integers(0, 2**32))
def test_a_shuffled_problem_has_the_same_answer(difficulty: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = FAMILY.propose(difficulty, 1, rng)[0]
    for shuffle in FAMILY.augmentations(3, rng):
        changed = shuffle.apply(problem.prompt)
        assert sorted(changed) == sorted(problem.prompt)
        assert changed.startswith("sort: ")
        assert changed.endswith(" =")
        assert shuffle.invert(problem.answer or "") == problem.answer


def test_shuffles_do_change_the_order() -> None:
    rng = np.random.default_rng(0)
    problem = FAMILY.propose(10, 1, rng)[0]
    assert len({shuffle.apply(problem.prompt) for shuffle in FAMILY.augmentations(5, rng)}) == 5


@pytest.mark.parametrize("answer", [" a c b", " a b", " a b c c", " a b c d", "a b c", ""])
def test_wrong_answers_are_refused(answer: str) -> None:
    problem = next(p for p in FAMILY.propose(3, 20_000, np.random.default_rng(0)) if p.answer == " a b c")
    assert not FAMILY.verify(problem, answer)


@pytest.mark.parametrize("text", ["", "abc", " a b=", " a  b", " A b", "\n a"])
def test_what_is_no_answer_is_not_parsed(text: str) -> None:
    assert FAMILY.parse(text) is None


def test_it_is_one_of_the_loops_families_with_a_tokenizer_of_text() -> None:
    tokenizer = Tokenizer.train([f"sort: {' '.join(LETTERS)} = text of any kind"] * 3, vocab_size=300)
    family = task_family("sort", tokenizer)
    assert isinstance(family, SortLetters)
    assert family.tokenizer is tokenizer
    problem = family.propose(5, 1, np.random.default_rng(0))[0]
    assert tokenizer.decode(tokenizer.encode_ordinary(problem.answer or "")) == problem.answer
    assert len(tokenizer.encode_ordinary(problem.answer or "")) + 1 <= family.answer_tokens(5)
    assert family_named("sort").name == "sort"


def test_there_are_as_many_problems_as_orders_of_letters() -> None:
    assert FAMILY.n_problems(1) == 26
    assert FAMILY.n_problems(3) == 26 * 25 * 24
