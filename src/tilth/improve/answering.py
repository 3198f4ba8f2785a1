"""A model's answers to problems as rollouts (greedy, sampled, by beam or tree search), and the share that is right.

Whatever is generated is counted in FLOPs, prompts and rejected answers included. A sample's draws are keyed on the
seed, the problem and the number of the sample, so that order and batches do not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from tilth.errors import ConfigError
from tilth.improve.family import end_token
from tilth.inference import BeamParams, Checker, SamplingParams, TreeParams, beam_search, generate_tokens, search_tree
from tilth.model import IGNORE_INDEX, Transformer
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
from tilth.types import Problem, Rollout

SPARE_TOKENS = 2
"""How much longer than an answer needs to be a rollout may grow before it is cut, so that too long is seen as wrong."""
ANSWER_BATCH = 512
"""Prompts answered at a time."""
SEARCH_BATCH = 64
"""Prompts of a beam or tree search at a time: each takes many rows, or keeps many beginnings."""


@runtime_checkable
class VerifiesMany(Protocol):
    """A family that verifies many answers at once, because that is much cheaper than one by one."""

    def verify_many(self, answers: Sequence[tuple[Problem, str]]) -> list[bool]:
        """Returns whether each answer to its problem is right."""
        ...


@runtime_checkable
class Searchable(Protocol):
    """A family whose partial answers can be checked."""

    def checker(self, problem: Problem) -> Checker:
        """Returns what judges partial and whole answers to a problem."""
        ...


@dataclass
class Answerer:
    """A model that answers problems, and counts the FLOPs and the answers of it."""

    model: Transformer
    source: ProblemSource
    flops: float = 0.0
    answers: int = 0
    """Whole answers that were written, by whatever method; of a tree search those that were looked at."""

    def __call__(self, problems: Sequence[Problem], difficulty: int) -> list[Rollout]:
        """Returns a greedy rollout for each problem; all must be of one difficulty, which bounds the length."""
        return self._generate(problems, difficulty, temperature=0.0, seeds=None)

    def sample(
        self, problems: Sequence[Problem], difficulty: int, n: int, *, temperature: float = 1.0, seed: int = 0
    ) -> list[list[Rollout]]:
        """Returns `n` sampled rollouts for each problem. Raises: ConfigError unless there is something to sample."""
        if n < 1 or not temperature > 0:
            raise ConfigError(
                f"{n} samples at temperature {temperature}.", fix="Give 1 or more samples and a positive temperature."
            )
        repeated = [problem for problem in problems for _ in range(n)]
        seeds = [sample_seed(seed, problem.id, index) for problem in problems for index in range(n)]
        rollouts = self._generate(repeated, difficulty, temperature=temperature, seeds=seeds)
        return [rollouts[start : start + n] for start in range(0, len(rollouts), n)]

    def beam(
        self, problems: Sequence[Problem], difficulty: int, n_beams: int, *, length_penalty: float = 0.0
    ) -> list[list[Rollout]]:
        """Returns the likeliest rollouts for each problem, by falling score, at most `n_beams`."""
        end = end_token(self.source.tokenizer)
        params = BeamParams(
            n_beams=n_beams, max_tokens=self._most(difficulty), length_penalty=length_penalty, stop_tokens=(end,)
        )
        prompts = self._prompts(problems)
        known = self.source.tokenizer.vocab_size
        results = beam_search(self.model, prompts, params, batch_size=SEARCH_BATCH, n_tokens=known)
        self._count(prompts, difficulty, sum(result.tokens_spent for result in results))
        self.answers += sum(len(result.hypotheses) for result in results)
        return [
            [self._rollout(problem, one.tokens, one.logprobs, one.finish_reason == "stop") for one in result.hypotheses]
            for problem, result in zip(problems, results, strict=True)
        ]

    def tree(
        self,
        problems: Sequence[Problem],
        difficulty: int,
        checkers: Sequence[Checker],
        *,
        budget: int,
        max_solutions: int | None = None,
        width: int | None = None,
    ) -> list[list[Rollout]]:
        """Returns the rollouts that the checkers accept, the likeliest first; each problem has `budget` tokens."""
        tokenizer = self.source.tokenizer
        params = TreeParams(
            budget=budget,
            max_tokens=self._most(difficulty),
            stop_token=end_token(tokenizer),
            max_solutions=max_solutions,
            width=width,
        )
        prompts = self._prompts(problems)
        results = search_tree(
            self.model, prompts, checkers, tokenizer.decode, params,
            batch_size=SEARCH_BATCH, n_tokens=tokenizer.vocab_size,
        )  # fmt: skip
        self._count(prompts, difficulty, sum(result.tokens_spent for result in results))
        self.answers += sum(len(result.solutions) + result.rejected for result in results)
        return [
            [replace(self._rollout(problem, one.tokens, one.logprobs, True), reward=1.0) for one in result.solutions]
            for problem, result in zip(problems, results, strict=True)
        ]

    def bits(self, pairs: Sequence[tuple[Problem, Rollout]], difficulty: int) -> list[float]:
        """Returns `answer_bits` of answers that are chosen by them: the forward pass is counted."""
        prompts = self._prompts([problem for problem, _ in pairs])
        self._count(prompts, difficulty, sum(map(len, prompts)) + sum(len(one.tokens) - 1 for _, one in pairs))
        return answer_bits(self.model, self.source, pairs)

    def _generate(
        self, problems: Sequence[Problem], difficulty: int, *, temperature: float, seeds: Sequence[int] | None
    ) -> list[Rollout]:
        if not problems:
            return []
        prompts = self._prompts(problems)
        params = SamplingParams(
            max_tokens=self._most(difficulty), temperature=temperature, stop_tokens=(end_token(self.source.tokenizer),)
        )
        # A given model may have more ids than the tokenizer.
        known = self.source.tokenizer.vocab_size
        generations = generate_tokens(self.model, prompts, params, batch_size=ANSWER_BATCH, n_tokens=known, seeds=seeds)
        pairs = zip(prompts, generations, strict=True)
        self._count(prompts, difficulty, sum(len(prompt) + len(found.tokens) - 1 for prompt, found in pairs))
        self.answers += len(generations)
        return [
            self._rollout(problem, found.tokens, found.logprobs, found.finish_reason == "stop")
            for problem, found in zip(problems, generations, strict=True)
        ]

    def _prompts(self, problems: Sequence[Problem]) -> list[list[int]]:
        return [self.source.tokenizer.encode_ordinary(problem.prompt) for problem in problems]

    def _most(self, difficulty: int) -> int:
        return self.source.answer_tokens(difficulty) + SPARE_TOKENS

    def _count(self, prompts: Sequence[Sequence[int]], difficulty: int, tokens: int) -> None:
        if prompts:
            longest = max(map(len, prompts)) + self._most(difficulty)
            # A forward pass is a third of a training step.
            self.flops += tokens * training_flops_per_token(self.model, longest) / 3

    def _rollout(self, problem: Problem, tokens: tuple[int, ...], logprobs: tuple[float, ...], ended: bool) -> Rollout:
        return Rollout(
            problem_id=problem.id,
            text=self.source.tokenizer.decode(tokens[: -1 if ended else None]),
            tokens=tokens,
            logprobs=logprobs,
            finish_reason="stop" if ended else "length",
        )


def sample_seed(seed: int, problem_id: str, index: int) -> int:
    """Returns the seed of one sample of a problem, below 2**63."""
    digest = hashlib.sha256(f"{seed}\0{problem_id}\0{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def answer_bits(model: Transformer, source: ProblemSource, pairs: Sequence[tuple[Problem, Rollout]]) -> list[float]:
    """Returns -log2 p(answer | prompt) of each rollout under a model, its end included: what it would tell that model.

    A forward pass over all of them; nothing is counted, since it only measures.
    """
    encode = source.tokenizer.encode_ordinary
    found: list[float] = []
    for start in range(0, len(pairs), ANSWER_BATCH):
        rows = [
            (encode(problem.prompt), list(rollout.tokens)) for problem, rollout in pairs[start : start + ANSWER_BATCH]
        ]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        targets = torch.full((len(rows), longest), IGNORE_INDEX, dtype=torch.long)
        for row, (prompt, answer) in enumerate(rows):
            whole = torch.tensor([*prompt, *answer])
            ids[row, : len(whole)] = whole
            targets[row, len(prompt) : len(whole)] = whole[len(prompt) :]
        losses = model.token_losses(ids[:, :-1].to(model.device), targets[:, 1:].contiguous().to(model.device))
        found += (losses.sum(dim=1) / math.log(2)).tolist()
    return found


def parsed(source: ProblemSource, rollout: Rollout) -> str | None:
    """Returns the answer of a rollout; None where it was cut or gives none."""
    return source.parse(rollout.text) if rollout.finish_reason == "stop" else None


def is_right(family: TaskFamily, problem: Problem, rollout: Rollout) -> bool:
    """Whether the rollout ends and its answer is verified."""
    answer = parsed(family, rollout)
    return answer is not None and family.verify(problem, answer)


def which_right(family: TaskFamily, pairs: Sequence[tuple[Problem, Rollout]]) -> list[bool]:
    """Returns whether each rollout answers its problem right; equal answers to a problem are verified once."""
    answers = [(problem, parsed(family, rollout)) for problem, rollout in pairs]
    asked = {(problem.id, answer): (problem, answer) for problem, answer in answers if answer is not None}
    if isinstance(family, VerifiesMany):
        verdicts = family.verify_many(list(asked.values()))
    else:
        verdicts = [family.verify(problem, answer) for problem, answer in asked.values()]
    right = dict(zip(asked, verdicts, strict=True))
    return [answer is not None and right[problem.id, answer] for problem, answer in answers]


def accuracy(model: Transformer, family: TaskFamily, problems: Mapping[int, Sequence[Problem]]) -> tuple[float, ...]:
    """Returns the share of right answers per difficulty, in 0..1; nan where there is no problem."""
    return tuple(
        share_right(family, group, Answerer(model, family)(group, difficulty)) for difficulty, group in problems.items()
    )


def share_right(family: TaskFamily, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> float:
    """Returns the share of rollouts that answer their problem right; nan where there is none."""
    right = which_right(family, list(zip(problems, rollouts, strict=True)))
    return sum(right) / len(right) if right else math.nan


def training_flops_per_token(model: Transformer, seq: int) -> float:
    """Returns the FLOPs of training on a token in sequences of `seq` tokens."""
    return replace(model.config, context_length=seq).flops_per_token
