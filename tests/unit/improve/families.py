"""Small families for tests: what it takes to write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilth.improve import AlphabetTokenizer, Reverse
from tilth.improve.family import SymbolPermutation
from tilth.types import Problem, Rollout


@dataclass(frozen=True)
class Swap:
    """Exchanges the two numbers of a sum, which leaves its value alone."""

    def apply(self, prompt: str) -> str:
        left, right = prompt.removesuffix("=").split("+")
        return f"{right}+{left}="

    def invert(self, answer: str) -> str:
        return answer


class Addition:
    """Add two numbers of as many digits as the difficulty: `17+25=` is answered by `42`."""

    name = "addition"
    tokenizer = AlphabetTokenizer("0123456789+=")

    def n_problems(self, difficulty: int) -> int:
        return 10 ** (2 * difficulty)

    def answer_tokens(self, difficulty: int) -> int:
        return difficulty + 2

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        pairs = rng.integers(0, 10**difficulty, (n, 2)).tolist()
        return [
            Problem.make(
                f"{a:0{difficulty}}+{b:0{difficulty}}=", answer=str(a + b), verifier=self.name, difficulty=difficulty
            )
            for a, b in pairs
        ]

    def parse(self, text: str) -> str | None:
        return str(int(text)) if text.isdecimal() else None

    def verify(self, problem: Problem, answer: str) -> bool:
        return sum(map(int, problem.prompt.removesuffix("=").split("+"))) == int(answer)

    def augmentations(self, n: int, rng: np.random.Generator) -> list[Swap]:
        return [Swap()] * n


class Last:
    """Name a string's last letter: `fbd=` is answered by `d`. A model of seconds learns some of it."""

    name = "last"
    letters = "abcdef"
    tokenizer = AlphabetTokenizer(letters + "=")

    def n_problems(self, difficulty: int) -> int:
        return len(self.letters) ** difficulty

    def answer_tokens(self, difficulty: int) -> int:
        return 2

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        rows = rng.integers(0, len(self.letters), (n, difficulty)).tolist()
        strings = ["".join(self.letters[index] for index in row) for row in rows]
        return [Problem.make(f"{s}=", answer=s[-1], verifier=self.name, difficulty=difficulty) for s in strings]

    def parse(self, text: str) -> str | None:
        return text if len(text) == 1 else None

    def verify(self, problem: Problem, answer: str) -> bool:
        return answer == problem.prompt[-2]

    def augmentations(self, n: int, rng: np.random.Generator) -> list[SymbolPermutation]:
        letters = np.array(list(self.letters))
        return [SymbolPermutation(self.letters, "".join(rng.permutation(letters))) for _ in range(n)]


class LyingLast(Last):
    """Gives wrong answers beyond a difficulty, and verifies none there."""

    def __init__(self, honest_up_to: int) -> None:
        self.honest_up_to = honest_up_to

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        problems = super().propose(difficulty, n, rng)
        return problems if difficulty <= self.honest_up_to else [replace(p, answer="wrong") for p in problems]

    def verify(self, problem: Problem, answer: str) -> bool:
        return len(problem.prompt) - 1 <= self.honest_up_to and super().verify(problem, answer)


class FewBeyond(Last):
    """Three problems at each difficulty beyond one: too few to measure on and to train on, too."""

    def __init__(self, many_up_to: int) -> None:
        self.many_up_to = many_up_to

    def n_problems(self, difficulty: int) -> int:
        return super().n_problems(difficulty) if difficulty <= self.many_up_to else 3

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        if difficulty <= self.many_up_to:
            return super().propose(difficulty, n, rng)
        strings = [(self.letters * difficulty)[start : start + difficulty] for start in rng.integers(0, 3, n).tolist()]
        return [Problem.make(f"{s}=", answer=s[-1], verifier=self.name, difficulty=difficulty) for s in strings]


class PlainReverse:
    """Reversing without the capability of augmentations."""

    name = "plain reverse"
    tokenizer = Reverse.tokenizer

    def __init__(self) -> None:
        reverse = Reverse()
        self.n_problems, self.answer_tokens, self.propose = reverse.n_problems, reverse.answer_tokens, reverse.propose
        self.parse, self.verify = reverse.parse, reverse.verify


def rollout(problem: Problem, text: str, *, ended: bool = True) -> Rollout:
    """A rollout as a model would give it."""
    tokens = Reverse.tokenizer.encode_ordinary(text) if set(text) <= set(Reverse.tokenizer.alphabet) else [1]
    return Rollout(
        problem_id=problem.id,
        text=text,
        tokens=(*tokens, 0) if ended else tuple(tokens),
        finish_reason="stop" if ended else "length",
    )


def right(problems: Sequence[Problem], difficulty: int) -> list[Rollout]:
    """Answers reversals right, from the prompt alone."""
    return [rollout(problem, problem.prompt[-2::-1]) for problem in problems]
