"""A round's new data: problems that the model answers itself, as far as its verifier accepts the answers.

Verified arms have two safeguards that need no answer key. They move on to harder problems only when enough
answers are accepted (a model that its verifier seldom accepts would teach itself its own mistakes), and they
go on trying until the wished number of answers is together, so that a low yield is not paid for with less
data. The price is more generation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tilth.improve.checkpoint import Harvest
from tilth.improve.practice import Answering, Exercises
from tilth.improve.task import Ints
from tilth.improve.verify import Verifier
from tilth.model import Transformer


@dataclass
class _Attempts:
    """Problems of one difficulty tried so far, and what was accepted."""

    answering: Answering
    exercises: Exercises
    verify: Verifier
    rng: np.random.Generator
    drawn: int = 0
    prompts: list[Ints] = field(default_factory=list[Ints])
    answers: list[Ints] = field(default_factory=list[Ints])

    @property
    def accepted(self) -> int:
        return sum(map(len, self.prompts))

    def draw(self, n: int) -> None:
        prompts = self.exercises.fresh(self.answering.difficulty, n, self.rng)
        accepted, answers = self.verify(self.answering, prompts)
        self.drawn += n
        self.prompts.append(prompts[accepted])
        self.answers.append(answers)

    def fill(self, wanted: int, most: int) -> None:
        """Draws until `wanted` are accepted or `most` are drawn."""
        while (missing := wanted - self.accepted) > 0 and self.drawn < most:
            share = self.accepted / self.drawn if self.drawn else 1.0
            self.draw(min(most - self.drawn, math.ceil(missing / share) if share else most))

    def harvest(self, most: int) -> Harvest:
        return Harvest(
            difficulty=self.answering.difficulty,
            prompts=np.concatenate(self.prompts)[:most],
            answers=np.concatenate(self.answers)[:most],
            generated=self.drawn,
            flops=self.answering.flops,
        )


def gather(
    model: Transformer,
    exercises: Exercises,
    verify: Verifier,
    difficulty: int,
    rng: np.random.Generator,
    *,
    gated: bool,
) -> Harvest:
    """Collects the model's accepted answers to problems one step harder than `difficulty`.

    Gated: where too few of the first answers are accepted, the model stays at `difficulty` for this round
    (and draws nothing, if that is base data); and it tries until it has `samples` answers or has made
    `max_draws` times as many attempts. Not gated: it takes what the first `samples` attempts give.
    """
    config = exercises.config
    harder = _attempts(model, exercises, verify, difficulty + 1, rng)
    harder.draw(config.samples)
    if not gated:
        return harder.harvest(config.samples)
    most = config.samples * config.max_draws
    if harder.accepted >= config.promote_at * config.samples:
        harder.fill(config.samples, most)
        return harder.harvest(config.samples)
    wasted = Harvest(difficulty=difficulty, generated=harder.drawn, flops=harder.answering.flops)
    if difficulty <= config.base_difficulty:
        return wasted
    again = _attempts(model, exercises, verify, difficulty, rng)
    again.fill(config.samples, most)
    found = again.harvest(config.samples)
    return Harvest(
        difficulty=difficulty,
        prompts=found.prompts,
        answers=found.answers,
        generated=wasted.generated + found.generated,
        flops=wasted.flops + found.flops,
    )


def _attempts(
    model: Transformer, exercises: Exercises, verify: Verifier, difficulty: int, rng: np.random.Generator
) -> _Attempts:
    return _Attempts(Answering(model, exercises.task, difficulty), exercises, verify, rng)
