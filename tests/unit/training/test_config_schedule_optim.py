"""Settings, the learning rate as a function of tokens, and the optimizer's groups."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tilth.errors import ConfigError
from tilth.model import ModelConfig, Projection, Transformer, load_model, save_model
from tilth.model.transformer import Block
from tilth.training import Schedule, TrainConfig, adamw, muon
from tilth.training.optim import Muon, make_optimizers, orthogonalize
from tilth.training.pretraining import schedule_of


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": 0},
        {"eval_bytes": 0},
        {"learning_rate": 0.0},
        {"gradient_clip": -1.0},
        {"beta2": 1.0},
        {"schedule": "step"},
        {"optimizer": "sgd"},
        {"muon_learning_rate": 0.0},
        {"decay_fraction": 1.2},
        {"warmup_tokens": -1},
        {"global_batch_tokens": 0},
        {"short_rows": 0},
        {"initial_embeddings": "trigrams"},
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))) as caught:
        TrainConfig(**fields)
    assert caught.value.fix


def test_warmup_stable_decay_by_hand() -> None:
    schedule = Schedule(steps=1000, warmup_steps=100, decay_fraction=0.4)
    points = {0: 0.0, 50: 0.5, 100: 1.0, 400: 1.0, 600: 1.0, 800: 0.5, 1000: 0.0, 1100: 0.0}
    assert {done: schedule.at(done) for done in points} == pytest.approx(points)
    assert schedule.lr_multiplier(49) == pytest.approx(0.495)


def test_cosine_by_hand() -> None:
    schedule = Schedule(steps=1000, warmup_steps=200, shape="cosine")
    points = {100: 0.5, 200: 1.0, 600: 0.5, 1000: 0.0}
    assert {done: schedule.at(done) for done in points} == pytest.approx(points)


def test_without_warmup_or_decay_the_rate_is_flat() -> None:
    schedule = Schedule(steps=10)
    assert {schedule.lr_multiplier(step) for step in range(10)} == {1.0}


@pytest.mark.parametrize("shape", ["wsd", "cosine"])
@pytest.mark.parametrize("tokens", [1000, 1001, 1024, 1500, 1535])
def test_no_step_has_a_rate_of_zero(tokens: int, shape: Any) -> None:
    config = TrainConfig(tokens=tokens, warmup_tokens=100, decay_fraction=0.9, schedule=shape)
    schedule = schedule_of(config, 512, tokens)
    assert schedule.steps * 512 >= tokens > (schedule.steps - 1) * 512
    rates = [schedule.lr_multiplier(step) for step in range(schedule.steps)]
    assert min(rates) > 0
    # The decay ends at 0 with the last step's end, so its middle is half a step away from it.
    assert schedule.at(schedule.steps) == pytest.approx(0)


@pytest.mark.parametrize(
    "fields", [{"steps": 0}, {"warmup_steps": -1}, {"decay_fraction": 1.5}, {"shape": "step"}], ids=str
)
def test_a_schedule_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Schedule(**{"steps": 10, **fields})
    assert caught.value.fix


def test_only_matrices_decay_and_muon_takes_those_of_the_blocks() -> None:
    model = Transformer(ModelConfig(vocab_size=10, d_model=8, n_layers=1, n_heads=2))
    adamw_only = make_optimizers(model, TrainConfig(weight_decay=0.3, optimizer="adamw"))
    both = make_optimizers(model, TrainConfig(weight_decay=0.3, optimizer="muon"))
    assert list(adamw_only) == ["adamw"] and list(both) == ["adamw", "muon"]
    for optimizers in (adamw_only, both):
        groups = [group for optimizer in optimizers.values() for group in optimizer.param_groups]
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
        for group in groups:
            assert {p.ndim for p in group["params"]} == ({2} if group["weight_decay"] else {1})
    (embedding,) = both["adamw"].param_groups[0]["params"]
    assert embedding is model.embedding.weight


def test_one_optimizer_may_move_everything() -> None:
    assert list(make_optimizers(nn.Sequential(Projection(4, 4)), TrainConfig(optimizer="muon"))) == ["muon"]


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 48, 16), (16, 48)])
def test_orthogonalizing_keeps_the_vectors_and_evens_the_values(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    result = orthogonalize(matrices)
    torch.testing.assert_close(result, u @ vh, atol=0.2, rtol=0)
    assert torch.linalg.svdvals(result).max() < 1.2


def test_a_muon_step_by_hand() -> None:
    weight = torch.nn.Parameter(torch.eye(2))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.5)
    weight.grad = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    optimizer.step()
    # The gradient's orthogonal factor is the identity.
    expected = (1 - 0.1 * 0.5) - 0.1
    torch.testing.assert_close(weight.detach(), expected * torch.eye(2), atol=0.02, rtol=0)


def test_muon_scales_tall_matrices_up() -> None:
    weight = torch.nn.Parameter(torch.zeros(32, 8))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.0)
    weight.grad = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert torch.linalg.svdvals(weight.detach()).mean().item() == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_a_large_gradient_of_one_part_takes_nothing_from_the_others(kv_heads: int) -> None:
    """q, k and v are stored as one matrix; each moves as if it stood alone."""
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=10, d_model=64, n_layers=2, n_heads=4, n_kv_heads=kv_heads)
    model = Transformer(config)
    optimizer = muon(model, peak_lr=1.0, weight_decay=0.0)
    assert isinstance(model.blocks[0], Block)
    weight = model.blocks[0].attention.qkv.weight
    parts = (64, 16 * kv_heads, 16 * kv_heads)
    gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    gradient[-parts[2] :] *= 10
    weight.grad = gradient.clone()
    before = weight.detach().clone()
    optimizer.step()
    steps = (before - weight.detach()).split(parts)
    for step, part in zip(steps, gradient.split(parts), strict=True):
        alone = torch.nn.Parameter(torch.zeros_like(part))
        alone.grad = part.clone()
        Muon([alone], lr=1.0, weight_decay=0.0).step()
        torch.testing.assert_close(step, -alone.detach(), atol=1e-4, rtol=1e-4)
        assert float(step.norm()) == pytest.approx(min(step.shape) ** 0.5, rel=0.06)


class Wrapper(nn.Module):
    """Puts a prefix before all names, as DDP and FSDP do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


