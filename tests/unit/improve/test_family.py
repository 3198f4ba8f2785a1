"""Families of problems: right answers, parsing, and validation and test problems that nothing else may see."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.improve import AlphabetTokenizer, Copy, Reverse, ReverseAddition
from tilth.improve.family import (
    FAMILIES,
    Split,
    Unlabelled,
    distinct,
    family_named,
    propose_other_than,
    split_problems,
)
from tilth.synthesis.verify.family_base import PRINTABLE
from tilth.tokenizer import Tokenizer
from tilth.types import Problem
from unit.improve.families import Addition

FAMILY = Reverse()


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def split(difficulties: range, n: int = 20) -> Split:
    return split_problems(
        FAMILY,
        difficulties,
        n_test=n,
        n_validation=n,
        validate_beyond=0,
        rngs=(np.random.default_rng([0, difficulty]) for difficulty in difficulties),
    )


@pytest.mark.parametrize("difficulty", [1, 2, 9])
def test_answers_are_the_strings_backwards(difficulty: int) -> None:
    problems = FAMILY.propose(difficulty, 20, rng())
    assert len(problems) == 20
    for problem in problems:
        assert problem.answer is not None
        assert len(problem.answer) == difficulty
        assert problem.prompt == problem.answer[::-1] + "="
        assert FAMILY.verify(problem, problem.answer)
        assert not FAMILY.verify(problem, problem.answer + "a")


def test_letters_are_uniform() -> None:
    text = "".join(problem.prompt[:-1] for problem in FAMILY.propose(13, 2000, rng()))
    counts = np.array([text.count(letter) for letter in FAMILY.letters])
    assert set(text) == set(FAMILY.letters)
    np.testing.assert_allclose(counts / len(text), 1 / 26, rtol=0.15)


def test_what_is_no_answer_is_not_parsed() -> None:
    assert FAMILY.parse("cba") == "cba"
    assert FAMILY.parse("") is None
    assert FAMILY.parse("cb=a") is None
    assert FAMILY.parse("c b a") is None
    assert ReverseAddition().parse("240") == "240"
    assert ReverseAddition().parse("24+0") is None


def test_families_have_a_form_of_text_for_tokenizers_of_words() -> None:
    tokenizer = PRINTABLE
    (problem,) = Copy(tokenizer).propose(2, 1, rng())
    assert problem.prompt == f"copy:{problem.answer} ="
    reverse = Reverse(tokenizer)
    asked = Problem.make("reverse: a b c =", verifier=reverse.name)
    assert reverse.verify(asked, " c b a")
    assert not reverse.verify(asked, "cba")
    assert reverse.parse(" c b a") == " c b a"
    assert reverse.parse("cba") is reverse.parse(" c  b") is None
    assert ReverseAddition(tokenizer).verify(Problem.make("add: 7 1 + 5 2 =", verifier="add"), " 2 4 0")


def test_letters_stay_single_tokens_whatever_their_neighbours_are() -> None:
    text = ["reverse: the other and another = " * 50, *(f"x {a} {b} =" for a in "abco" for b in "abco")]
    tokenizer = Tokenizer.train(text, vocab_size=400)
    family = Reverse(tokenizer)
    letters = {letter: tuple(tokenizer.encode_ordinary(f" {letter}")) for letter in "abco"}
    assert all(len(ids) == 1 for ids in letters.values())
    ids = tokenizer.encode_ordinary(family.form.answer("cabcoobac"))
    assert ids == [token for letter in "cabcoobac" for token in letters[letter]]


def test_families_are_known_by_name() -> None:
    assert {name: family_named(name).name for name in FAMILIES} == {name: name for name in FAMILIES}
    assert family_named("copy", PRINTABLE).name == "copy_text"
    assert isinstance(family_named("copy"), Copy)
    with pytest.raises(ConfigError, match="no family `sorted`"):
        family_named("sorted")


def test_equal_prompts_are_one_problem() -> None:
    first, again = FAMILY.propose(5, 1, rng())[0], FAMILY.propose(5, 1, rng())[0]
    assert first.id == again.id
    assert first.id != FAMILY.propose(5, 2, rng())[1].id


def test_the_tokenizer_names_what_it_does_not_know() -> None:
    tokenizer = AlphabetTokenizer("abc=")
    assert tokenizer.encode_ordinary("cab=") == [3, 1, 2, 4]
    assert tokenizer.decode([3, 1, 2, 4, 0]) == "cab="
    with pytest.raises(DataError, match="'x'"):
        tokenizer.encode_ordinary("axe")


def test_an_unlabelled_family_gives_no_answer_and_verifies_nothing() -> None:
    unlabelled = Unlabelled(FAMILY)
    problems = unlabelled.propose(4, 10, rng())
    assert [problem.answer for problem in problems] == [None] * 10
    assert [problem.prompt for problem in problems] == [problem.prompt for problem in FAMILY.propose(4, 10, rng())]
    assert not hasattr(unlabelled, "verify")


def test_validation_and_test_problems_are_disjoint_and_different() -> None:
    measured = split(range(1, 5))
    for difficulty in range(1, 5):
        validation = {problem.prompt for problem in measured.validation[difficulty]}
        test = {problem.prompt for problem in measured.test[difficulty]}
        expected = 6 if difficulty == 1 else 20  # a quarter of 26 letters each
        assert len(validation) == len(measured.validation[difficulty]) == expected
        assert len(test) == len(measured.test[difficulty]) == expected
        assert not validation & test
        assert validation | test <= measured.excluded


def test_the_split_follows_from_the_seed() -> None:
    assert split(range(1, 4)) == split(range(1, 4))


def test_what_is_drawn_to_train_on_is_never_measured_on() -> None:
    measured = split(range(1, 2))
    drawn = propose_other_than(measured.excluded, FAMILY, 1, 500, rng())
    assert len(drawn) == 500
    assert {problem.prompt for problem in drawn} == {f"{letter}=" for letter in FAMILY.letters} - measured.excluded


def test_a_family_that_has_no_more_problems_says_so() -> None:
    everything = {f"{letter}=" for letter in FAMILY.letters}
    with pytest.raises(DataError, match="reverse gives too few different problems of difficulty 1"):
        propose_other_than(everything, FAMILY, 1, 1, rng())
    with pytest.raises(DataError, match="difficulty 1"):
        distinct(FAMILY, 1, 27, rng())


def test_another_family_proposes_parses_and_verifies() -> None:
    family = Addition()
    for problem in family.propose(2, 50, rng()):
        assert problem.answer is not None
        left, right = problem.prompt.removesuffix("=").split("+")
        assert int(problem.answer) == int(left) + int(right)
        assert family.tokenizer.decode(family.tokenizer.encode_ordinary(problem.prompt)) == problem.prompt
        parsed = family.parse(problem.answer)
        assert parsed is not None and family.verify(problem, parsed)
        assert not family.verify(problem, str(int(parsed) + 1))
    assert family.parse("1+1") is None
