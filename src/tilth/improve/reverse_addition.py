"""Addition of two numbers written from the last digit on, so that carries run in the order of reading."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tilth.synthesis.verify.task_family import AlphabetTokenizer, TextTokenizer
from tilth.types import Problem

_SHIFTS = 64
"""Random numbers of an augmentation, one for each digit; longer numbers use them again."""


@dataclass(frozen=True)
class SumForm:
    """How sums stand in prompts and answers.

    Plain: `71+52=` and `240`. As text: `add: 7 1 + 5 2 =` and ` 2 4 0`, where each digit stays a token of its own.
    """

    spaced: bool = False

    def prompt(self, first: str, second: str) -> str:
        """Returns the prompt that asks for the sum of two numbers."""
        return f"add:{_spaced(first)} +{_spaced(second)} =" if self.spaced else f"{first}+{second}="

    def numbers(self, prompt: str) -> tuple[str, str]:
        """Returns the two numbers of a prompt."""
        first, second = prompt.removeprefix("add:").removesuffix("=").replace(" ", "").split("+")
        return first, second

    def answer(self, number: str) -> str:
        """Returns a number as an answer."""
        return _spaced(number) if self.spaced else number

    def parse(self, answer: str) -> str | None:
        """Returns the digits of an answer; None if it is not one or more digits in this form."""
        form = "(?: [0-9])+" if self.spaced else "[0-9]+"
        return answer.replace(" ", "") if re.fullmatch(form, answer) else None


def _spaced(number: str) -> str:
    return "".join(f" {digit}" for digit in number)


@dataclass(frozen=True)
class SumSymmetry:
    """Moves amounts between the two digits of each place, and replaces both numbers by their nines' complements or not.

    The first leaves the sum as it is, and exchanging the numbers is a case of it. The second gives
    `2 (10^n - 1) - sum` for numbers of `n` digits, with other carries, from which the sum follows.
    """

    form: SumForm
    shifts: tuple[int, ...]
    """For each place, by how much the first digit moves on within the digits that are possible there."""
    complemented: bool

    def apply(self, prompt: str) -> str:
        """Returns the prompt for the changed numbers."""
        first, second = ([int(digit) for digit in number] for number in self.form.numbers(prompt))
        pairs = [self._moved(place, a + b, a) for place, (a, b) in enumerate(zip(first, second, strict=True))]
        if self.complemented:
            pairs = [(9 - a, 9 - b) for a, b in pairs]
        return self.form.prompt("".join(str(a) for a, _ in pairs), "".join(str(b) for _, b in pairs))

    def invert(self, answer: str) -> str:
        """Returns the sum of the original numbers; what cannot be one is returned as it is."""
        number = self.form.parse(answer)
        if not self.complemented or number is None or len(number) < 2:
            return answer
        digits = len(number) - 1
        original = 2 * (10**digits - 1) - int(number[::-1])
        return self.form.answer(str(original).zfill(digits + 1)[::-1]) if original >= 0 else answer

    def _moved(self, place: int, total: int, first: int) -> tuple[int, int]:
        least, most = max(0, total - 9), min(9, total)
        moved = least + (first - least + self.shifts[place % len(self.shifts)]) % (most - least + 1)
        return moved, total - moved


class ReverseAddition:
    """Add two numbers, last digit first: `71+52=` (17 + 25) is answered by `240` (042). The difficulty is their digits.

    Both numbers have as many digits as the difficulty says, zeros in front included, and the sum has one more, so that
    a length says nothing about a sum. With a `tokenizer`, prompts and answers have the form of text (`SumForm`).
    """

    tokenizer: TextTokenizer = AlphabetTokenizer("0123456789+=")

    def __init__(self, tokenizer: TextTokenizer | None = None) -> None:
        self.form = SumForm(spaced=tokenizer is not None)
        if tokenizer is not None:
            self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """The task; the form of text is another family, because its prompts are others."""
        return "reverse_addition_text" if self.form.spaced else "reverse_addition"

    def n_problems(self, difficulty: int) -> int:
        """How many pairs of numbers there are."""
        return 100**difficulty

    def answer_tokens(self, difficulty: int) -> int:
        """The digits of the sum and its end."""
        if not self.form.spaced:
            return difficulty + 2
        return (difficulty + 1) * max(len(self.tokenizer.encode_ordinary(f" {digit}")) for digit in range(10)) + 1

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws numbers whose digits are independent and uniform."""
        codes = rng.integers(0, 10, (n, 2, difficulty)) + ord("0")
        text = codes.astype(np.uint8).tobytes().decode("ascii")
        numbers = [text[start : start + difficulty] for start in range(0, 2 * n * difficulty, difficulty)]
        return [
            Problem.make(self.form.prompt(a, b), answer=self._solution(a, b), verifier=self.name, difficulty=difficulty)
            for a, b in zip(numbers[::2], numbers[1::2], strict=True)
        ]

    def parse(self, text: str) -> str | None:
        """Returns the text if it is nothing but digits in the family's form."""
        return None if self.form.parse(text) is None else text

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the sum of the prompt's numbers, with as many digits as it should have."""
        return answer == self._solution(*self.form.numbers(problem.prompt))

    def augmentations(self, n: int, rng: np.random.Generator) -> list[SumSymmetry]:
        """Draws moves between digits; every other one also complements, so that carries differ within a vote."""
        return [
            SumSymmetry(
                form=self.form,
                shifts=tuple(rng.integers(0, 10, _SHIFTS).tolist()),
                complemented=index % 2 == 0,
            )
            for index in range(n)
        ]

    def _solution(self, first: str, second: str) -> str:
        total = int(first[::-1]) + int(second[::-1])
        return self.form.answer(str(total).zfill(len(first) + 1)[::-1])
