"""Countdown for the search experiments: reach a target with all of a few numbers, in postfix notation.

`3 7 12 = 43` is answered by `12 3 * 7 +`, which is 12 * 3 + 7. A number is one token and every answer has the same
length, so that arithmetic is what is hard and not spelling, and a batch of samples needs no padding. Intermediate
results are positive whole numbers.
The checker of search knows the rules of the notation, not the way to the target.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.identity import fingerprint_of
from tilth.types import Problem

OPERATORS = "+-*/"
_OPERATORS = frozenset(OPERATORS)


@dataclass(frozen=True)
class WordAlphabet:
    """A token for each of some words, ids from 1 on, spaces between them; 0 ends a text."""

    words: tuple[str, ...]

    end_of_text: int = 0

    @property
    def vocab_size(self) -> int:
        """The words and the end."""
        return len(self.words) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words, 1)}

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Returns an id for each word. Raises: DataError naming a word that is not known."""
        try:
            return [self._ids[word] for word in text.split()]
        except KeyError as error:
            raise DataError(
                f"The word {error.args[0]!r} is not among the {len(self.words)} words of the tokenizer.",
                fix="Write prompts and answers with the family's own words only.",
            ) from None

    def decode(self, ids: Sequence[int], /) -> str:
        """Returns the words of `ids`; ends are left out."""
        return " ".join(self.words[token - 1] for token in ids if token)


@dataclass(frozen=True)
class Countdown:
    """Use each number once to make the target; the difficulty is how many numbers there are, less one."""

    highest: int = 20
    """Numbers are 1 to this."""
    highest_target: int = 99
    name: str = "countdown_postfix"

    def __post_init__(self) -> None:
        if not 2 <= self.highest <= self.highest_target:
            raise ConfigError(
                f"Countdown has numbers up to {self.highest} and targets up to {self.highest_target}.",
                fix="Give numbers up to 2 or more, and targets at least as high.",
            )

    @property
    def tokenizer(self) -> WordAlphabet:
        """A token for each number, operator and `=`."""
        return _alphabet(self.highest_target)

    @property
    def fingerprint(self) -> str:
        """Of its ranges."""
        return fingerprint_of({"highest": self.highest, "highest_target": self.highest_target})

    def n_problems(self, difficulty: int) -> int:
        """How many sets of numbers there are; most have several targets."""
        return math.comb(self.highest + difficulty, difficulty + 1)

    def answer_tokens(self, difficulty: int) -> int:
        """The numbers, an operator less than numbers, and the end."""
        return 2 * difficulty + 2

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws numbers and combines them at random, until the result is a target that can be asked for."""
        return [self._draw(difficulty, rng) for _ in range(n)]

    def parse(self, text: str) -> str | None:
        """Returns the text, unless it is empty."""
        return text.strip() or None

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer uses each number once and gives the target."""
        task = read_prompt(problem.prompt)
        return task is not None and Solution(*task).solved(answer)

    def read_prompt(self, text: str) -> Problem | None:
        """Returns the problem that a text states; None unless its form and all numbers are in range, and sorted."""
        task = read_prompt(text)
        if task is None:
            return None
        numbers, target = task
        fits = all(1 <= number <= self.highest for number in numbers) and 1 <= target <= self.highest_target
        if not fits or len(numbers) < 2 or list(numbers) != sorted(numbers) or text != prompt_of(numbers, target):
            return None
        return Problem.make(text, verifier=self.name, difficulty=len(numbers) - 1)

    def checker(self, problem: Problem) -> Solution:
        """Returns what search asks whether a partial answer can still become one."""
        task = read_prompt(problem.prompt)
        if task is None:
            raise DataError(f"{problem.prompt!r} is no prompt of {self.name}.", fix="Draw problems from the family.")
        return Solution(*task)

    def solutions(self, problem: Problem) -> list[str]:
        """Returns every right answer, by trying all expressions: the oracle's labels."""
        checker = self.checker(problem)
        return [text for text in expressions(checker.numbers) if checker.solved(text)]

    def _draw(self, difficulty: int, rng: np.random.Generator) -> Problem:
        while True:
            numbers = sorted(rng.integers(1, self.highest + 1, difficulty + 1).tolist())
            target, answer = _combined(numbers, rng)
            if target <= self.highest_target and target not in numbers:
                prompt = prompt_of(numbers, target)
                return Problem.make(prompt, answer=answer, verifier=self.name, difficulty=difficulty)


