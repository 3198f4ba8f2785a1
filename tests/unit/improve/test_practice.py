"""Batches of problems, training on them, and greedy answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.improve.config import LoopConfig
from tilth.improve.practice import Answering, Exercises, accuracy, collate, one_quiet_thread, practise, rate_factor
from tilth.improve.task import END, Reverse, fixed_prompts
from tilth.model import IGNORE_INDEX, ModelConfig, Transformer

TASK = Reverse()
CONFIG = LoopConfig(base_difficulty=3, batch_size=64, rounds=3)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def exercises() -> Exercises:
    return Exercises(TASK, CONFIG, {d: fixed_prompts(TASK, d, 10, rng()) for d in CONFIG.measured_difficulties})


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocab_size=28, d_model=32, n_layers=2, n_heads=2, d_ff=64, rope_theta=None))


def test_only_answers_are_targets() -> None:
    short = (np.array([[1, 2, 27]]), np.array([[2, 1, END]]))
    own = (np.array([[3, 4, 5, 27]]), np.array([[5, END, END, END, END, END]]))
    ids, targets = collate([short, own])
    assert ids.tolist() == [[1, 2, 27, 2, 1, 0, 0, 0, 0], [3, 4, 5, 27, 5, 0, 0, 0, 0]]
    x = IGNORE_INDEX
    assert targets.tolist() == [[x, x, 2, 1, END, x, x, x, x], [x, x, x, 5, END, x, x, x, x]]


def lengths(ids: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray((ids == TASK.equals).int().argmax(dim=1))


def test_base_batches_hold_difficulties_in_proportion(exercises: Exercises) -> None:
    chance = rng()
    drawn = np.concatenate([lengths(exercises.batch(chance)[0]) for _ in range(50)])
    shares = np.bincount(drawn, minlength=4)[1:] / len(drawn)
    np.testing.assert_allclose(shares, np.array([1, 2, 3]) / 6, atol=0.03)


def test_a_round_draws_own_answers_and_more_of_the_newest(exercises: Exercises) -> None:
    prompts = TASK.prompts(4, 5, rng())
    more = exercises.plus(4, prompts, TASK.answers(prompts))
    more = more.plus(4, prompts, TASK.answers(prompts))
    assert 4 not in exercises.pool and len(more.pool[4][0]) == 10
    chance = rng()
    drawn = np.concatenate([lengths(more.batch(chance, newest=4)[0]) for _ in range(50)])
    assert np.mean(drawn == 4) == pytest.approx(0.25 + 0.75 * 0.4, abs=0.03)


def test_batches_never_hold_what_is_measured_on(exercises: Exercises) -> None:
    chance = rng()
    measured = {tuple(row) for prompts in exercises.held_out.values() for row in prompts.tolist()}
    for _ in range(20):
        for row in exercises.batch(chance)[0].tolist():
            assert tuple(row[: row.index(TASK.equals) + 1]) not in measured


def test_practice_lowers_the_loss_and_counts_flops(exercises: Exercises, model: Transformer) -> None:
    ids, targets = exercises.batch(rng())
    before = model(ids, targets=targets).item()
    with one_quiet_thread():
        flops = practise(model, lambda: (ids, targets), 30, 5e-3)
    assert model(ids, targets=targets).item() < 0.8 * before
    assert flops == pytest.approx(30 * ids.numel() * 6 * model.config.n_params, rel=0.3)


def test_answers_are_filled_with_end(model: Transformer) -> None:
    answering = Answering(model, TASK, 3)
    prompts = TASK.prompts(3, 7, rng())
    answers = answering(prompts)
    assert answers.shape == (7, TASK.answer_length(3) + 2)
    for row in answers:
        ended = np.flatnonzero(row == END)
        assert not len(ended) or (row[ended[0] :] == END).all()
    assert answering.flops > 0


def test_accuracy_is_a_share_per_difficulty(exercises: Exercises, model: Transformer) -> None:
    shares = accuracy(model, TASK, exercises.held_out)
    assert len(shares) == len(CONFIG.measured_difficulties)
    assert all(0 <= share <= 1 for share in shares)


def test_one_thread_only_inside() -> None:
    threads = torch.get_num_threads()
    with one_quiet_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_the_rate_rises_stays_and_falls() -> None:
    factors = [rate_factor(step, 80) for step in range(80)]
    assert factors[:10] == sorted(factors[:10]) and factors[0] < 0.1
    assert set(factors[10:56]) == {1.0}
    assert factors[56:] == sorted(factors[56:], reverse=True) and 0 < factors[-1] < 0.05
    assert 0 < rate_factor(0, 1) <= 1
