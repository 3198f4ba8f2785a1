"""The shape of a model: what is refused, and the arithmetic of parameters and FLOPs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tilth.errors import ConfigError
from tilth.model.config import ModelConfig
from tilth.recipes.quickstart import quickstart


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"n_layers": 0}, "n_layers"),
        ({"n_heads": 4, "n_kv_heads": 3}, "key/value"),
        ({"d_model": 100, "n_heads": 3}, "multiple"),
        ({"d_model": 36, "n_heads": 4}, "even head width"),
        ({"rope_theta": -1.0}, "rope_theta"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"norm_eps": "1e-5"}, "norm_eps"),
        ({"norm_eps": 1e9}, "norm_eps"),
        ({"rope_theta": float("nan")}, "rope_theta"),
        ({"rope_theta": float("inf")}, "rope_theta"),
        ({"rope_theta": 10**400}, "rope_theta"),
        ({"rope_theta": True}, "rope_theta"),
        ({"rope_theta": 1e-300}, "rope_theta"),
        ({"n_layers": True}, "n_layers is True, not a whole number"),
        ({"n_layers": 2.0}, "n_layers is 2.0, not a whole number"),
        ({"d_model": "256"}, "d_model is '256', not a whole number"),
        ({"d_ff": 2**31}, "d_ff is larger"),
        ({"d_model": 10**400}, "d_model is larger"),
        ({"d_model": -(10**5000)}, "d_model is negative"),
        ({"context_length": None}, "context_length is None"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"tie_embeddings": 1}, "tie_embeddings"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        ModelConfig(**{"vocab_size": 100, **fields})
    assert caught.value.fix


def test_an_odd_head_is_fine_without_positions() -> None:
    assert ModelConfig(vocab_size=10, d_model=36, n_heads=4, rope_theta=None).head_width == 9


def test_one_dial_gives_a_whole_shape() -> None:
    config = ModelConfig.from_depth(3, vocab_size=1000, context_length=128)
    assert (config.d_model, config.n_layers, config.n_heads, config.head_width) == (96, 3, 2, 64)
    assert config.context_length == 128 and not config.tie_embeddings
    with pytest.raises(ConfigError, match="`--depth` is 0"):
        ModelConfig.from_depth(0, vocab_size=1000)


def test_quickstart_takes_the_shape_of_its_depth() -> None:
    pretraining = quickstart()
    while pretraining.name != "pretrain":
        (pretraining,) = [step for step in pretraining.inputs.values() if getattr(step, "name", "") == "pretrain"]
    expected = ModelConfig(vocab_size=4096, d_model=128, n_layers=4, n_heads=2, head_dim=64, tie_embeddings=False)
    assert pretraining.config.model == expected == ModelConfig.from_depth(4, vocab_size=4096)


def test_parameters_and_flops_by_hand() -> None:
    config = ModelConfig(
        vocab_size=10, d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=16, context_length=4, tie_embeddings=False
    )
    attention = 8 * 8 + 2 * 8 * 4 + 8 * 8
    block = attention + 3 * 8 * 16 + 2 * 8
    assert config.n_params == 2 * 10 * 8 + 2 * block + 8
    assert config.flops_per_token == 6 * (config.n_params - 10 * 8) + 12 * 2 * 8 * 4


def test_config_loads_without_torch() -> None:
    code = (
        "import sys, tilth.model.config, tilth.training.config, tilth.inference.config; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_tokenizer_may_be_smaller_and_not_larger() -> None:
    config = ModelConfig(vocab_size=100)
    config.check_vocabulary(100)
    config.check_vocabulary(99)
    with pytest.raises(ConfigError, match="The tokenizer has 101 tokens and the model only 100"):
        config.check_vocabulary(101)
