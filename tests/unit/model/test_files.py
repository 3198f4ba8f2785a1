"""Models on disk: what comes back, and what a broken folder says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tilth.errors import ConfigError, DataError
from tilth.files import read_json, write_json
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.model.hf import from_hf_config, to_hf_config

CONFIG = ModelConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=2, rope_theta=None, context_length=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(Transformer(CONFIG), tmp_path)
    return tmp_path


def test_a_saved_model_comes_back_equal(folder: Path) -> None:
    torch.manual_seed(0)
    original, loaded = Transformer(CONFIG), load_model(str(folder))
    assert loaded.config == CONFIG and not loaded.training
    ids = torch.arange(8)[None]
    assert torch.equal(loaded(ids), original(ids))


def test_equal_models_are_equal_files(folder: Path, tmp_path: Path) -> None:
    save_model(load_model(folder), tmp_path / "again")
    for name in ("model.safetensors", "model.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_rotary_tables_come_back_too(tmp_path: Path) -> None:
    model = Transformer(replace(CONFIG, rope_theta=10000.0))
    save_model(model, tmp_path)
    ids = torch.arange(8)[None]
    assert torch.equal(load_model(tmp_path)(ids), model(ids))


def test_errors_name_the_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model"):
        load_model(tmp_path / "nothing")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"model\.safetensors is not a whole"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(DataError, match=r"model\.safetensors does not exist"):
        load_model(folder)
    weights.write_bytes(whole)
    (folder / "model.json").write_text("{")
    with pytest.raises(DataError, match=r"model\.json is not valid JSON"):
        load_model(folder)


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    config = read_json(folder / "model.json")
    write_json(folder / "model.json", config | {"d_ff": 99})
    with pytest.raises(DataError, match=r"feed_forward\.\w+\.weight should be"):
        load_model(folder)
    write_json(folder / "model.json", config | {"n_heads": 3})
    with pytest.raises(DataError, match="does not describe a model"):
        load_model(folder)
    write_json(folder / "model.json", config | {"colour": "red"})
    with pytest.raises(DataError, match="colour"):
        load_model(folder)


def test_foreign_features_are_refused(tmp_path: Path) -> None:
    plain = to_hf_config(replace(CONFIG, rope_theta=10000.0))
    assert from_hf_config(plain).rope_theta == 10000.0
    for change, word in (
        ({"model_type": "gpt2"}, "model_type"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_type"),
    ):
        with pytest.raises(DataError, match=word):
            from_hf_config(plain | change)
    with pytest.raises(DataError, match="lacks 'hidden_size'"):
        from_hf_config({k: v for k, v in plain.items() if k != "hidden_size"})
    with pytest.raises(ConfigError, match="not a Llama"):
        to_hf_config(CONFIG)
