"""What the loop learns: families of text problems of growing difficulty.

A `TaskFamily` proposes problems, parses an answer out of what a model wrote, and verifies it. A `ProblemSource` is the
same without verification and without answers: that is all an arm without labels is handed. Symbol permutations and the
like are a capability that a family may have or not (`Augmentable`); votes are counted over them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.types import Problem

MAX_REDRAWS = 1000
"""Draws of nothing but excluded problems before a difficulty counts as used up."""


class TextTokenizer(Protocol):
    """What the loop needs of a tokenizer; `tilth.Tokenizer` has it, and so has `AlphabetTokenizer`."""

    @property
    def vocab_size(self) -> int:
        """One more than the greatest id."""
        ...

    @property
    def end_of_text(self) -> int | None:
        """The id that ends an answer."""
        ...

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Returns the ids of `text`."""
        ...

    def decode(self, ids: Sequence[int], /) -> str:
        """Returns the text of `ids`."""
        ...


class Augmentation(Protocol):
    """A change of a prompt after which the answer is known from the answer to the unchanged one."""

    def apply(self, prompt: str) -> str:
        """Returns the changed prompt."""
        ...

    def invert(self, answer: str) -> str:
        """Returns the answer to the original prompt, given the answer to the changed one."""
        ...


class ProblemSource(Protocol):
    """Problems of difficulty 1, 2, 3 ... and how to read answers to them, without a way to check any."""

    @property
    def name(self) -> str:
        """What records and reports call it."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """Turns prompts and answers into tokens."""
        ...

    def n_problems(self, difficulty: int) -> int:
        """How many different prompts there are."""
        ...

    def answer_tokens(self, difficulty: int) -> int:
        """Most tokens of an answer, its end included: known from the form of the problems, not from an answer."""
        ...

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws `n` problems, with repetition."""
        ...

    def parse(self, text: str) -> str | None:
        """Returns the answer that a model's text gives, or None if it gives none."""
        ...


class TaskFamily(ProblemSource, Protocol):
    """A source whose problems come with answers, and that can verify any answer."""

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is right. It must not need `problem.answer`, which may have been removed."""
        ...


@runtime_checkable
class Augmentable(Protocol):
    """A family with augmentations, over which votes can be counted."""

    def augmentations(self, n: int, rng: np.random.Generator) -> Sequence[Augmentation]:
        """Draws `n` augmentations."""
        ...


@dataclass(frozen=True)
class AlphabetTokenizer:
    """A token for each character of an alphabet, ids from 1 on; 0 ends a text."""

    alphabet: str

    end_of_text: int = 0

    @property
    def vocab_size(self) -> int:
        """The characters and the end."""
        return len(self.alphabet) + 1

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.alphabet, 1)}

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Returns an id for each character.

        Raises: DataError naming a character outside the alphabet.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise DataError(
                f"The character {error.args[0]!r} is not in the alphabet {self.alphabet!r}.",
                fix="Give the family a tokenizer that knows all characters of its prompts and answers.",
            ) from None

    def decode(self, ids: Sequence[int], /) -> str:
        """Returns the characters of `ids`; ends are left out."""
        return "".join(self.alphabet[token - 1] for token in ids if token)


@dataclass(frozen=True)
class Identity:
    """The augmentation that changes nothing."""

    def apply(self, prompt: str) -> str:
        """Returns the prompt."""
        return prompt

    def invert(self, answer: str) -> str:
        """Returns the answer."""
        return answer


class SymbolPermutation:
    """Replaces each symbol by another, in prompts and back in answers: for tasks that treat all symbols alike."""

    def __init__(self, symbols: str, permuted: str) -> None:
        self._forward, self._back = str.maketrans(symbols, permuted), str.maketrans(permuted, symbols)

    def apply(self, prompt: str) -> str:
        """Returns the prompt in permuted symbols."""
        return prompt.translate(self._forward)

    def invert(self, answer: str) -> str:
        """Returns the answer in the original symbols."""
        return answer.translate(self._back)


class Reverse:
    """Reverse a string of lower-case letters: `abc=` is answered by `cba`. The difficulty is the string's length."""

    name = "reverse"
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = AlphabetTokenizer(letters + "=")

    def n_problems(self, difficulty: int) -> int:
        """How many strings of that length there are."""
        return len(self.letters) ** difficulty

    def answer_tokens(self, difficulty: int) -> int:
        """The string and its end."""
        return difficulty + 1

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws strings whose letters are independent and uniform."""
        # One decoding for all strings: thousands of them are drawn at a time.
        codes = rng.integers(0, len(self.letters), (n, difficulty)) + ord("a")
        text = codes.astype(np.uint8).tobytes().decode("ascii")
        strings = [text[start : start + difficulty] for start in range(0, n * difficulty, difficulty)]
        return [
            Problem.make(f"{string}=", answer=string[::-1], verifier=self.name, difficulty=difficulty)
            for string in strings
        ]

    def parse(self, text: str) -> str | None:
        """Returns the text if it is one or more letters."""
        return text if text and "=" not in text else None

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is the prompt's string backwards."""
        return answer == problem.prompt[-2::-1]

    def augmentations(self, n: int, rng: np.random.Generator) -> list[SymbolPermutation]:
        """Draws permutations of the letters."""
        letters = np.array(list(self.letters))
        return [SymbolPermutation(self.letters, "".join(rng.permutation(letters))) for _ in range(n)]


