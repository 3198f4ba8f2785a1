"""Training on problems with answers, answering them, and measuring the share that is right.

Problems that come with right answers are drawn fresh for every batch; those that a model answered itself are
kept in a pool, and every round draws from all earlier rounds (accumulate, Gerstgrasser et al. 2024). Easy and
hard problems share a batch, padded to the longest: a fifth of the arithmetic goes into padding, for fewer and
larger products.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from tilth.improve.config import LoopConfig
from tilth.improve.task import END, Ints, Task, fresh_prompts
from tilth.improve.verify import is_right
from tilth.inference import SamplingParams, generate_tokens
from tilth.model import IGNORE_INDEX, Transformer
from tilth.progress import SILENT, Progress

WARMUP, DECAY = 0.125, 0.3
"""Shares of the steps in which the learning rate rises, and falls to zero; linear both."""
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.98), 0.01, 1.0
"""AdamW as in Lee et al. 2025 (arXiv 2502.01612), apart from pretraining's settings: these are what was confirmed."""
SPARE_TOKENS = 2
"""How much longer than the right answer an answer may grow before it is cut; no arm but the checker knows more."""
ANSWER_BATCH = 512
"""Prompts answered at a time."""

Batch = tuple[Tensor, Tensor]
"""Ids and targets, both `(batch, seq)`; only answers are targets."""


@dataclass(frozen=True)
class Exercises:
    """What a model can practise on."""

    task: Task
    config: LoopConfig
    held_out: Mapping[int, Ints]
    """Per difficulty, the prompts that are measured on and never trained on."""
    pool: Mapping[int, tuple[Ints, Ints]] = field(default_factory=dict[int, tuple[Ints, Ints]])
    """Per difficulty, prompts that the model answered itself, and those answers."""

    def plus(self, difficulty: int, prompts: Ints, answers: Ints) -> Exercises:
        """Returns these exercises and the model's own answers to more prompts of a difficulty."""
        if not len(prompts):
            return self
        if difficulty in self.pool:
            before = self.pool[difficulty]
            prompts, answers = np.concatenate([before[0], prompts]), np.concatenate([before[1], answers])
        return replace(self, pool={**self.pool, difficulty: (prompts, answers)})

    def fresh(self, difficulty: int, n: int, rng: np.random.Generator) -> Ints:
        """Draws prompts that are not measured on, `(n, prompt length)`."""
        return fresh_prompts(self.task, difficulty, n, rng, self.held_out[difficulty])

    def batch(self, rng: np.random.Generator, *, newest: int | None = None) -> Batch:
        """Draws a batch, difficulties in proportion to their value, with an extra share of the newest one."""
        base = self.config.base_difficulty
        known = [*range(1, base + 1), *sorted(d for d in self.pool if d > base)]
        extra = round(self.config.batch_size * self.config.newest_share) if newest in known else 0
        weights = np.array(known, dtype=np.float64)
        numbers = rng.multinomial(self.config.batch_size - extra, weights / weights.sum())
        drawn = {d: int(n) for d, n in zip(known, numbers, strict=True)}
        if newest is not None and extra:
            drawn[newest] += extra
        return collate([self._draw(difficulty, n, rng) for difficulty, n in drawn.items() if n])

    def _draw(self, difficulty: int, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        if difficulty <= self.config.base_difficulty:
            prompts = self.fresh(difficulty, n, rng)
            return prompts, self.task.answers(prompts)
        prompts, answers = self.pool[difficulty]
        rows = rng.integers(0, len(prompts), n)
        return prompts[rows], answers[rows]


def collate(groups: list[tuple[Ints, Ints]]) -> Batch:
    """Joins prompts with their answers and pads all to one length; targets are the answers, END included."""
    length = max(prompts.shape[1] + answers.shape[1] for prompts, answers in groups)
    rows = [np.pad(np.hstack(group), ((0, 0), (0, length - sum(a.shape[1] for a in group)))) for group in groups]
    counted = [np.arange(length) >= np.full((len(prompts), 1), prompts.shape[1]) for prompts, _ in groups]
    tokens, is_answer = np.concatenate(rows), np.concatenate(counted)
    # Padding is END as well: of all of it in an answer only the first one counts.
    ends = np.cumsum((tokens == END) & is_answer, axis=1)
    is_answer &= (ends == 0) | ((ends == 1) & (tokens == END))
    targets = np.where(is_answer, tokens, IGNORE_INDEX)
    return torch.from_numpy(tokens[:, :-1]), torch.from_numpy(targets[:, 1:])


def rate_factor(step: int, steps: int) -> float:
    """Returns the share of the highest learning rate at a step (counted from 0): it rises, stays at 1, and falls."""
    done = step + 0.5
    return min(1.0, done / max(1, round(WARMUP * steps))) * min(1.0, (1 - done / steps) / DECAY)


def practise(
    model: Transformer,
    batch: Callable[[], Batch],
    steps: int,
    highest_rate: float,
    progress: Progress = SILENT,
    name: str = "practise",
) -> float:
    """Trains with a fresh AdamW and returns the FLOPs spent, padding included."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=highest_rate, betas=BETAS, eps=1e-10, fused=True)
    flops = 0.0
    model.train()
    with progress.bar(name, steps, "steps") as bar:
        for step in range(steps):
            ids, targets = (tensor.to(model.device) for tensor in batch())
            for group in optimizer.param_groups:
                group["lr"] = highest_rate * rate_factor(step, steps)
            loss = model(ids, targets=targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            flops += ids.numel() * _training_flops_per_token(model, ids.shape[1])
            bar.advance(loss=loss.item())
    model.eval()
    return flops


@dataclass
class Answering:
    """A model that answers prompts greedily, and counts the FLOPs of it."""

    model: Transformer
    task: Task
    difficulty: int
    flops: float = 0.0

    def __call__(self, prompts: Ints) -> Ints:
        """Returns the answers, `(n, answer length + SPARE_TOKENS)`, filled up with END; cut ones have
        none."""
        longest = self.task.answer_length(self.difficulty) + SPARE_TOKENS
        params = SamplingParams(max_tokens=longest, temperature=0.0, stop_tokens=(END,))
        generations = generate_tokens(self.model, prompts.tolist(), params, batch_size=ANSWER_BATCH)
        answers = np.full((len(prompts), longest), END, dtype=np.int64)
        for row, generation in zip(answers, generations, strict=True):
            row[: len(generation.tokens)] = generation.tokens
        tokens = sum(prompts.shape[1] + len(generation.tokens) - 1 for generation in generations)
        # A forward pass is a third of a training step.
        self.flops += tokens * _training_flops_per_token(self.model, prompts.shape[1] + longest) / 3
        return answers


def accuracy(model: Transformer, task: Task, held_out: Mapping[int, Ints]) -> list[float]:
    """Returns the share of right answers per difficulty, in 0..1; an answer is right as a whole or not at
    all."""
    shares: list[float] = []
    for difficulty, prompts in held_out.items():
        answers = Answering(model, task, difficulty)(prompts)
        shares.append(float(is_right(answers, prompts, task).mean()))
    return shares


@contextmanager
def one_quiet_thread() -> Generator[None]:
    """One torch thread, so that sums have one order and arms run side by side; denormals flushed, which cost
    24 x here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _training_flops_per_token(model: Transformer, seq: int) -> float:
    return replace(model.config, context_length=seq).flops_per_token
