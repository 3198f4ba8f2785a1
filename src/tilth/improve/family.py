"""What the loop learns: families of text problems of growing difficulty, and how their problems are shared out.

What a family has to offer stands in `synthesis/verify/task_family.py`, beside families for language models; `FAMILIES`
names the loop's own, from `string_families.py`, `reverse_addition.py`, `sorting.py` and `countdown.py`. Here is also
the split into problems that are trained on and problems that are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from tilth.errors import ConfigError, DataError
from tilth.identity import fingerprint_of
from tilth.improve.countdown import Countdown
from tilth.improve.reverse_addition import ReverseAddition
from tilth.improve.sorting import SortLetters
from tilth.improve.string_families import Copy, Reverse
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily, TextTokenizer
from tilth.types import Problem

_IDENTIFYING = 16
"""Problems of each difficulty by which a family is told from another one."""
MAX_REDRAWS = 1000
"""Draws of nothing but excluded problems before a difficulty counts as used up."""
FAMILIES: Mapping[str, Callable[[TextTokenizer | None], TaskFamily]] = {
    "reverse": Reverse,
    "copy": Copy,
    "reverse_addition": ReverseAddition,
    "sort": SortLetters,
    "countdown_postfix": lambda tokenizer: Countdown(),
}
"""The loop's own families by name; those for language models have a registry of their own.

Strings and sums have a form of text, which they take with a tokenizer; countdown keeps its own tokens.
"""


def family_named(name: str, tokenizer: TextTokenizer | None = None) -> TaskFamily:
    """Returns one of the loop's own families; with a tokenizer of words or pieces, in the form of text.

    Raises: ConfigError for another name.
    """
    if name not in FAMILIES:
        raise ConfigError(f"There is no family `{name}`.", fix=f"Choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name](tokenizer)


def family_file(task: str) -> Path | None:
    """Returns the file of a user's own family, `path/to/file.py:name`; what it holds decides about a result."""
    path, colon, _ = task.rpartition(":")
    return Path(path) if colon and path.endswith(".py") and Path(path).is_file() else None


def family_identity(family: TaskFamily, difficulties: Sequence[int]) -> dict[str, object]:
    """Returns what tells a family from another one, or from itself before it was changed: its name, and some problems.

    A change that leaves problems and their tokens as they are (to `verify` alone) does not show.
    """
    encode, problems = family.tokenizer.encode_ordinary, list[object]()
    for difficulty in difficulties:
        drawn = family.propose(difficulty, _IDENTIFYING, np.random.default_rng(difficulty))
        problems += [[problem.prompt, problem.answer, list(encode(problem.prompt))] for problem in drawn]
    return {"name": family.name, "problems": fingerprint_of(problems)}


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
