"""Collects a round's pseudo-labels: problems that the model answers itself, as far as its labeller accepts the answers.

Gated arms have two safeguards that need no right answers. They move on to harder problems only when the labeller
accepts enough answers to the validation problems of that difficulty (a model whose answers are seldom accepted would
teach itself its own mistakes), and they try until the wished number of pseudo-labels is there, so that a low yield
means more generation instead of less data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tilth.improve.answering import Answerer
from tilth.improve.config import LoopConfig
from tilth.improve.pseudo_labels import Labeller, PseudoLabel
from tilth.types import Problem

NEARLY_NONE = 0.05
"""Share of accepted answers at which harder problems are not tried for the score."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Pseudo-labels of one difficulty, and what they took."""

    difficulty: int
    pseudo_labels: tuple[PseudoLabel, ...] = ()
    generated: int = 0
    """Problems answered for them."""
    accepted: int = 0
    """Answers that the labeller accepted; more may have been accepted than are kept."""
    flops: float = 0.0
    """Of all generation, the validation problems of the gate included."""


@dataclass
class Collector:
    """What an arm collects with: its model, its labeller and its problems."""

    answerer: Answerer
    label: Labeller
    propose: Callable[[int, int], Sequence[Problem]]
    """Draws `(difficulty, n)` problems that are not measured on."""
    config: LoopConfig

    def one_harder(self, difficulty: int) -> Collected:
        """Takes what `samples` attempts at the next difficulty give, without a gate."""
        problems = self.propose(difficulty + 1, self.config.samples)
        labels = self.label(self.answerer, problems, difficulty + 1)
        return self._collected(difficulty + 1, labels, len(problems), len(labels))

    def gated(self, difficulty: int, validation: Mapping[int, Sequence[Problem]]) -> Collected:
        """Tries until `samples` answers are accepted or `max_draws` times as many problems are tried.

        The difficulty is one higher where `promote_at` of its validation problems get an accepted answer. At a
        difficulty of the base data nothing is collected: there are right answers to its problems.
        """
        judged = validation[difficulty + 1]
        # A labeller may give a problem several labels.
        accepted = len({label.problem.id for label in self.label(self.answerer, judged, difficulty + 1)})
        if judged and accepted >= self.config.promote_at * len(judged):
            difficulty += 1
        if difficulty <= self.config.base_difficulty:
            return self.nothing(difficulty)
        return self.fill(difficulty, self.config.samples)

    def fill(self, difficulty: int, wanted: int) -> Collected:
        """Tries until `wanted` answers are accepted or `max_draws` times `samples` problems are tried."""
        most = self.config.samples * self.config.max_draws
        labels: list[PseudoLabel] = []
        drawn = 0
        while len(labels) < wanted and drawn < most:
            share = len(labels) / drawn if drawn else 1.0
            missing = wanted - len(labels)
            n = min(most - drawn, math.ceil(missing / share) if share else most)
            labels += self.label(self.answerer, self.propose(difficulty, n), difficulty)
            drawn += n
        return self._collected(difficulty, labels[:wanted], drawn, len(labels))

    def nothing(self, difficulty: int) -> Collected:
        """Collects nothing; what was generated to decide so is counted."""
        return self._collected(difficulty, [], 0, 0)

    def accepted_shares(self, validation: Mapping[int, Sequence[Problem]]) -> dict[str, float]:
        """Returns the share of accepted answers per difficulty, up to the first of (nearly) none: the controller's
        score."""
        shares: dict[str, float] = {}
        for difficulty, judged in sorted(validation.items()):
            if not judged:
                break
            answered = {label.problem.id for label in self.label(self.answerer, judged, difficulty)}
            shares[str(difficulty)] = len(answered) / len(judged)
            if len(answered) <= NEARLY_NONE * len(judged):
                break
        return shares

    def _collected(self, difficulty: int, labels: Sequence[PseudoLabel], generated: int, accepted: int) -> Collected:
        return Collected(
            difficulty=difficulty,
            pseudo_labels=tuple(labels),
            generated=generated,
            accepted=accepted,
            flops=self.answerer.flops,
        )
