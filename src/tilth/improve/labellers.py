"""Which labeller an arm has: by its row in the table of arms, and by `LoopConfig.label_with` where that is treated.

An arm without labels of others is handed a source that holds no answers and can verify none; only the oracle, and
labellers that ask a checker by their name, get the family.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tilth.improve.arms import ArmPlan
from tilth.improve.config import LoopConfig
from tilth.improve.family import Identity
from tilth.improve.pseudo_labels import Labeller, label_by_vote, label_everything, label_verified
from tilth.improve.search_labels import SearchParams, label_best_of_n, label_by_sample_vote, search_labeller
from tilth.improve.seed_run import SeedRun
from tilth.synthesis.verify.task_family import Augmentable, Augmentation, ProblemSource, TaskFamily


def labeller_of(
    plan: ArmPlan, run: SeedRun, source: ProblemSource, rng: np.random.Generator, *, difficulty: int
) -> Labeller:
    """Returns the labeller of an arm for one round that stands at a difficulty; it draws from `rng`.

    Raises: ConfigError if the family lacks what the labeller needs.
    """
    if plan.labels == "everything":
        return label_everything(source)
    if plan.labels == "oracle":
        return label_verified(run.family)
    config = run.config
    if config.label_with == "vote":
        return label_by_vote(source, partial(_augmentations, run.family, config, rng), config.min_agreement)
    params, seed = _search(run, difficulty), int(rng.integers(2**31))
    if config.label_with == "sample_vote":
        return label_by_sample_vote(source, params, seed)
    if config.label_with == "best_of_n":
        return label_best_of_n(source, params, seed)
    return search_labeller(config.label_with, run.family, params, seed)


def _search(run: SeedRun, difficulty: int) -> SearchParams:
    """What a problem may take: a tree search has the tokens of as many samples one step harder."""
    n = run.config.samples_per_problem
    tokens = run.longest + n * run.family.answer_tokens(difficulty + 1)
    return SearchParams(samples=n, n_beams=n, tree_tokens=tokens)


def _augmentations(family: TaskFamily, config: LoopConfig, rng: np.random.Generator) -> list[Augmentation]:
    assert isinstance(family, Augmentable)
    return [Identity(), *family.augmentations(config.augmentations - 1, rng)]
