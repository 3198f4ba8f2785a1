"""What the loop learns: problems of growing difficulty, an exact check, and relabellings that need no answer.

Problems and answers are integer arrays, a row each: all problems of one difficulty are equally long, so a
whole batch is made, relabelled and checked at once. The price is that a task brings its own small vocabulary
instead of the text tokenizer's.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
"""Token ids, one row for each problem or answer."""

END = 0
"""Ends an answer, and fills up the rows of an array behind it."""


class Task(Protocol):
    """A family of problems of difficulty 1, 2, 3 ...; ids 1 and up (below 255) are its symbols, 0 is END."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def vocab_size(self) -> int:
        """Ids in use, END included."""
        ...

    def n_problems(self, difficulty: int) -> int:
        """How many different problems there are."""
        ...

    def answer_length(self, difficulty: int) -> int:
        """Tokens in a right answer, END included."""
        ...

    def prompts(self, difficulty: int, n: int, rng: np.random.Generator) -> Ints:
        """Draws `(n, prompt length)` prompts, with repetition."""
        ...

    def answers(self, prompts: Ints) -> Ints:
        """Returns the right answers, `(n, answer_length)`."""
        ...

    def relabelling(self, rng: np.random.Generator) -> Ints:
        """Draws a permutation of the ids, `(vocab_size,)`, under which the task stays the same.

        If `a` answers `p`, then `relabelling[a]` answers `relabelling[p]`.
        """
        ...

    def show(self, tokens: Ints) -> str:
        """Returns one prompt or answer, `(length,)`, as text, up to its END."""
        ...


class Reverse:
    """Reverse a string of lower-case letters: `abc=` is answered by `cba`. The difficulty is the string's
    length."""

    name = "reverse"
    letters = 26
    equals = 27
    vocab_size = 28

    def n_problems(self, difficulty: int) -> int:
        """How many strings of that length there are."""
        return self.letters**difficulty

    def answer_length(self, difficulty: int) -> int:
        """The string and END."""
        return difficulty + 1

    def prompts(self, difficulty: int, n: int, rng: np.random.Generator) -> Ints:
        """Draws strings whose letters are independent and uniform."""
        letters = rng.integers(1, self.letters + 1, (n, difficulty))
        return np.pad(letters, ((0, 0), (0, 1)), constant_values=self.equals)

    def answers(self, prompts: Ints) -> Ints:
        """Returns the reversed strings."""
        return np.pad(prompts[:, -2::-1], ((0, 0), (0, 1)), constant_values=END)

    def relabelling(self, rng: np.random.Generator) -> Ints:
        """Draws a permutation of the letters; END and the equals sign stay."""
        return np.concatenate([[END], 1 + rng.permutation(self.letters), [self.equals]])

    def show(self, tokens: Ints) -> str:
        """Returns the tokens as text, up to END."""
        ended = np.flatnonzero(tokens == END)
        shown = tokens[: ended[0]] if len(ended) else tokens
        return "".join("=" if token == self.equals else chr(ord("a") + int(token) - 1) for token in shown)


def fixed_prompts(task: Task, difficulty: int, n: int, rng: np.random.Generator) -> Ints:
    """Draws different prompts to measure on, `(m, prompt length)`.

    There are `n`, but never more than a quarter of all problems of the difficulty: the rest is for training.
    """
    n = min(n, task.n_problems(difficulty) // 4)
    found = task.prompts(difficulty, 0, rng)
    while len(found) < n:
        drawn = np.concatenate([found, task.prompts(difficulty, n, rng)])
        _, first = np.unique(_as_words(drawn), return_index=True)
        found = drawn[np.sort(first)][:n]
    return found


def fresh_prompts(task: Task, difficulty: int, n: int, rng: np.random.Generator, excluded: Ints) -> Ints:
    """Draws prompts, with repetition, that are not among the excluded ones, `(n, prompt length)`."""
    prompts = task.prompts(difficulty, n, rng)
    taken = np.isin(_as_words(prompts), _as_words(excluded))
    while taken.any():
        prompts[taken] = task.prompts(difficulty, int(taken.sum()), rng)
        taken = np.isin(_as_words(prompts), _as_words(excluded))
    return prompts


def _as_words(rows: Ints) -> npt.NDArray[np.bytes_]:
    # A row becomes one value that numpy can sort. Byte strings lose zeros at their end, so ids are shifted by
    # one.
    packed = np.ascontiguousarray(rows + 1, dtype=np.uint8)
    return packed.view(f"S{rows.shape[1]}").reshape(-1)