@pytest.mark.parametrize("wrap", [Wrapper, partial(torch.compile, backend="eager"), copy.deepcopy])
def test_a_wrapper_keeps_muon(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = Transformer(ModelConfig(vocab_size=10, d_model=8, n_layers=2, n_heads=2))
    shapes = [
        [sorted(tuple(p.shape) for p in group["params"]) for group in muon(each, peak_lr=0.1).param_groups]
        for each in (model, wrap(model))
    ]
    assert shapes[0] == shapes[1] and sum(map(len, shapes[0])) == 8


def test_weights_that_were_loaded_keep_muon(tmp_path: Path) -> None:
    model = Transformer(ModelConfig(vocab_size=10, d_model=8, n_layers=2, n_heads=2))
    save_model(model, tmp_path)
    assert sum(len(group["params"]) for group in muon(load_model(tmp_path), peak_lr=0.1).param_groups) == 8


def test_a_tied_matrix_is_moved_once() -> None:
    first, second = Projection(8, 8), Projection(8, 8)
    second.weight = first.weight
    optimizer = muon(nn.Sequential(first, second), peak_lr=0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]


def test_muon_without_a_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear has none"):
        muon(nn.Linear(3, 3), peak_lr=0.1)


def test_adamw_leaves_out_what_is_frozen_or_moved_by_another() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    optimizer = adamw(model, peak_lr=0.1, weight_decay=0.2, betas=(0.8, 0.9), without=[model[1].weight])
    assert [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups] == [[(3, 3)], [(3,), (3,)]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)
