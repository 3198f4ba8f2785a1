"""Settings, the learning rate as a function of tokens, and the optimizer's groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tilth.errors import ConfigError
from tilth.model import ModelConfig, Transformer
from tilth.training import TrainConfig
from tilth.training.optim import Muon, make_optimizers, orthogonalize
from tilth.training.schedule import rate_factor


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": 0},
        {"micro_batch_size": 0},
        {"learning_rate": 0.0},
        {"gradient_clip": -1.0},
        {"beta2": 1.0},
        {"schedule": "step"},
        {"optimizer": "sgd"},
        {"muon_learning_rate": 0.0},
        {"decay_fraction": 1.2},
        {"warmup_tokens": -1},
        {"checkpoint_every_tokens": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))) as caught:
        TrainConfig(**fields)
    assert caught.value.fix


def test_warmup_stable_decay_by_hand() -> None:
    config = TrainConfig(tokens=1000, warmup_tokens=100, decay_fraction=0.4, schedule="wsd")
    points = {0: 0.0, 50: 0.5, 100: 1.0, 400: 1.0, 600: 1.0, 800: 0.5, 1000: 0.0, 1100: 0.0}
    assert {t: rate_factor(config, t) for t in points} == pytest.approx(points)


def test_cosine_by_hand() -> None:
    config = TrainConfig(tokens=1000, warmup_tokens=200, schedule="cosine")
    points = {100: 0.5, 200: 1.0, 600: 0.5, 1000: 0.0}
    assert {t: rate_factor(config, t) for t in points} == pytest.approx(points)


def test_without_warmup_or_decay_the_rate_is_flat() -> None:
    config = TrainConfig(tokens=1000, warmup_tokens=0, decay_fraction=0.0)
    assert {rate_factor(config, t) for t in range(0, 1000, 100)} == {1.0}


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
            assert group["peak_lr"] == group["lr"]
    (embedding,) = both["adamw"].param_groups[0]["params"]
    assert embedding is model.embedding.weight


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
