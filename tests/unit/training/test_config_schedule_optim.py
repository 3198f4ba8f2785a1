"""Settings, the learning rate as a function of tokens, and the optimizer's groups."""

from __future__ import annotations

from typing import Any

import pytest

from tilth.errors import ConfigError
from tilth.model import ModelConfig, Transformer
from tilth.training import TrainConfig
from tilth.training.optim import make_adamw
from tilth.training.schedule import learning_rate


@pytest.mark.parametrize(
    "fields",
    [
        {"tokens": 0},
        {"micro_batch_size": 0},
        {"learning_rate": 0.0},
        {"gradient_clip": -1.0},
        {"beta2": 1.0},
        {"schedule": "step"},
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
    config = TrainConfig(tokens=1000, warmup_tokens=100, decay_fraction=0.4, learning_rate=2.0, schedule="wsd")
    points = {0: 0.0, 50: 1.0, 100: 2.0, 400: 2.0, 600: 2.0, 800: 1.0, 1000: 0.0, 1100: 0.0}
    assert {t: learning_rate(config, t) for t in points} == pytest.approx(points)


def test_cosine_by_hand() -> None:
    config = TrainConfig(tokens=1000, warmup_tokens=200, learning_rate=2.0, schedule="cosine")
    points = {100: 1.0, 200: 2.0, 600: 1.0, 1000: 0.0}
    assert {t: learning_rate(config, t) for t in points} == pytest.approx(points)


def test_without_warmup_or_decay_the_rate_is_flat() -> None:
    config = TrainConfig(tokens=1000, warmup_tokens=0, decay_fraction=0.0, learning_rate=2.0)
    assert {learning_rate(config, t) for t in range(0, 1000, 100)} == {2.0}


def test_only_matrices_decay() -> None:
    model = Transformer(ModelConfig(vocab_size=10, d_model=8, n_layers=1, n_heads=2))
    matrices, gains = make_adamw(model, TrainConfig(weight_decay=0.3)).param_groups
    assert matrices["weight_decay"] == 0.3 and {p.ndim for p in matrices["params"]} == {2}
    assert gains["weight_decay"] == 0.0 and {p.ndim for p in gains["params"]} == {1}
    assert len(matrices["params"]) + len(gains["params"]) == len(list(model.parameters()))
