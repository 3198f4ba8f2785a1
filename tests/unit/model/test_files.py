"""Models on disk: what comes back, and what a broken folder says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tilth.model.weights as weights_module
from tilth.errors import ConfigError, DataError
from tilth.files import read_json, write_json
from tilth.model import ModelConfig, Transformer, load_model, save_model
from tilth.model.hf import from_hf_config, hf_shapes, to_hf_config, to_hf_state
from tilth.model.weights import WeightFiles, write_weights

CONFIG = ModelConfig(vocab_size=40, d_model=16, n_layers=2, n_heads=2, rope_theta=None, context_length=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    save_model(model, tmp_path)
    return tmp_path


def test_a_saved_model_comes_back_equal(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = Transformer(CONFIG)
    save_model(original, tmp_path)
    loaded = load_model(str(tmp_path))
    assert loaded.config == CONFIG and not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.parameters(), strict=True))
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
    weights.unlink()
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


SHAPES = {
    "tied": CONFIG,
    "untied": replace(CONFIG, tie_embeddings=False),
    "grouped": replace(CONFIG, n_heads=4, n_kv_heads=2),
    "wide heads": replace(CONFIG, n_heads=3, n_kv_heads=1, head_dim=16, d_ff=40),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_known_without_a_model(shape: str) -> None:
    config = SHAPES[shape]
    state = Transformer(config).state_dict()
    assert dict(config.weight_shapes()) == {name: tuple(weight.shape) for name, weight in state.items()}
    hf = {name: tuple(weight.shape) for name, weight in to_hf_state(state, config).items()}
    entries = dict(hf_shapes(config))
    assert dict(part for parts in entries.values() for part in parts) == hf
    assert entries.keys() == state.keys()


def header_end(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def flip(path: Path, index: int) -> None:
    data = bytearray(path.read_bytes())
    data[index] ^= 1 << index % 8
    path.unlink()  # what is loaded already is mapped
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_in_the_data_is_told(folder: Path, at: float) -> None:
    path = folder / "model.safetensors"
    start, end = header_end(path), path.stat().st_size - 1
    flip(path, start + int(at * (end - start)))
    with pytest.raises(DataError, match=r"model\.safetensors does not have the SHA-256"):
        load_model(folder)


def test_a_flipped_bit_in_the_header_changes_nothing_in_silence(folder: Path) -> None:
    path = folder / "model.safetensors"
    expected, whole = load_model(folder).state_dict(), path.read_bytes()
    n_refused = 0
    for index in range(0, header_end(path), 3):
        flip(path, index)
        try:
            weights = load_model(folder).state_dict()
        except DataError:
            n_refused += 1
        else:  # it was in the metadata
            assert all(torch.equal(weights[name], expected[name]) for name in expected)
        path.write_bytes(whole)
    assert n_refused > 200


def test_weights_of_another_model_are_told(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_model(Transformer(CONFIG), tmp_path / "other")
    (folder / "model.safetensors").unlink()
    (tmp_path / "other" / "model.safetensors").rename(folder / "model.safetensors")
    with pytest.raises(DataError, match="SHA-256"):
        load_model(folder)


def test_the_hash_is_that_of_the_data_and_others_can_read_the_file(tmp_path: Path) -> None:
    weights = {"b": torch.randn(3, 5), "a": torch.randn(7).to(torch.bfloat16), "c": torch.empty(0)}
    sha256 = write_weights(tmp_path / "x.safetensors", weights)
    assert write_weights(tmp_path / "y.safetensors", dict(reversed(weights.items()))) == sha256
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == weights.keys() and all(torch.equal(read[name], weights[name]) for name in weights)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "data_sha256": sha256}
    assert header_end(tmp_path / "x.safetensors") % 8 == 0
    WeightFiles([tmp_path / "x.safetensors"], sha256=sha256).verify()
    with pytest.raises(DataError, match="SHA-256"):
        WeightFiles([tmp_path / "x.safetensors"], sha256="0" * 64).verify()


def test_nan_is_told_with_its_weight(folder: Path) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.blocks[1].feed_forward.down.weight[3, 2] = torch.nan
    save_model(model, folder / "nan")
    with pytest.raises(DataError, match=r"blocks\.1\.feed_forward\.down\.weight holds NaN"):
        load_model(folder / "nan")


def test_what_half_precision_cannot_hold_is_told(folder: Path) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    save_model(model, folder / "large")
    assert load_model(folder / "large", dtype=torch.bfloat16).norm.weight.dtype == torch.bfloat16
    with pytest.raises(DataError, match=r"norm\.weight holds NaN or infinite values \(read as torch\.float16\)"):
        load_model(folder / "large", dtype=torch.float16)


def test_a_full_disk_leaves_no_half_a_model(tmp_path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from tilth.model import ModelConfig, Transformer, save_model
model = Transformer(ModelConfig(vocab_size=4000, d_model=32, n_layers=1, n_heads=2))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_model(model, Path({str(tmp_path / "model")!r}))
except OSError as error:
    print(type(error).__name__, error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError 27\n"  # EFBIG: the limit acts as a full disk
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.slow
def test_loading_shards_takes_little_more_than_the_model(tmp_path: Path) -> None:
    config = ModelConfig(vocab_size=8192, d_model=512, n_layers=16, n_heads=8)
    state = to_hf_state(Transformer(config).to(torch.bfloat16).state_dict(), config)
    names = {name: f"part-{index % 4}.safetensors" for index, name in enumerate(sorted(state))}
    for file in set(names.values()):
        save_file({name: state[name] for name in state if names[name] == file}, tmp_path / file)
    write_json(tmp_path / "config.json", to_hf_config(config))
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": names})
    code = f"""
import re, torch
from pathlib import Path
from tilth.model import ModelConfig, Transformer, load_model
Transformer(ModelConfig(vocab_size=10, d_model=8, n_heads=2, n_layers=1))(torch.zeros(1, 2, dtype=torch.int64))
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
model = load_model({str(tmp_path)!r})
print((peak() - before) / sum(4 * weight.numel() for weight in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(json.loads(done.stdout)) < 1.7


def test_a_file_that_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def to_nowhere(path: Path) -> Iterator[Path]:
        yield Path("/dev/null")

    monkeypatch.setattr(weights_module, "atomic_path", to_nowhere)
    with pytest.raises(OSError, match=r"x\.safetensors does not read back"):
        write_weights(tmp_path / "x.safetensors", {"a": torch.ones(3)})
