"""Countdown: reach a target with given numbers, each at most once; found by search, verified exactly."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.verify.arithmetic import Expression, ExpressionError, parse_expression, shown, sides
from tilth.synthesis.verify.family_base import Family
from tilth.synthesis.verify.verdict import Verdict, failed, passed
from tilth.types import Problem

MAX_TARGET = 999
_PROMPT = re.compile(r"the numbers (?P<numbers>\d+(?:, \d+)*) .* make (?P<target>\d+)\.", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Countdown:
    """The answer is an expression with `+ - * /` that has the target's value and uses given numbers at most once."""

    numbers: tuple[int, ...] = ()
    """Empty: numbers and target are read from the prompt, as `CountdownFamily` writes it."""
    target: int | None = None
    use_all: bool = False
    """Every number must be used."""

    def __post_init__(self) -> None:
        if bool(self.numbers) != (self.target is not None):
            raise ConfigError("Countdown has numbers or a target, not both.", fix="Give both, or neither.")

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Evaluates the answer; of `3 * 8 = 24` either side may be the expression."""
        task = (self.numbers, self.target) if self.target is not None else _task(problem.prompt)
        if task is None:
            return failed("the prompt names no numbers and target")
        verdicts = [self._judge(side, task[0], task[1]) for side in sides(answer)]
        return next((verdict for verdict in verdicts if verdict.passed), verdicts[0])

    def _judge(self, text: str, numbers: Sequence[int], target: int) -> Verdict:
        try:
            expression = parse_expression(text)
            fault = self._misuse(expression, numbers)
            value = expression.value
        except ExpressionError as error:
            return failed(str(error))
        if fault:
            return failed(fault)
        return passed("reaches the target") if value == target else failed(f"makes {shown(value)}, not {target}")

    def _misuse(self, expression: Expression, numbers: Sequence[int]) -> str:
        foreign = set(expression.operators) - {"+", "-", "*", "/"}
        if foreign:
            return f"uses {min(foreign)}"
        used, given = Counter(expression.numbers), Counter(map(Fraction, numbers))
        over = used - given
        if over:
            number = next(iter(over))
            return f"uses {shown(number)} too often" if given[number] else f"uses {shown(number)}, which is not given"
        return "does not use all numbers" if self.use_all and used != given else ""


class CountdownFamily(Family):
    """Countdown with one number more than the difficulty, up to 10 + 5 x difficulty; solvable by construction."""

    name = "countdown"

    def n_problems(self, difficulty: int) -> int:
        """How many sets of numbers there are; most have several targets."""
        return math.comb(_highest(difficulty) + difficulty, difficulty + 1)

    def answer_tokens(self, difficulty: int) -> int:
        """Every number, operators and brackets between them."""
        return (difficulty + 1) * (len(str(_highest(difficulty))) + 3) + 2 * difficulty + 1

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Combines random numbers by random operations until the result is a whole number within range."""
        while True:
            numbers = sorted(rng.integers(1, _highest(difficulty) + 1, difficulty + 1).tolist())
            target, solution = _combine(numbers, rng)
            if 0 < target <= MAX_TARGET and target not in numbers:
                break
        prompt = (
            f"Use each of the numbers {', '.join(map(str, numbers))} at most once, with + - * / and brackets, "
            f"to make {target}. Answer with one expression."
        )
        return Problem.make(prompt, answer=solution, verifier=self.name, difficulty=difficulty)

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Evaluates the answer."""
        return Countdown().verify(problem, answer)


def _task(prompt: str) -> tuple[tuple[int, ...], int] | None:
    found = _PROMPT.search(prompt[:2_000])
    if found is None:
        return None
    return tuple(int(number) for number in found["numbers"].split(", ")), int(found["target"])


def _highest(difficulty: int) -> int:
    return 10 + 5 * difficulty


def _combine(numbers: Sequence[int], rng: np.random.Generator) -> tuple[int, str]:
    """Returns a value that the numbers reach, and the expression; every step is a positive whole number."""
    parts = [(number, str(number)) for number in numbers]
    while len(parts) > 1:
        picked = rng.choice(len(parts), 2, replace=False).tolist()
        (a, left), (b, right) = sorted((parts[index] for index in picked), reverse=True)
        parts = [part for index, part in enumerate(parts) if index not in picked]
        choices = [(a + b, "+"), (a * b, "*")]
        if a > b:
            choices.append((a - b, "-"))
        if a % b == 0 and b > 1:
            choices.append((a // b, "/"))
        value, sign = choices[int(rng.integers(len(choices)))]
        parts.append((value, f"({left} {sign} {right})"))
    value, text = parts[0]
    return value, text[1:-1] if text.startswith("(") else text
