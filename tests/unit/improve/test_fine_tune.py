"""Training inside the loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.improve import Reverse
from tilth.improve.config import LoopConfig
from tilth.improve.fine_tune import batch_flops, batches_worth, fine_tune, one_thread
from tilth.improve.problem_pool import ProblemPool
from tilth.model import ModelConfig, Transformer

CONFIG = LoopConfig(base_difficulty=3, batch_size=64, rounds=3, learning_rate=5e-3)
POOL = ProblemPool(Reverse(), CONFIG, frozenset())


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=28, d_model=32, n_layers=2, n_heads=2, d_ff=64, rope_theta=None))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_lowers_the_loss_and_counts_flops(model: Transformer) -> None:
    batch = POOL.batch(rng())
    before = mean_loss(model, batch.inputs, batch.targets)
    with one_thread():
        trained = fine_tune(model, [batch] * 30, 30, CONFIG)
    assert mean_loss(model, batch.inputs, batch.targets) < 0.8 * before
    assert not model.training
    assert trained.flops == 30 * batch_flops(model, batch)
    assert trained.flops == pytest.approx(30 * batch.inputs.numel() * 6 * model.config.n_params, rel=0.3)


def mean_loss(model: Transformer, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    logits = model(inputs).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=-100).item()


def test_the_same_batches_give_the_same_weights(model: Transformer) -> None:
    other = Transformer(model.config)
    other.load_state_dict(model.state_dict())
    with one_thread():
        for trained in (model, other):
            fine_tune(trained, POOL.batches(rng(), 5), 5, CONFIG)
    for weight, again in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, again)


@pytest.mark.parametrize("steps", [0.2, 1.0, 3.4, 7.6])
def test_batches_worth_are_the_nearest_number_of_steps(model: Transformer, steps: float) -> None:
    one = batch_flops(model, POOL.batch(rng()))
    batches = batches_worth(POOL, rng(), model, steps * one)
    assert len(batches) == max(1, round(steps))


def test_one_thread_only_inside() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