class Unlabelled:
    """A family as a `ProblemSource`: problems without their answers, and no way to verify one."""

    def __init__(self, family: ProblemSource) -> None:
        # The family itself is not kept: what is not here cannot be asked.
        self.name, self.tokenizer = family.name, family.tokenizer
        self.n_problems, self.answer_tokens, self.parse = family.n_problems, family.answer_tokens, family.parse
        self._propose = family.propose

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws the family's problems and removes their answers."""
        return without_answers(self._propose(difficulty, n, rng))


def without_answers(problems: Sequence[Problem]) -> list[Problem]:
    """Returns the problems with their answers removed."""
    return [replace(problem, answer=None) for problem in problems]


@dataclass(frozen=True)
class Split:
    """The problems of each difficulty that are measured on, and so never trained on nor asked for pseudo-labels."""

    validation: Mapping[int, Sequence[Problem]]
    """Decide on promotion and on settings."""
    test: Mapping[int, Sequence[Problem]]
    """Are reported, and decide nothing."""

    @cached_property
    def excluded(self) -> frozenset[str]:
        """The prompts of all of them: problems are the same if their prompts are equal as text."""
        parts = (*self.validation.values(), *self.test.values())
        return frozenset(problem.prompt for problems in parts for problem in problems)


def split_problems(
    family: TaskFamily,
    difficulties: Sequence[int],
    *,
    n_test: int,
    n_validation: int,
    validate_beyond: int,
    rngs: Iterator[np.random.Generator],
) -> Split:
    """Draws disjoint validation and test problems for each difficulty, all different.

    Each of the two gets at most a quarter of all problems of a difficulty, so that half is left to train on. There are
    validation problems beyond the difficulty `validate_beyond` only. `rngs` yields one generator for each difficulty.
    """
    validation: dict[int, list[Problem]] = {}
    test: dict[int, list[Problem]] = {}
    for difficulty, rng in zip(difficulties, rngs, strict=False):
        quarter = family.n_problems(difficulty) // 4
        test[difficulty] = distinct(family, difficulty, min(n_test, quarter), rng)
        if difficulty > validate_beyond:
            taken = {problem.prompt for problem in test[difficulty]}
            validation[difficulty] = distinct(family, difficulty, min(n_validation, quarter), rng, taken)
    return Split(validation, test)


def distinct(
    source: ProblemSource, difficulty: int, n: int, rng: np.random.Generator, excluded: Collection[str] = ()
) -> list[Problem]:
    """Draws `n` problems with different prompts that are not among the excluded ones.

    Raises: DataError if the source does not give that many.
    """
    found: dict[str, Problem] = {}
    for _ in range(MAX_REDRAWS):
        if len(found) >= n:
            return list(found.values())[:n]
        for problem in source.propose(difficulty, n, rng):
            if problem.prompt not in excluded:
                found.setdefault(problem.prompt, problem)
    raise _used_up(source, difficulty)


def propose_other_than(
    excluded: Collection[str], source: ProblemSource, difficulty: int, n: int, rng: np.random.Generator
) -> list[Problem]:
    """Draws `n` problems, with repetition, whose prompts are not among the excluded ones.

    Raises: DataError if the source gives nothing else.
    """
    found = source.propose(difficulty, n, rng)
    for _ in range(MAX_REDRAWS):
        taken = [index for index, problem in enumerate(found) if problem.prompt in excluded]
        if not taken:
            return found
        for index, problem in zip(taken, source.propose(difficulty, len(taken), rng), strict=True):
            found[index] = problem
    raise _used_up(source, difficulty)


def end_token(tokenizer: TextTokenizer) -> int:
    """Returns the id that ends an answer.

    Raises: ConfigError if the tokenizer has none.
    """
    if tokenizer.end_of_text is None:
        raise ConfigError(
            "The family's tokenizer has no token that ends a text.",
            fix="Train it with `<|endoftext|>` among its special tokens.",
        )
    return tokenizer.end_of_text


def _used_up(source: ProblemSource, difficulty: int) -> DataError:
    return DataError(
        f"The family {source.name} gives too few different problems of difficulty {difficulty}.",
        fix="Let its `n_problems` count the different prompts, or measure on fewer problems.",
    )
