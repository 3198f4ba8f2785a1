"""What a verifier says about an answer, and what a verifier is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tilth.types import Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why in a few words; the same answer gets the same verdict every time."""

    passed: bool
    score: float
    """In 0..1: 1.0 where it passed, unless a family gives marks for parts of an answer."""
    detail: str = ""


class Verifier(Protocol):
    """Judges answers to problems. What an answer says is data: it is never evaluated in this process."""

    def verify(self, problem: Problem, answer: str) -> Verdict:
        """Returns the verdict; an answer that cannot be read fails. Raises: nothing that an answer could cause."""
        ...


def passed(detail: str = "") -> Verdict:
    """Returns the verdict on a right answer."""
    return Verdict(True, 1.0, detail)


def failed(detail: str, score: float = 0.0) -> Verdict:
    """Returns the verdict on a wrong answer; `score` is for what was right about it."""
    return Verdict(False, score, detail)


NO_REFERENCE = failed("the problem has no reference answer")
"""Verdict of verifiers that compare with `Problem.answer` where there is none."""


def excerpt(text: str, limit: int = 60) -> str:
    """Returns the beginning of a text on one line, for details."""
    line = " ".join(text[: 4 * limit].split())
    return repr(line if len(line) <= limit else line[: limit - 3] + "...")
