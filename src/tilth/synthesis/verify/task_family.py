"""What a task family is: problems of growing difficulty, how to read answers to them, and how to verify one.

A `TaskFamily` proposes problems, parses an answer out of what a model wrote, and verifies it. A `ProblemSource` is the
same without verification and without answers: that is all an arm of the loop without labels is handed. Symbol
permutations and the like are a capability that a family may have or not (`Augmentable`); votes are counted over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from tilth.errors import DataError
from tilth.types import Problem


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
