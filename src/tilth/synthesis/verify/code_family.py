"""Small programming tasks with hidden tests: a chain of steps over a list of numbers, composed at random.

The specification, the reference solution and the results of the hidden tests all come from the same chain, so every
task is solvable, and there are as many tasks as chains. The results are computed here, by our own functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.verify.code_tests import Code, code_in
from tilth.synthesis.verify.family_base import Family
from tilth.synthesis.verify.verdict import Verdict, failed
from tilth.types import Problem

CASES = 8
"""Hidden tests of a task; the first list is empty."""
_NUMBERS = list[int]


@dataclass(frozen=True)
class _Step:
    say: str
    code: str
    run: Callable[[_NUMBERS, int], _NUMBERS]
    """List and parameter -> list."""
    values: tuple[int, int] = (0, 1)
    """Range of its parameter, `{k}` in texts."""


def _unique(x: _NUMBERS, k: int) -> _NUMBERS:
    return list(dict.fromkeys(x))


def _running(x: _NUMBERS, k: int) -> _NUMBERS:
    return [sum(x[: index + 1]) for index in range(len(x))]


def _above(x: _NUMBERS, k: int) -> _NUMBERS:
    return [v for v in x if v > k]


def _indivisible(x: _NUMBERS, k: int) -> _NUMBERS:
    return [v for v in x if v % k]


_STEPS = (
    _Step("multiply every number by {k}", "x = [v * {k} for v in x]", lambda x, k: [v * k for v in x], (2, 10)),
    _Step("add {k} to every number", "x = [v + {k} for v in x]", lambda x, k: [v + k for v in x], (1, 20)),
    _Step("keep only the numbers above {k}", "x = [v for v in x if v > {k}]", _above, (-5, 10)),
    _Step("drop the numbers divisible by {k}", "x = [v for v in x if v % {k}]", _indivisible, (2, 6)),
    _Step("take every number modulo {k}", "x = [v % {k} for v in x]", lambda x, k: [v % k for v in x], (3, 12)),
    _Step("reverse the list", "x = x[::-1]", lambda x, k: x[::-1]),
    _Step("sort the list from small to large", "x = sorted(x)", lambda x, k: sorted(x)),
    _Step("keep only the first occurrence of each number", "x = list(dict.fromkeys(x))", _unique),
    _Step("replace every number by the sum of all up to it", "x = [sum(x[:i + 1]) for i in range(len(x))]", _running),
    _Step("keep every {k}th number, beginning with the first", "x = x[::{k}]", lambda x, k: x[::k], (2, 4)),
    _Step("square every number", "x = [v * v for v in x]", lambda x, k: [v * v for v in x]),
    _Step("move the first {k} numbers to the end", "x = x[{k}:] + x[:{k}]", lambda x, k: x[k:] + x[:k], (1, 4)),
)
_ENDS: tuple[tuple[str, str, Callable[[_NUMBERS], object]], ...] = (
    ("Return the list.", "return x", lambda x: x),
    ("Return the sum of what is left.", "return sum(x)", sum),
    ("Return how many numbers are left.", "return len(x)", len),
    ("Return the largest number, None if none is left.", "return max(x, default=None)", lambda x: max(x, default=None)),
)


class CodeFamily(Family):
    """Write a function that applies as many steps as the difficulty to a list of numbers."""

    name = "code_tasks"

    def n_problems(self, difficulty: int) -> int:
        """A lower bound: chains whatever their parameters are."""
        return len(_STEPS) ** difficulty * len(_ENDS)

    def answer_tokens(self, difficulty: int) -> int:
        """A line for each step, with room to spare."""
        return 150 + 120 * difficulty

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws steps, their parameters and the lists of the hidden tests."""
        chain = [(_STEPS[index], 0) for index in rng.integers(0, len(_STEPS), difficulty).tolist()]
        chain = [(step, int(rng.integers(*step.values))) for step, _ in chain]
        say, code, end = _ENDS[int(rng.integers(len(_ENDS)))]
        said = [f"{number}. {step.say.format(k=k)}" for number, (step, k) in enumerate(chain, 1)]
        prompt = "\n".join(
            [
                "Write a Python function `solve(x)` that takes a list of whole numbers and does this, in order:",
                *said,
                say,
            ]
        )
        solution = "\n    ".join(["def solve(x):", *(step.code.format(k=k) for step, k in chain), code])
        inputs = [_NUMBERS(), *(rng.integers(-10, 30, int(rng.integers(1, 12))).tolist() for _ in range(CASES - 1))]
        cases = [{"args": [numbers], "result": end(_applied(chain, numbers))} for numbers in inputs]
        options = json.dumps({"function": "solve", "cases": cases}, sort_keys=True)
        return Problem.make(prompt, answer=solution, verifier=f"{self.name}:{options}", difficulty=difficulty)

    def parse(self, text: str) -> str | None:
        """Returns the last block of code, or all of the text."""
        return code_in(text)

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Runs the hidden tests of the problem's verifier in the sandbox."""
        from tilth.synthesis.verify.registry import verifier

        head, _, options = problem.verifier.partition(":")
        try:
            checker = verifier(f"code:{options}", allow_files=False)
        except ConfigError:
            checker = None
        if head != self.name or not isinstance(checker, Code):
            return failed(f"the problem is none of the family {self.name}")
        return checker.verify(problem, answer)


def _applied(chain: Sequence[tuple[_Step, int]], numbers: _NUMBERS) -> _NUMBERS:
    for step, k in chain:
        numbers = step.run(numbers, k)
    return numbers
