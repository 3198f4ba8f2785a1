"""A model's answers to problems as rollouts, and the share of them that is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tilth.improve.family import end_token
from tilth.inference import SamplingParams, generate_tokens
from tilth.model import Transformer
from tilth.synthesis.verify.task_family import ProblemSource, TaskFamily
from tilth.types import Problem, Rollout

SPARE_TOKENS = 2
"""How much longer than an answer needs to be a rollout may grow before it is cut, so that too long is seen as wrong."""
ANSWER_BATCH = 512
"""Prompts answered at a time."""


@dataclass
class Answerer:
    """A model that answers problems greedily, and counts the FLOPs of it."""

    model: Transformer
    source: ProblemSource
    flops: float = 0.0

    def __call__(self, problems: Sequence[Problem], difficulty: int) -> list[Rollout]:
        """Returns a rollout for each problem; all must be of one difficulty, which bounds the length."""
        if not problems:
            return []
        tokenizer, end = self.source.tokenizer, end_token(self.source.tokenizer)
        prompts = [tokenizer.encode_ordinary(problem.prompt) for problem in problems]
        most = self.source.answer_tokens(difficulty) + SPARE_TOKENS
        params = SamplingParams(max_tokens=most, temperature=0.0, stop_tokens=(end,))
        generations = generate_tokens(
            self.model, prompts, params, batch_size=ANSWER_BATCH, n_tokens=tokenizer.vocab_size
        )
        tokens = sum(
            len(prompt) + len(generation.tokens) - 1 for prompt, generation in zip(prompts, generations, strict=True)
        )
        # A forward pass is a third of a training step.
        longest = max(map(len, prompts)) + most
        self.flops += tokens * training_flops_per_token(self.model, longest) / 3
        return [
            Rollout(
                problem_id=problem.id,
                text=tokenizer.decode(generation.tokens[: -1 if generation.finish_reason == "stop" else None]),
                tokens=generation.tokens,
                logprobs=generation.logprobs,
                finish_reason=generation.finish_reason,
            )
            for problem, generation in zip(problems, generations, strict=True)
        ]


def parsed(source: ProblemSource, rollout: Rollout) -> str | None:
    """Returns the answer of a rollout; None where it was cut or gives none."""
    return source.parse(rollout.text) if rollout.finish_reason == "stop" else None


def is_right(family: TaskFamily, problem: Problem, rollout: Rollout) -> bool:
    """Whether the rollout ends and its answer is verified."""
    answer = parsed(family, rollout)
    return answer is not None and family.verify(problem, answer)


def accuracy(model: Transformer, family: TaskFamily, problems: Mapping[int, Sequence[Problem]]) -> tuple[float, ...]:
    """Returns the share of right answers per difficulty, in 0..1; nan where there is no problem."""
    return tuple(
        share_right(family, group, Answerer(model, family)(group, difficulty)) for difficulty, group in problems.items()
    )


def share_right(family: TaskFamily, problems: Sequence[Problem], rollouts: Sequence[Rollout]) -> float:
    """Returns the share of rollouts that answer their problem right; nan where there is none."""
    right = [is_right(family, problem, rollout) for problem, rollout in zip(problems, rollouts, strict=True)]
    return sum(right) / len(right) if right else math.nan


def training_flops_per_token(model: Transformer, seq: int) -> float:
    """Returns the FLOPs of training on a token in sequences of `seq` tokens."""
    return replace(model.config, context_length=seq).flops_per_token
