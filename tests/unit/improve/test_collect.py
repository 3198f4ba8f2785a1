"""When an arm moves on to harder problems, and how long it tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from tilth.improve import Reverse
from tilth.improve.answering import Answerer
from tilth.improve.collect import Collector
from tilth.improve.config import LoopConfig
from tilth.improve.pseudo_labels import Answer, PseudoLabel
from tilth.model import ModelConfig, Transformer
from tilth.types import Problem
from unit.improve.families import rollout

FAMILY = Reverse()
CONFIG = LoopConfig(base_difficulty=3, samples=40, max_draws=4, promote_at=0.5, rounds=4)
VALIDATION = {d: FAMILY.propose(d, 20, np.random.default_rng(d)) for d in range(1, 10)}


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=28, d_model=8, n_layers=1, n_heads=1, d_ff=8, rope_theta=None))


def collector(model: Transformer, share: Callable[[int], float]) -> Collector:
    """A collector whose labeller accepts a share of the problems of each difficulty."""

    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        accepted = problems[: int(len(problems) * share(difficulty))]
        return [PseudoLabel(problem=p, rollout=rollout(p, p.prompt[-2::-1])) for p in accepted]

    rng = np.random.default_rng(0)
    return Collector(Answerer(model, FAMILY), label, lambda difficulty, n: FAMILY.propose(difficulty, n, rng), CONFIG)


def test_moves_on_and_fills_up(model: Transformer) -> None:
    collected = collector(model, lambda difficulty: 0.5).gated(3, VALIDATION)
    assert collected.difficulty == 4
    assert len(collected.pseudo_labels) == 40
    assert {label.problem.difficulty for label in collected.pseudo_labels} == {4}
    assert collected.generated >= 80


def test_stays_where_too_little_is_accepted(model: Transformer) -> None:
    collected = collector(model, lambda difficulty: 0.45 if difficulty == 5 else 1.0).gated(4, VALIDATION)
    assert collected.difficulty == 4
    assert {label.problem.difficulty for label in collected.pseudo_labels} == {4}
    assert (len(collected.pseudo_labels), collected.generated) == (40, 40)


def test_stays_on_base_data_without_a_pseudo_label(model: Transformer) -> None:
    collected = collector(model, lambda difficulty: 0.0).gated(3, VALIDATION)
    assert (collected.difficulty, collected.pseudo_labels, collected.generated) == (3, (), 0)


def test_gives_up_in_time(model: Transformer) -> None:
    collected = collector(model, lambda difficulty: 0.1 if difficulty == 4 else 0.0).gated(4, VALIDATION)
    assert (len(collected.pseudo_labels), collected.generated) == (16, 4 * 40)


def test_ungated_takes_what_comes(model: Transformer) -> None:
    collected = collector(model, lambda difficulty: 0.25).one_harder(3)
    assert (collected.difficulty, len(collected.pseudo_labels), collected.generated) == (4, 10, 40)


def test_promotion_counts_the_generation_of_the_gate(model: Transformer) -> None:
    def label(answer: Answer, problems: Sequence[Problem], difficulty: int) -> list[PseudoLabel]:
        answer(problems, difficulty)
        return []

    collecting = collector(model, lambda difficulty: 0.0)
    collecting.label = label
    collected = collecting.gated(3, VALIDATION)
    assert collected.generated == 0
    answerer = Answerer(model, FAMILY)
    answerer(VALIDATION[4], 4)
    assert collected.flops == answerer.flops > 0
