"""Batches of problems and real text together: each row holds one or the other, several problems to a row.

Rows of real text are drawn at random places, so that a batch depends on the stream of chance alone and a round can be
run again. Problems share rows, each a segment of its own: padding each to the length of a row of text would waste most
of the arithmetic. The two parts have a fixed share of the loss, however many targets each has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tilth.model import IGNORE_INDEX
from tilth.training import Batch

Example = tuple[Sequence[int], Sequence[int]]
"""Tokens of a prompt, and of the answer that follows it, its end included."""
Rows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Inputs, targets and segments, `(rows, length)` each."""


@dataclass(frozen=True, kw_only=True)
class TextRows:
    """Real text to draw rows from."""

    ids: NDArray[np.int32]
    """Documents with separators before, between and after them."""
    separator: int
    row_tokens: int
    share: float
    """Of the rows of a batch and of the loss, 0 up to below 1."""

    def draw(self, n: int, length: int, rng: np.random.Generator) -> Rows:
        """Draws `n` rows of `row_tokens` tokens at random places, padded to `length`."""
        width = min(self.row_tokens, len(self.ids) - 1)
        starts = rng.integers(0, len(self.ids) - width, n)
        cut = self.ids[starts[:, None] + np.arange(width + 1)].astype(np.int64)
        inputs, targets, segments = empty_rows(n, length, self.separator)
        inputs[:, :width], targets[:, :width] = cut[:, :-1], cut[:, 1:]
        # A document begins with the separator before it.
        segments[:, :width] = 1 + (cut[:, :-1] == self.separator).cumsum(axis=1)
        return inputs, targets, segments

    def batch(self, examples: Sequence[Example], rng: np.random.Generator) -> Batch:
        """Returns a batch of the problems, packed into rows, with real text beside them."""
        length = max(self.row_tokens, max(map(n_inputs, examples)))
        problems = pack(examples, length, padding=self.separator)
        n_problem_rows = len(problems[0])
        n_text = max(1, round(n_problem_rows * self.share / (1 - self.share))) if self.share else 0
        parts = (problems, self.draw(n_text, length, rng)) if n_text else (problems,)
        inputs, targets, segments = (np.concatenate(side) for side in zip(*parts, strict=True))
        weights = np.zeros(targets.shape, dtype=np.float32)
        shares = (1 - self.share, self.share) if n_text else (1.0,)
        edges = (0, n_problem_rows, n_problem_rows + n_text)
        for part, share in enumerate(shares):
            rows = slice(edges[part], edges[part + 1])
            counted = targets[rows] != IGNORE_INDEX
            weights[rows] = counted * (share / max(1, counted.sum()))
        return Batch(
            torch.from_numpy(inputs),
            torch.from_numpy(targets),
            weights=torch.from_numpy(weights),
            segments=torch.from_numpy(segments),
        )


def n_inputs(example: Example) -> int:
    """Returns the inputs that an example takes: all its tokens but the last, which is only a target."""
    return len(example[0]) + len(example[1]) - 1


def pack(examples: Sequence[Example], length: int, *, padding: int) -> Rows:
    """Puts examples into rows of `length`, each into the first row that has room; targets are the answers alone."""
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in examples:
        needed = n_inputs(example)
        index = next((i for i, left in enumerate(room) if left >= needed), len(rows))
        if index == len(rows):
            rows.append([])
            room.append(length)
        rows[index].append(example)
        room[index] -= needed
    inputs, targets, segments = empty_rows(len(rows), length, padding)
    for index, row in enumerate(rows):
        begin = 0
        for number, example in enumerate(row, 1):
            prompt, answer = example
            end = begin + n_inputs(example)
            inputs[index, begin:end] = [*prompt, *answer[:-1]]
            targets[index, end - len(answer) : end] = answer
            segments[index, begin:end] = number
            begin = end
    return inputs, targets, segments


def empty_rows(n: int, length: int, padding: int) -> Rows:
    """Returns rows of padding without targets, in segment 0."""
    shape = (n, length)
    return (
        np.full(shape, padding, dtype=np.int64),
        np.full(shape, IGNORE_INDEX, dtype=np.int64),
        np.zeros(shape, dtype=np.int64),
    )