@dataclass(frozen=True)
class Solution:
    """Checks answers to one problem, whole and partial."""

    numbers: tuple[int, ...]
    target: int

    def possible(self, prefix: str) -> bool:
        """Whether the notation lets the prefix become an answer; whether that could reach the target is not asked."""
        stack = evaluate(prefix.split(), self.numbers)
        return stack is not None and len(prefix.split()) <= 2 * len(self.numbers) - 1

    def solved(self, text: str) -> bool:
        """Whether the text is a right answer."""
        words = text.split()
        return len(words) == 2 * len(self.numbers) - 1 and evaluate(words, self.numbers) == [self.target]


@lru_cache(maxsize=8)
def _alphabet(highest: int) -> WordAlphabet:
    return WordAlphabet((*map(str, range(1, highest + 1)), *OPERATORS, "="))


def prompt_of(numbers: Sequence[int], target: int) -> str:
    """Returns the prompt that asks for a target."""
    return f"{' '.join(map(str, numbers))} = {target}"


def read_prompt(prompt: str) -> tuple[tuple[int, ...], int] | None:
    """Returns the numbers and the target of a prompt; None for any other text."""
    left, equals, right = prompt.partition(" = ")
    words = left.split()
    if not equals or not words or not right.isdecimal() or not all(word.isdecimal() for word in words):
        return None
    return tuple(map(int, words)), int(right)


def evaluate(words: Sequence[str], numbers: Sequence[int]) -> list[int] | None:
    """Returns the stack after the words; None where one is not allowed there.

    Every number is used at most as often as it is given; differences are positive and divisions exact.
    """
    left = list(map(str, numbers))
    stack: list[int] = []
    for word in words:
        if word in left:
            left.remove(word)
            stack.append(int(word))
            continue
        if len(stack) < 2 or word not in _OPERATORS:
            return None
        right, value = stack.pop(), stack.pop()
        result = combine(value, word, right)
        if result is None:
            return None
        stack.append(result)
    return stack


def combine(left: int, operator: str, right: int) -> int | None:
    """Returns the value of one operation on positive whole numbers, None where it is not one again."""
    if operator == "+":
        return left + right
    if operator == "*":
        return left * right
    if operator == "-":
        return left - right if left > right else None
    return left // right if left % right == 0 else None


def expressions(numbers: Sequence[int]) -> Iterator[str]:
    """Yields every expression that uses each number once, in the order of the alphabet, without repeats."""
    words = sorted({str(number) for number in numbers}, key=int)
    length = 2 * len(numbers) - 1

    def extend(prefix: tuple[str, ...]) -> Iterator[str]:
        if len(prefix) == length:
            yield " ".join(prefix)
            return
        for word in itertools.chain(words, OPERATORS):
            longer = (*prefix, word)
            if evaluate(longer, numbers) is not None:
                yield from extend(longer)

    for text in extend(()):
        stack = evaluate(text.split(), numbers)
        if stack is not None and len(stack) == 1:
            yield text


def _combined(numbers: Sequence[int], rng: np.random.Generator) -> tuple[int, str]:
    """Returns a value that the numbers reach, and the expression, in each operation the larger value first."""
    parts = [(number, str(number)) for number in numbers]
    while len(parts) > 1:
        picked = rng.choice(len(parts), 2, replace=False).tolist()
        (a, first), (b, second) = sorted((parts[index] for index in picked), key=lambda part: -part[0])
        rest = [part for index, part in enumerate(parts) if index not in picked]
        results = [(sign, combine(a, sign, b)) for sign in OPERATORS]
        allowed = [(sign, value) for sign, value in results if value is not None]
        sign, value = allowed[int(rng.integers(len(allowed)))]
        parts = [*rest, (value, f"{first} {second} {sign}")]
    return parts[0]
