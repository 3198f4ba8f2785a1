"""What the families of this folder have in common: printable text, a verdict behind `verify`, and templates."""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from tilth.errors import ConfigError
from tilth.synthesis.verify.final_answer import final_answer
from tilth.synthesis.verify.task_family import AlphabetTokenizer
from tilth.synthesis.verify.verdict import Verdict, Verifier, failed
from tilth.types import Problem

PRINTABLE = AlphabetTokenizer(string.ascii_letters + string.digits + string.punctuation + " \n")
"""A token for each printable ASCII character: what small models of a single family can be trained with."""


class JudgingFamily(Protocol):
    """A task family that also says why."""

    @property
    def name(self) -> str:
        """What records and reports call it."""
        ...

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Returns the verdict on an answer."""
        ...


@dataclass(frozen=True)
class FamilyVerifier:
    """A family as a verifier: an answer is parsed as the family does, then judged."""

    family: Family

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Judges the answer that a text gives."""
        found = self.family.parse(answer)
        return failed("no answer") if found is None else self.family.judge(problem, found)


class Family(ABC):
    """A `TaskFamily` for language models: prompts in plain English, answers as text."""

    name: str
    tokenizer = PRINTABLE

    @abstractmethod
    def n_problems(self, difficulty: int) -> int:
        """How many different prompts there are, or fewer."""

    @abstractmethod
    def answer_tokens(self, difficulty: int) -> int:
        """Most characters of an answer, and its end."""

    @abstractmethod
    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws one problem, with its reference answer."""

    @abstractmethod
    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Returns the verdict on an answer; it does not need `problem.answer`."""

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws `n` problems, with repetition. Raises: ConfigError for a difficulty below 1."""
        if difficulty < 1:
            raise ConfigError(f"The difficulty is {difficulty}.", fix="Difficulties of task families start at 1.")
        return [self.draw(difficulty, rng) for _ in range(n)]

    def parse(self, text: str) -> str | None:
        """Returns the marked answer or the last line; None where there is none."""
        return final_answer(text)

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is right."""
        return self.judge(problem, answer).passed


Values = Mapping[str, str]


@dataclass(frozen=True)
class Template:
    """A prompt with fields in braces, how to draw them, and how to solve it from the prompt alone."""

    text: str
    draw: Callable[[int, np.random.Generator], Mapping[str, object]]
    """Difficulty and generator -> the fields."""
    solve: Callable[[Values], str]
    """The fields as text -> the answer."""
    from_difficulty: int = 1

    def render(self, values: Mapping[str, object]) -> str:
        """Returns the prompt."""
        return self.text.format(**values)

    def match(self, prompt: str) -> Values | None:
        """Returns the fields of a prompt that this template made; None for others."""
        found = self._pattern.fullmatch(prompt)
        return None if found is None else found.groupdict()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        seen: set[str] = set()
        parts: list[str] = []
        for literal, name, _, _ in string.Formatter().parse(self.text):
            parts.append(re.escape(literal))
            if name:
                parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.*?)")
                seen.add(name)
        return re.compile("".join(parts), re.DOTALL)


class TemplateFamily(Family):
    """A family of templates: answers are verified against the solution of the prompt."""

    templates: Sequence[Template]
    compare: Verifier
    """Compares an answer with the solution."""

    def draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        """Draws a template, then its fields."""
        suited = [template for template in self.templates if template.from_difficulty <= difficulty]
        template = suited[int(rng.integers(len(suited)))]
        prompt = template.render(template.draw(difficulty, rng))
        return Problem.make(prompt, answer=self.solution(prompt), verifier=self.name, difficulty=difficulty)

    def solution(self, prompt: str) -> str | None:
        """Returns the answer to a prompt of this family; None for another prompt."""
        for template in self.templates:
            values = template.match(prompt)
            if values is not None:
                return template.solve(values)
        return None

    def judge(self, problem: Problem, answer: str) -> Verdict:
        """Solves the prompt and compares."""
        try:
            solution = self.solution(problem.prompt)
        except (ValueError, KeyError, ArithmeticError, IndexError):
            solution = None
        if solution is None:
            return failed(f"the prompt is none of the family {self.name}")
        reference = Problem(id=problem.id, prompt=problem.prompt, answer=solution, verifier=self.name)
        return self.compare.verify(reference, answer)
