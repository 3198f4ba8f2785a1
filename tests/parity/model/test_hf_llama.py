"""Our transformer against `transformers`' LlamaForCausalLM: the same weights give the same logits, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tilth.files import write_json
from tilth.model import ModelConfig, Transformer, load_model
from tilth.model.hf import to_hf_config, to_hf_state

transformers = pytest.importorskip("transformers")

SHAPES = {
    "tied": ModelConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, context_length=64),
    "untied": ModelConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, context_length=64, tie_embeddings=False),
    "grouped": ModelConfig(vocab_size=300, d_model=48, n_layers=3, n_heads=6, n_kv_heads=2, context_length=64),
    "one kv head, wide heads": ModelConfig(
        vocab_size=50, d_model=24, n_layers=1, n_heads=3, n_kv_heads=1, head_dim=16, d_ff=40, context_length=64
    ),
    "other base and eps": ModelConfig(
        vocab_size=64, d_model=64, n_layers=4, n_heads=2, rope_theta=500000.0, norm_eps=1e-6, context_length=64
    ),
}


def all_random(model: Transformer) -> Transformer:
    """Fills the matrices that a new model has at zero, so that every part of it counts."""
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return model


def ids_for(config: ModelConfig) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (3, 64), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_our_weights_give_equal_logits_there(shape: str, tmp_path: Path) -> None:
    config = SHAPES[shape]
    torch.manual_seed(0)
    ours = all_random(Transformer(config)).eval()
    write_json(tmp_path / "config.json", to_hf_config(config))
    save_file(to_hf_state(ours.state_dict(), config), tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    ids = ids_for(config)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in theirs.parameters()) == config.n_params


@pytest.mark.parametrize("shape", SHAPES)
def test_their_weights_give_equal_logits_here(shape: str, tmp_path: Path) -> None:
    config = SHAPES[shape]
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**to_hf_config(config))).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    assert ours.config.n_params == config.n_params
    ids = ids_for(config)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_sharded_folder_loads(tmp_path: Path) -> None:
    config = SHAPES["grouped"]
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**to_hf_config(config))).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ids = ids_for(config)
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path)(ids), theirs(ids).logits, atol=1e-5, rtol=1e-5)


def test_gradients_are_equal() -> None:
    config = SHAPES["grouped"]
    torch.manual_seed(0)
    ours = all_random(Transformer(config))
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**to_hf_config(config)))
    theirs.load_state_dict(to_hf_state(ours.state_dict(), config), strict=False)
    ids = ids_for(config)
    loss = ours(ids[:, :-1], targets=ids[:, 1:])
    reference = theirs(ids, labels=ids).loss
    torch.testing.assert_close(loss, reference)
    loss.backward()
    reference.backward()
    gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    for name, gradient in to_hf_state(gradients, config).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)
