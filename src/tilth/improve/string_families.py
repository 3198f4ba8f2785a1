"""Families of strings: copy one, or reverse it.

Both treat all letters alike and all positions alike, so their problems have two kinds of augmentations: letters are
replaced by others, and strings are turned or mirrored. The second kind matters to a vote. A model that is beyond the
lengths it knows makes mistakes that depend on the position, such as always leaving out the middle letter; under
permutations of the letters they agree with each other, under changes of the positions they do not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tilth.synthesis.verify.task_family import AlphabetTokenizer, TextTokenizer
from tilth.types import Problem

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TURNS = 2**16
"""Turns are drawn below this and taken modulo the length, so that one augmentation serves all lengths."""


@dataclass(frozen=True)
class StringForm:
    """How strings stand in prompts and answers.

    Plain: `abc=` and `cba`, a token for each character. As text, for tokenizers of words: `reverse: a b c =` and
    ` c b a`, where a letter and the space before it stay together whatever its neighbours are, and the task has a name.
    """

    task: str = ""
    """Named before the string, as text; empty: plain."""

    def prompt(self, string: str) -> str:
        """Returns the prompt that asks for a string."""
        return f"{self.task}:{_spaced(string)} =" if self.task else f"{string}="

    def string(self, prompt: str) -> str:
        """Returns the string that a prompt asks for."""
        return prompt.removeprefix(f"{self.task}:").removesuffix("=").replace(" ", "") if self.task else prompt[:-1]

    def answer(self, string: str) -> str:
        """Returns a string as an answer."""
        return _spaced(string) if self.task else string

    def parse(self, answer: str) -> str | None:
        """Returns the string of an answer; None if it is not one or more letters in this form."""
        if not re.fullmatch(r"(?: [a-z])+" if self.task else r"[a-z]+", answer):
            return None
        return answer.replace(" ", "")


def _spaced(string: str) -> str:
    return "".join(f" {letter}" for letter in string)


@dataclass(frozen=True)
class StringSymmetry:
    """Replaces each letter by another, turns the string by some places, and mirrors it or not."""

    form: StringForm
    permuted: str
    """What each letter of the alphabet becomes."""
    turn: int
    """Letters that go from the beginning to the end, modulo the length."""
    mirrored: bool
    reverses: bool
    """Whether the task answers with the string backwards."""

    def apply(self, prompt: str) -> str:
        """Returns the prompt for the changed string."""
        return self.form.prompt(self._change(self.form.string(prompt)))

    def invert(self, answer: str) -> str:
        """Returns the answer to the original prompt; what is not in the form of an answer is returned as it is."""
        string = self.form.parse(answer)
        if string is None:
            return answer
        asked = string[::-1] if self.reverses else string
        original = self._change_back(asked)
        return self.form.answer(original[::-1] if self.reverses else original)

    def _change(self, string: str) -> str:
        string = string.translate(str.maketrans(LETTERS, self.permuted))
        places = self.turn % len(string)
        string = string[places:] + string[:places]
        return string[::-1] if self.mirrored else string

    def _change_back(self, string: str) -> str:
        string = string[::-1] if self.mirrored else string
        places = len(string) - self.turn % len(string)
        string = string[places:] + string[:places]
        return string.translate(str.maketrans(self.permuted, LETTERS))


class StringFamily:
    """Strings of lower-case letters, independent and uniform; the difficulty is the length.

    With a `tokenizer`, prompts and answers have the form of text (`StringForm`).
    """

    task: ClassVar[str]
    reverses: ClassVar[bool]
    letters = LETTERS
    tokenizer: TextTokenizer = AlphabetTokenizer(LETTERS + "=")

    def __init__(self, tokenizer: TextTokenizer | None = None) -> None:
        self.form = StringForm() if tokenizer is None else StringForm(self.task)
        if tokenizer is not None:
            self.tokenizer = tokenizer

    @property
    def name(self) -> str:
        """The task; the form of text is another family, because its prompts are others."""
        return f"{self.task}_text" if self.form.task else self.task

    def n_problems(self, difficulty: int) -> int:
        """How many strings of that length there are."""
        return len(self.letters) ** difficulty

    def answer_tokens(self, difficulty: int) -> int:
        """The letters and the end."""
        if not self.form.task:
            return difficulty + 1
        return difficulty * max(len(self.tokenizer.encode_ordinary(f" {letter}")) for letter in LETTERS) + 1

    def propose(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws strings whose letters are independent and uniform."""
        # One decoding for all strings: thousands of them are drawn at a time.
        codes = rng.integers(0, len(self.letters), (n, difficulty)) + ord("a")
        text = codes.astype(np.uint8).tobytes().decode("ascii")
        strings = [text[start : start + difficulty] for start in range(0, n * difficulty, difficulty)]
        return [
            Problem.make(
                self.form.prompt(string), answer=self._solution(string), verifier=self.name, difficulty=difficulty
            )
            for string in strings
        ]

    def parse(self, text: str) -> str | None:
        """Returns the text if it is one or more letters in the family's form."""
        return None if self.form.parse(text) is None else text

    def verify(self, problem: Problem, answer: str) -> bool:
        """Whether the answer is what the task makes of the prompt's string."""
        return answer == self._solution(self.form.string(problem.prompt))

    def augmentations(self, n: int, rng: np.random.Generator) -> list[StringSymmetry]:
        """Draws permutations of the letters, turns and mirrors."""
        letters = np.array(list(LETTERS))
        return [
            StringSymmetry(
                form=self.form,
                permuted="".join(rng.permutation(letters)),
                turn=int(rng.integers(_TURNS)),
                mirrored=bool(rng.integers(2)),
                reverses=self.reverses,
            )
            for _ in range(n)
        ]

    def _solution(self, string: str) -> str:
        return self.form.answer(string[::-1] if self.reverses else string)


class Reverse(StringFamily):
    """Reverse a string: `abc=` is answered by `cba`."""

    task = "reverse"
    reverses = True


class Copy(StringFamily):
    """Copy a string: `abc=` is answered by `abc`."""

    task = "copy"
    reverses = False
