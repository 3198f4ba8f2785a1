"""Pseudo-labels to problems of the self-play proposer: what the arm `self_play` collects in a round.

The proposer of the last good round is in that round's folder, and the one that learned from this round goes into this
one's, so that a killed round begins with the same proposer again. Its pass rates are shares of samples that agree, or,
where labels come from a checker anyway, that the checker accepts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tilth.improve.arms import CHECKED, PLANS
from tilth.improve.collect import Collected, Collector
from tilth.improve.family import propose_other_than
from tilth.improve.pseudo_labels import PseudoLabel
from tilth.improve.rounds import PROPOSER
from tilth.improve.seed_run import SeedRun
from tilth.improve.self_play import Outcome, Proposable, Proposer, ProposerConfig, agreement_rates, pass_rates
from tilth.synthesis.verify.task_family import ProblemSource
from tilth.types import Problem

BASE_PROMPTS = 200
"""Prompts of each difficulty that the proposer is trained on first."""
BEYOND = 2
"""Difficulties beyond the base data among them: a proposer that has seen none writes none, and all arms may draw such
problems, which come without answers."""


def collect_proposed(
    run: SeedRun,
    source: ProblemSource,
    collector: Collector,
    rng: np.random.Generator,
    *,
    difficulty: int,
    before: Path,
    after: Path,
) -> Collected:
    """Labels what the proposer writes, and lets it learn; `before` and `after` are the folders of two rounds."""
    proposer = _proposer(run, source, before / PROPOSER)
    spent = proposer.flops if (before / PROPOSER).exists() else 0.0
    problems = _by_difficulty(run, proposer.propose(run.config.samples, rng).problems)
    beyond = {level: group for level, group in problems.items() if level > run.config.base_difficulty}
    labels: list[PseudoLabel] = []
    outcomes: list[Outcome] = []
    reached = difficulty
    for level, group in sorted(problems.items()):
        outcomes += _outcomes(run, source, collector, level, group, seed=int(rng.integers(2**31)))
        if level not in beyond:  # right answers are known there
            continue
        found = collector.label(collector.answerer, group, level)
        labels += found
        if found and len({label.problem.id for label in found}) >= run.config.promote_at * len(group):
            reached = max(reached, level)
    proposer.learn(outcomes)
    proposer.save(after / PROPOSER)
    return Collected(
        difficulty=reached,
        pseudo_labels=tuple(labels),
        generated=sum(map(len, beyond.values())),
        accepted=len(labels),
        flops=collector.answerer.flops + proposer.flops - spent,
    )


def _by_difficulty(run: SeedRun, problems: Sequence[Problem]) -> Mapping[int, list[Problem]]:
    """Returns the problems that are not harder than what is measured."""
    hardest = run.config.measured_difficulties[-1]
    groups: defaultdict[int, list[Problem]] = defaultdict(list)
    for problem in problems:
        level = int(problem.difficulty or 0)
        if 0 < level <= hardest:
            groups[level].append(problem)
    return groups


def _outcomes(
    run: SeedRun, source: ProblemSource, collector: Collector, difficulty: int, group: Sequence[Problem], *, seed: int
) -> list[Outcome]:
    rollouts = collector.answerer.sample(group, difficulty, run.config.augmentations, seed=seed)
    if run.config.label_with in CHECKED:
        return pass_rates(run.family, group, rollouts)
    return agreement_rates(source, group, rollouts)


def _proposer(run: SeedRun, source: ProblemSource, folder: Path) -> Proposer:
    rng, excluded, base = run.rng(PLANS["self_play"].key, 0), run.split.excluded, run.config.base_difficulty
    drawn = [p for d in range(1, base + BEYOND + 1) for p in propose_other_than(excluded, source, d, BASE_PROMPTS, rng)]
    prompts = list(dict.fromkeys(problem.prompt for problem in drawn))
    config = ProposerConfig(seed=run.seed, max_tokens=run.longest + 1)
    # A family that reads prompts is asked for nothing else.
    reading = run.family if isinstance(run.family, Proposable) else source
    if folder.exists():
        return Proposer.load(folder, reading, config, prompts, excluded, run.context.device)
    return Proposer.make(reading, config, prompts, excluded, run.context.device)
