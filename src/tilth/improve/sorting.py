"""The loop's task for models of text: sort letters.

`sort: d a c =` is answered by ` a c d`; the difficulty is the number of letters, all different. A model with rotary
positions that has read text learns it from a few hundred examples of each length, and answers some problems several
letters longer: the next letter follows from which letters there are, not from where they stand. Reversing a string,
which needs positions, it can't do at one letter more (docs/log.md).

The order in which the letters are given does not change the answer: shuffled prompts are asked for a vote, and a wrong
answer that depends on the order finds no majority.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from tilth.synthesis.verify.task_family import AlphabetTokenizer, TextTokenizer
from tilth.types import Problem

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TASK = "sort:"
_ANSWER = re.compile(r"(?: [a-z])+")


@dataclass(frozen=True)
class Shuffle:
    """Gives the letters in another order; the answer stays."""

    order: tuple[float, ...]
    """A key for each place: letters are given in the order of the keys of their places."""

    def apply(self, prompt: str) -> str:
        """Returns the prompt with its letters in another order."""
        letters = _letters(prompt)
        return _prompt([letters[place] for place in sorted(range(len(letters)), key=lambda place: self.order[place])])

    def invert(self, answer: str) -> str:
        """Returns the answer."""
        return answer


class SortLetters:
    """Sort different lower-case letters; the difficulty is how many there are, at most 26."""

    name = "sort"
    tokenizer: TextTokenizer = AlphabetTokenizer(f"{LETTERS} =:")

    def __init__(self, tokenizer: TextTokenizer | None = None) -> None:
        """Without a tokenizer of text, characters are tokens."""
        if tokenizer is not None:
            self.tokenizer = tokenizer

    def n_problems(self, difficulty: int) -> int:
        """How many orders of so many different letters there are."""
        return math.perm(len(LETTERS), difficulty)

    def answer_tokens(self, difficulty: int) -> int:
        """The letters with their spaces, and the end."""
        longest = max(len(self.tokenizer.encode_ordinary(f" {letter}")) for letter in LETTERS)
        return difficulty * longest + 1

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws letters without repetition, in random order."""
        orders = rng.permuted(np.tile(np.arange(len(LETTERS)), (n, 1)), axis=1)[:, :difficulty]
        strings = [[LETTERS[code] for code in row] for row in orders.tolist()]
        return [
            Problem.make(_prompt(letters), answer=_answer(letters), verifier=self.name, difficulty=difficulty)
            for letters in strings
        ]

    def parse(self, text: str) -> str | None:
        """Returns the text if it is one or more letters, each behind a space."""
        return text if _ANSWER.fullmatch(text) else None

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer holds the prompt's letters in the order of the alphabet."""
        return answer == _answer(_letters(problem.prompt))

    def augmentations(self, n: int, rng: np.random.Generator) -> list[Shuffle]:
        """Draws orders in which letters are given."""
        return [Shuffle(tuple(rng.random(len(LETTERS)).tolist())) for _ in range(n)]


def _prompt(letters: list[str]) -> str:
    return f"{_TASK} {' '.join(letters)} ="


def _letters(prompt: str) -> list[str]:
    return prompt.removeprefix(_TASK).removesuffix("=").split()


def _answer(letters: list[str]) -> str:
    return "".join(f" {letter}" for letter in sorted(letters))
