"""Complete a call so that it gives an output: `3.5 <- median([2, 3` is answered by `, 4, 5])`, and by `, 4, 9])`, too.

Every completion that is a call on literals and gives the output in the sandbox is right, so there are answers that are
in no data. A call has one place where it is cut, so that no test problem is a training problem cut elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from tilth.identity import fingerprint_of
from tilth.improve.doctest_calls import MAX_EXPRESSION, Call, literal_call, outputs_of, read_calls
from tilth.synthesis.verify.family_base import PRINTABLE
from tilth.types import Problem

ARROW = " <- "
"""Between the output and the beginning of the call."""
_Run = tuple[str, str]
"""A module, and an expression over its names."""


@dataclass(frozen=True)
class CodeCompletion:
    """Calls from doctests to complete. There is one difficulty."""

    calls: tuple[Call, ...]
    name: str = "code_completion"
    _known: dict[_Run, str | None] = field(default_factory=dict[_Run, "str | None"], compare=False)
    """What was run already."""

    tokenizer = PRINTABLE

    @classmethod
    def read(cls, folder: Path) -> CodeCompletion:
        """Returns the task of the calls in a folder."""
        return cls(tuple(read_calls(folder)))

    @cached_property
    def _modules(self) -> dict[str, str]:
        return {call.function: call.module for call in reversed(self.calls)}

    @cached_property
    def _answers(self) -> dict[str, list[str]]:
        """Prompt -> the rests of the calls that are cut so."""
        found: dict[str, list[str]] = {}
        for call in self.calls:
            prompt, answer = cut(call)
            found.setdefault(prompt, []).append(answer)
        return found

    @cached_property
    def _prompts(self) -> list[str]:
        return list(self._answers)

    @property
    def fingerprint(self) -> str:
        """Of the calls: other calls are another task."""
        return fingerprint_of(self.calls)

    def n_problems(self, difficulty: int) -> int:
        """How many different prompts the calls give."""
        return len(self._prompts)

    def answer_tokens(self, difficulty: int) -> int:
        """The longest rest of a call, and the end."""
        return MAX_EXPRESSION + 1

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws prompts evenly, so that parts drawn one after the other, such as test and training problems, are alike.

        Drawn by function, the first part would use up the functions with few calls.
        """
        prompts = [self._prompts[index] for index in rng.integers(0, len(self._prompts), n).tolist()]
        return [self._problem(prompt, rng) for prompt in prompts]

    def parse(self, text: str) -> str | None:
        """Returns the text, unless it is empty."""
        return text or None

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the completed call gives the output. Raises: StepError where code cannot be isolated."""
        return self.verify_many([(problem, answer)])[0]

    def verify_many(self, answers: Sequence[tuple[Problem, str]]) -> list[bool]:
        """Runs all completed calls in the sandbox together; what was run before is remembered."""
        asked = [self._completed(problem, answer) for problem, answer in answers]
        new = list(dict.fromkeys(run for one in asked if one is not None and (run := one[0]) not in self._known))
        self._known.update(zip(new, outputs_of(new), strict=True))
        return [one is not None and self._known[one[0]] == one[1] for one in asked]

    def solutions(self, problem: Problem) -> list[str]:
        """Returns the rests of the calls that are cut at this prompt.

        A call that goes on from this prompt but is cut elsewhere is not among them: it may be a test problem there.
        """
        return list(self._answers.get(problem.prompt, ()))

    def _problem(self, prompt: str, rng: np.random.Generator) -> Problem:
        answers = self._answers[prompt]
        answer = answers[int(rng.integers(len(answers)))]
        return Problem.make(prompt, answer=answer, verifier=self.name, difficulty=1)

    def _completed(self, problem: Problem, answer: str) -> tuple[_Run, str] | None:
        """Returns what is to be run, `(module, expression)`, and the output that is wanted."""
        output, arrow, begun = problem.prompt.rpartition(ARROW)
        text = begun + answer
        call = literal_call(text) if arrow else None
        function = begun.partition("(")[0]
        if call is None or function not in self._modules or not text.startswith(f"{function}("):
            return None
        return (self._modules[function], text), output


def cut(call: Call) -> tuple[str, str]:
    """Returns the prompt and the rest of a call; where it is cut follows from its text."""
    first = len(call.function) + 1
    digest = hashlib.sha256(call.expression.encode()).digest()
    place = first + int.from_bytes(digest[:4], "big") % max(1, len(call.expression) - 1 - first)
    return f"{call.output}{ARROW}{call.expression[:place]}", call.expression[place:]
