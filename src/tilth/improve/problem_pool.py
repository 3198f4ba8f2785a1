"""What a model is trained on: problems that come with right answers, and pseudo-labelled ones of all rounds so far.

Problems with right answers are drawn fresh for every batch; pseudo-labels are kept, and every round draws from all
earlier rounds (accumulate, Gerstgrasser et al. 2024). Easy and hard problems share a batch, padded to the longest: a
fifth of the arithmetic goes into padding, in exchange for fewer and larger products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from tilth.improve.config import LoopConfig
from tilth.improve.family import end_token, propose_other_than
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.text_rows import Example, TextRows
from tilth.model import IGNORE_INDEX
from tilth.synthesis.verify.task_family import TaskFamily
from tilth.training import Batch
from tilth.types import Problem


@dataclass(frozen=True)
class ProblemPool:
    """Problems to draw training batches from."""

    family: TaskFamily
    config: LoopConfig
    excluded: frozenset[str]
    """Prompts that are measured on, and so never drawn."""
    pseudo_labelled: Mapping[int, tuple[Example, ...]] = field(default_factory=dict[int, tuple[Example, ...]])
    """Per difficulty, prompts with the model's own answers."""
    text: TextRows | None = None
    """Real text that is mixed into every batch."""

    def plus(self, difficulty: int, labels: Sequence[PseudoLabel]) -> ProblemPool:
        """Returns this pool with more pseudo-labels, each of its problem's difficulty, or else of the given one."""
        added: dict[int, list[Example]] = {}
        for label in labels:
            own = label.problem.difficulty
            added.setdefault(difficulty if own is None else int(own), []).append(self.example(label))
        before = self.pseudo_labelled
        return replace(self, pseudo_labelled={**before, **{d: (*before.get(d, ()), *new) for d, new in added.items()}})

    def example(self, label: PseudoLabel) -> Example:
        """Returns a pseudo-label as tokens."""
        return self.family.tokenizer.encode_ordinary(label.problem.prompt), label.rollout.tokens

    def labelled(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Problem]:
        """Draws problems with right answers that are not measured on."""
        return propose_other_than(self.excluded, self.family, difficulty, n, rng)

    def batches(self, rng: np.random.Generator, steps: int, *, newest: int | None = None) -> Iterator[Batch]:
        """Yields a batch for each of so many steps.

        Difficulties are drawn in proportion to their value, with an extra share of the newest one.
        """
        for _ in range(steps):
            yield self.batch(rng, newest=newest)

    def batch(self, rng: np.random.Generator, *, newest: int | None = None) -> Batch:
        """Draws one batch."""
        base = self.config.base_difficulty
        known = [*range(1, base + 1), *sorted(d for d in self.pseudo_labelled if d > base)]
        extra = round(self.config.batch_size * self.config.newest_share) if newest in known else 0
        weights = np.array(known, dtype=np.float64)
        numbers = rng.multinomial(self.config.batch_size - extra, weights / weights.sum())
        drawn = {d: int(n) for d, n in zip(known, numbers, strict=True)}
        if newest is not None and extra:
            drawn[newest] += extra
        examples = [example for difficulty, n in drawn.items() for example in self._draw(difficulty, n, rng)]
        if self.text is not None:
            return self.text.batch(examples, rng)
        return collate(examples, padding=end_token(self.family.tokenizer))

    def _draw(self, difficulty: int, n: int, rng: np.random.Generator) -> list[Example]:
        if difficulty > self.config.base_difficulty:
            examples = self.pseudo_labelled[difficulty]
            return [examples[index] for index in rng.integers(0, len(examples), n)]
        encode, end = self.family.tokenizer.encode_ordinary, end_token(self.family.tokenizer)
        problems = self.labelled(difficulty, n, rng)
        return [(encode(problem.prompt), [*encode(problem.answer or ""), end]) for problem in problems]


def collate(examples: Sequence[Example], *, padding: int) -> Batch:
    """Pads prompts with their answers to one length; targets are the answers, their end included."""
    length = max(len(prompt) + len(answer) for prompt, answer in examples)
    tokens = np.full((len(examples), length), padding, dtype=np.int64)
    targets = np.full((len(examples), length), IGNORE_INDEX, dtype=np.int64)
    for row, (prompt, answer) in enumerate(examples):
        begin, end = len(prompt), len(prompt) + len(answer)
        tokens[row, :begin] = prompt
        tokens[row, begin:end] = targets[row, begin:end] = answer
    return Batch(torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets[:, 1:]))
