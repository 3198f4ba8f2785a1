"""Families of arithmetic: bare expressions, and word problems from templates."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from tilth.synthesis.verify.arithmetic import Arithmetic, ExpressionError, evaluate
from tilth.synthesis.verify.family_base import Family, Template, TemplateFamily, Values
from tilth.synthesis.verify.number import Number, read_number
from tilth.synthesis.verify.verdict import Verdict, failed
from tilth.types import Problem


class MultiDigitArithmetic(Family):
    """Numbers of as many digits as the difficulty, joined by +, - or *: `17 + 25 =` is answered by `42`.

    From difficulty 3 on three numbers, from 5 on with brackets.
    """

    name = "multi_digit_arithmetic"

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: pairs of numbers and their operator."""
        return 3 * (9 * 10 ** (difficulty - 1)) ** 2

    def answer_tokens(self, difficulty: int) -> int:
        """A product of three numbers, its sign and its end."""
        return 3 * difficulty + 2

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws numbers digit by digit, so that no size is too large."""
        numbers = [_digits(rng, difficulty) for _ in range(2 if difficulty < 3 else 3)]
        signs = ["+-*"[index] for index in rng.integers(0, 3, len(numbers) - 1).tolist()]
        text = f"{numbers[0]} {signs[0]} {numbers[1]}"
        if len(numbers) == 3:
            if difficulty >= 5 and rng.integers(2):
                text = f"({text})"
            text = f"{text} {signs[1]} {numbers[2]}"
        return Problem.make(f"{text} =", answer=str(evaluate(text)), verifier=self.name, difficulty=difficulty)

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Evaluates the prompt, and takes a number for an answer, not the expression again."""
        try:
            value = evaluate(problem.prompt.removesuffix("="))
        except ExpressionError as error:
            return failed(f"the prompt cannot be evaluated: {error}")
        reference = Problem(id=problem.id, prompt=problem.prompt, answer=str(value), verifier=self.name)
        return Arithmetic(only_number=True).verify(reference, answer)


def _digits(rng: np.random.Generator, n: int) -> str:
    digits = rng.integers(0, 10, n).tolist()
    return "".join(map(str, [int(rng.integers(1, 10)), *digits[1:]]))


_NAMES = ("Ana", "Ben", "Carla", "David", "Ella", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Liam")
_THINGS = ("apples", "marbles", "stamps", "books", "pencils", "shells", "cards", "buttons", "coins", "stickers")


def _values(difficulty: int, rng: np.random.Generator, *names: str) -> dict[str, object]:
    high = 10 * 4**difficulty
    found: dict[str, object] = {name: int(rng.integers(2, high)) for name in names}
    first, second = rng.choice(len(_NAMES), 2, replace=False).tolist()
    return {**found, "who": _NAMES[first], "other": _NAMES[second], "thing": _THINGS[int(rng.integers(len(_THINGS)))]}


def _of(*names: str):
    return lambda difficulty, rng: _values(difficulty, rng, *names)  # type: ignore[no-any-return]


def _gives_away(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    found = _values(difficulty, rng, "b", "c")
    return {**found, "a": int(str(found["b"])) + int(str(found["c"])) + int(rng.integers(1, 10 * 4**difficulty))}


def _shares(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    found, n = _values(difficulty, rng, "b"), int(rng.integers(2, 3 + 2 * difficulty))
    return {**found, "n": n, "a": n * int(str(found["b"]))}


def _percent(difficulty: int, rng: np.random.Generator) -> Mapping[str, object]:
    share = int(rng.choice([10, 20, 25, 40, 50, 60, 75, 80]))
    return {**_values(difficulty, rng), "p": share, "a": 20 * int(rng.integers(1, 5 * 4**difficulty))}


def _solve(expression: str):
    def solve(values: Values) -> str:
        numbers = {name: value for name, value in values.items() if value.isdecimal()}
        return str(evaluate(expression.format(**numbers)))

    return solve


class WordProblems(TemplateFamily):
    """Word problems of one to four steps; the numbers grow with the difficulty."""

    name = "word_problems"
    compare = Number()
    templates = (
        Template(
            "{who} has {a} {thing} and finds {b} more. How many {thing} does {who} have now?",
            _of("a", "b"),
            _solve("{a}+{b}"),
        ),
        Template(
            "{who} has {a} {thing}, gives {b} to {other} and loses {c}. How many {thing} are left?",
            _gives_away,
            _solve("{a}-{b}-{c}"),
        ),
        Template(
            "A box holds {a} {thing}. {who} buys {b} boxes. How many {thing} is that?", _of("a", "b"), _solve("{a}*{b}")
        ),
        Template(
            "{who} shares {a} {thing} equally among {n} friends. How many does each friend get?",
            _shares,
            _solve("{a}/{n}"),
        ),
        Template(
            "A shop has {a} {thing}. It sells {p}% of them. How many {thing} does it sell?",
            _percent,
            _solve("{a}*{p}/100"),
            2,
        ),
        Template(
            "{who} has {a} {thing}. {other} has twice as many and {b} more. How many {thing} do they have together?",
            _of("a", "b"),
            _solve("{a}+2*{a}+{b}"),
            2,
        ),
        Template(
            "{who} packs {a} boxes of {b} {thing} and {c} bags of {d} {thing}. How many {thing} is that in all?",
            _of("a", "b", "c", "d"),
            _solve("{a}*{b}+{c}*{d}"),
            3,
        ),
        Template(
            "A train goes {a} kilometres on each of {b} days, then {c} kilometres on each of {d} days, "
            "and {e} kilometres on the last day. How many kilometres does it go?",
            _of("a", "b", "c", "d", "e"),
            _solve("{a}*{b}+{c}*{d}+{e}"),
            4,
        ),
    )

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: the first template's."""
        return len(_NAMES) * len(_THINGS) * (10 * 4**difficulty - 2) ** 2

    def answer_tokens(self, difficulty: int) -> int:
        """Two products, each of two numbers."""
        return 2 * len(str(10 * 4**difficulty)) + 2

    def parse(self, text: str) -> str | None:
        """Returns the number that a text answers with."""
        found = read_number(text)
        if found is None:
            return None
        value: Fraction = found.value
        return f"{value}%" if found.percent else str(value)
