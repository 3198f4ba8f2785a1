"""Countdown in postfix notation, against evaluating the same expression in the usual one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tilth.errors import ConfigError, DataError
from tilth.improve.countdown import OPERATORS, Countdown, WordAlphabet, evaluate
from tilth.types import Problem

FAMILY = Countdown(highest=12, highest_target=50)


def problem(prompt: str) -> Problem:
    return Problem.make(prompt, verifier=FAMILY.name)


def value(text: str) -> float | None:
    stack: list[float] = []
    for word in text.split():
        if word not in OPERATORS:
            stack.append(float(word))
            continue
        b, a = stack.pop(), stack.pop()
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else float("nan")}[word]
        if result != int(result) or result <= 0:
            return None
        stack.append(result)
    return stack[0]


def test_proposed_problems_come_with_right_answers() -> None:
    for difficulty in (1, 2, 3):
        for one in FAMILY.propose(difficulty, 50, np.random.default_rng(0)):
            assert one.answer is not None and FAMILY.verify(one, one.answer)
            assert value(one.answer) == int(one.prompt.split(" = ")[1])
            tokens = FAMILY.tokenizer.encode_ordinary(one.answer)
            assert len(tokens) + 1 == FAMILY.answer_tokens(difficulty)
            assert FAMILY.tokenizer.decode(tokens) == one.answer
            again = FAMILY.read_prompt(one.prompt)
            assert again is not None and (again.id, again.difficulty) == (one.id, difficulty)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("12 3 * 7 +", True),
        ("7 12 3 * +", True),
        ("12 3 * 7 + 1 +", False),
        ("12 3 *", False),
        ("12 3 * 7", False),
        ("12 3 + 7 +", False),
        ("12 12 * 3 +", False),
        ("* 12 3 7 +", False),
        ("43", False),
        ("12 3 * seven +", False),
    ],
)
def test_what_is_right(answer: str, right: bool) -> None:
    assert FAMILY.verify(problem("3 7 12 = 43"), answer) == right


def test_divisions_are_exact_and_differences_positive() -> None:
    assert evaluate(["7", "3", "/"], [3, 7]) is None and evaluate(["6", "3", "/"], [3, 6]) == [2]
    assert evaluate(["3", "7", "-"], [3, 7]) is None and evaluate(["3", "3", "-"], [3, 3]) is None


def test_solutions_are_all_there_are() -> None:
    one = problem("2 3 4 = 10")
    tried: set[str] = set()
    for words in itertools.product(("2", "3", "4", *OPERATORS), repeat=5):
        text = " ".join(words)
        if sorted(word for word in words if word not in OPERATORS) != ["2", "3", "4"]:
            continue
        try:
            if value(text) == 10:
                tried.add(text)
        except IndexError:
            pass
    found = FAMILY.solutions(one)
    assert set(found) == tried and len(found) == len(tried) > 3


def test_the_checker_rules_out_only_what_cannot_be_an_answer() -> None:
    checker = FAMILY.checker(problem("2 3 4 = 10"))
    for solution in FAMILY.solutions(problem("2 3 4 = 10")):
        words = solution.split()
        assert all(checker.possible(" ".join(words[:n])) for n in range(len(words) + 1))
    assert not any(checker.possible(text) for text in ("+", "5", "2 2", "2 3 -", "2 4 /", "="))
    # The target is not asked for: a legal beginning stays, even if it leads nowhere.
    assert checker.possible("4 3 * 2 *")


@pytest.mark.parametrize(
    "text", ["", "3 7 = ", "7 3 = 10", "3 7 = 99", "3 = 3", "3 13 = 16", "3 7 = 10 ", "3  7 = 10", "a b = c"]
)
def test_prompts_of_another_form_are_no_problems(text: str) -> None:
    assert FAMILY.read_prompt(text) is None


def test_wrong_words_and_settings_are_told() -> None:
    with pytest.raises(DataError, match="'x'"):
        WordAlphabet(("a", "b")).encode_ordinary("a x")
    with pytest.raises(ConfigError, match="targets"):
        Countdown(highest=20, highest_target=10)
    with pytest.raises(DataError, match="no prompt"):
        FAMILY.checker(problem("hello"))
