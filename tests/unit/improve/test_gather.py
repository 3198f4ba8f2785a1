"""When an arm moves on to harder problems, and how long it tries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tilth.improve.checkpoint import Harvest
from tilth.improve.config import LoopConfig
from tilth.improve.gather import gather
from tilth.improve.practice import Exercises
from tilth.improve.task import Ints, Reverse, fixed_prompts
from tilth.improve.verify import Answerer
from tilth.model import ModelConfig, Transformer

TASK = Reverse()
CONFIG = LoopConfig(base_difficulty=3, samples=40, max_draws=4, promote_at=0.5, rounds=4)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=28, d_model=8, n_layers=1, n_heads=1, d_ff=8, rope_theta=None))


def gathered(model: Transformer, share: Callable[[int], float], difficulty: int, *, gated: bool = True) -> Harvest:
    """Gathers with a verifier that accepts a share of the problems of each difficulty."""

    def verify(answer: Answerer, prompts: Ints) -> tuple[Ints, Ints]:
        accepted = np.arange(int(len(prompts) * share(prompts.shape[1] - 1)))
        return accepted, TASK.answers(prompts[accepted])

    rng = np.random.default_rng(0)
    held_out = {d: fixed_prompts(TASK, d, 10, rng) for d in CONFIG.measured_difficulties}
    return gather(model, Exercises(TASK, CONFIG, held_out), verify, difficulty, rng, gated=gated)


def test_moves_on_and_fills_up(model: Transformer) -> None:
    harvest = gathered(model, lambda difficulty: 0.5, 3)
    assert harvest.difficulty == 4
    assert harvest.prompts.shape == (40, 5) and harvest.answers.shape == (40, 5)
    assert harvest.generated >= 80


def test_stays_where_too_little_is_accepted(model: Transformer) -> None:
    harvest = gathered(model, lambda difficulty: 0.4 if difficulty == 5 else 1.0, 4)
    assert harvest.difficulty == 4
    assert harvest.prompts.shape == (40, 5)
    assert harvest.generated == 40 + 40


def test_stays_on_base_data_without_an_answer(model: Transformer) -> None:
    harvest = gathered(model, lambda difficulty: 0.0, 3)
    assert harvest.difficulty == 3
    assert len(harvest.prompts) == 0 and harvest.generated == 40


def test_gives_up_in_time(model: Transformer) -> None:
    harvest = gathered(model, lambda difficulty: 0.1 if difficulty == 4 else 0.0, 4)
    assert len(harvest.prompts) == 16
    assert harvest.generated == 40 + 4 * 40


def test_ungated_takes_what_comes(model: Transformer) -> None:
    harvest = gathered(model, lambda difficulty: 0.25, 3, gated=False)
    assert harvest.difficulty == 4
    assert len(harvest.prompts) == 10 and harvest.generated == 40
